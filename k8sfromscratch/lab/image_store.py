"""What containerd keeps of the images, made once here instead of on every machine.

    node image ─► its containerd, in a chroot of its own ─► import, unpack ─► .cache/containerd/HASH ─► /var/lib/containerd of nspawn machines

To unpack an image took machines longer than anything else, and all of them did it at once.  Nobody changes an unpacked file (a container
writes to a layer of its own), so machines get hard links; only containerd's databases are each machine's own.  What a machine lacks of the
images is imported by the runtime role, as on any other.
"""

import hashlib
import shutil
import threading
from collections.abc import Collection
from pathlib import Path

from k8sfromscratch.lab.images import Image
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import run
from k8sfromscratch.lab.turns import turn

KEPT = ("io.containerd.content.v1.content", "io.containerd.metadata.v1.bolt", "io.containerd.snapshotter.v1.overlayfs")
"""What is of images; the rest, an identity among it, is for each machine to make."""
DATABASES = "io.containerd.*/*.db"
CONFIG = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'

# Ends with whoever started it, and everything in its process namespace and every mount with it.
ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child")
# $1: overlay's options, $2: where, $3: the store to be filled, $4: the archives' directory; archives.
MAKE = """
set -e
root=$2
mount -t overlay -o "$1" overlay "$root"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mkdir -p "$root/var/lib/containerd"
mount --bind "$3" "$root/var/lib/containerd"
mount --bind -o ro "$4" "$root/mnt"
shift 4
chroot "$root" containerd --config /containerd.toml 2>"$root/log" & containerd=$!
until chroot "$root" ctr version >/dev/null 2>&1; do
    kill -0 $containerd || { cat "$root/log" >&2; exit 1; }
    sleep 0.1
done
for archive in "$@"; do chroot "$root" ctr --namespace k8s.io images import "/mnt/$archive" >/dev/null; done
kill $containerd
wait $containerd || true
"""

_LOCK = threading.Lock()


def ensure(node_image: Path, images: Collection[Image]) -> Path:
    """The store of that node image's containerd with these images, made unless it is there; those of other images are removed."""
    with _LOCK, turn("containerd"):
        return _ensure(node_image, images)


def _ensure(node_image: Path, images: Collection[Image]) -> Path:
    made_from = [node_image.name, CONFIG, MAKE, *KEPT, *(f"{image.reference} {image.digest}" for image in images)]
    directory = CACHE_DIR / "containerd"
    store = directory / hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:16]
    if store.exists():
        return store
    scratch = store.with_suffix(".scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    for name in ("store", "upper", "work", "root"):
        (scratch / name).mkdir(parents=True)
    (scratch / "upper" / "containerd.toml").write_text(CONFIG)
    options = f"lowerdir={node_image},upperdir={scratch / 'upper'},workdir={scratch / 'work'}"
    (where,) = {image.archive.parent for image in images}
    run([*ALONE, "sh", "-c", MAKE, "make", options, scratch / "root", scratch / "store", where, *(image.archive.name for image in images)], timeout_s=300)
    for part in (scratch / "store").iterdir():
        if part.name not in KEPT:
            shutil.rmtree(part)
    (scratch / "store").rename(store)
    for other in directory.iterdir():
        if other != store:
            shutil.rmtree(other, ignore_errors=True)
    return store


def give(store: Path, to: Path) -> None:
    """Fills the directory `to` with the store: links, where both are on one file system, and copies of what is written to."""
    linked = store.stat().st_dev == to.stat().st_dev
    run(["cp", "--archive", *(["--link"] if linked else ["--reflink=auto"]), f"{store}/.", to], timeout_s=300)
    for file in sorted(to.glob(DATABASES)) if linked else ():
        own = file.with_name(file.name + ".own")
        shutil.copy2(file, own)
        own.replace(file)
