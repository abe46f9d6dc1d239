"""What virtual machines start from: the box that is built here, or a cloud image that the user names (LAB_IMAGE), Debian's or Ubuntu's.

    LAB_IMAGE=debian-12-genericcloud-amd64.qcow2  ──qemu-img──► .cache/cloud-image/TAG.qcow2     once, whatever format it had

A cloud image boots by its own boot loader, and is told who it is by cloud-init (`seed.cloud_init`); the box is started with its kernel directly.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from k8sfromscratch.lab import box
from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import run

CONVERT_TIMEOUT_S = 600


@dataclass(frozen=True)
class VmImage:
    """`disk` is qcow2.  With a kernel, QEMU starts it directly; without, the disk has a boot loader, and cloud-init.  `tag` says which content it is."""

    tag: str
    disk: Path
    kernel: Path | None = None
    initrd: Path | None = None


def ensure(image: str, debian: str) -> VmImage:
    """The box of this Debian, or the image in this file.  Raises SpecError, CommandFailed."""
    if image:
        return _cloud_image(Path(image))
    made = box.ensure(debian)
    return VmImage(made.name.rpartition("-")[2], made.disk, made.kernel, made.initrd)


def _cloud_image(file: Path) -> VmImage:
    try:
        status = file.stat()
    except OSError as error:
        raise SpecError(f"image {file}: {error.strerror}: LAB_IMAGE is the file of a cloud image, downloaded before") from error
    tag = hashlib.sha256(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:12]
    disk = CACHE_DIR / "cloud-image" / f"{tag}.qcow2"
    if not disk.exists():
        described = json.loads(run(["qemu-img", "info", "--output=json", file]))
        # Any file passes for a raw disk; and one that stands on another file would let an image read what is on this host.
        if described["format"] == "raw" and file.suffix not in (".raw", ".img"):
            raise SpecError(f"image {file}: this is no disk image that qemu-img knows (qcow2, vmdk, …), nor named .raw or .img")
        if "backing-filename" in described:
            raise SpecError(f"image {file}: it is a layer over {described['backing-filename']}: name an image that stands alone")
        disk.parent.mkdir(parents=True, exist_ok=True)
        converting = disk.with_suffix(".part")
        run(["qemu-img", "convert", "-f", described["format"], "-O", "qcow2", file, converting], timeout_s=CONVERT_TIMEOUT_S)
        converting.rename(disk)
    return VmImage(tag, disk)
