"""Writes OCI image archives: the tar files that `ctr images import` takes.

An image is a set of layers (tar archives of file trees) and a configuration; both are blobs named by their SHA-256, listed in a
manifest, which is a blob too (OCI image specification 1.0).  Archives are reproducible: the same tree gives the same bytes, since times
and owners are set to zero and names are sorted, so a digest changes only when the content does.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GZIP_LEVEL = 1
"""Layers are uploaded once and unpacked once: speed counts, not size."""


@dataclass(frozen=True)
class ImageConfig:
    entrypoint: Sequence[str] = ()
    cmd: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = "/"


@dataclass(frozen=True)
class Layer:
    """A compressed layer in a file.  `diff_id` is the digest of what it holds uncompressed: what a runtime knows the unpacked layer by."""

    file: Path
    diff_id: str


@dataclass(frozen=True)
class Blob:
    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.content).hexdigest()

    def descriptor(self, **more: Any) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content), **more}


def make_layer(tree: Path, file: Path, without: Sequence[str] = ()) -> Layer:
    """The tree as a layer, kept in `file`; made only if it is not there, so the caller names the file by what the tree is made from.

    `without`: globs of paths to leave out, with all that is below them.
    """
    note = file.with_suffix(".diff_id")
    if not (file.exists() and note.exists()):
        file.parent.mkdir(parents=True, exist_ok=True)
        plain = _tar_of(tree, without)
        note.write_text("sha256:" + hashlib.sha256(plain).hexdigest())
        fresh = file.with_suffix(".new")
        fresh.write_bytes(gzip.compress(plain, GZIP_LEVEL, mtime=0))
        fresh.replace(file)
    return Layer(file, note.read_text())


def write_archive(archive: Path, reference: str, made: Sequence[Layer], config: ImageConfig) -> None:
    """`reference` is the full name (`docker.io/library/busybox:latest`); layers come lowest first."""
    layers = [Blob("application/vnd.oci.image.layer.v1.tar+gzip", layer.file.read_bytes()) for layer in made]
    diff_ids = [layer.diff_id for layer in made]
    image = Blob(
        "application/vnd.oci.image.config.v1+json",
        _json(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {
                    "Entrypoint": list(config.entrypoint),
                    "Cmd": list(config.cmd),
                    "Env": [f"{name}={value}" for name, value in config.env.items()],
                    "User": config.user,
                    "WorkingDir": config.working_dir,
                },
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
            }
        ),
    )
    manifest = Blob(
        "application/vnd.oci.image.manifest.v1+json",
        _json(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": image.descriptor(),
                "layers": [layer.descriptor() for layer in layers],
            }
        ),
    )
    # containerd names the imported image by the first annotation, other tools by the second.
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
    index = {"schemaVersion": 2, "manifests": [manifest.descriptor(annotations=names)]}
    fresh = archive.with_suffix(".new")
    with tarfile.open(fresh, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json(index))
        for blob in {blob.digest: blob for blob in (image, manifest, *layers)}.values():
            _add(tar, "blobs/" + blob.digest.replace(":", "/"), blob.content)
    fresh.replace(archive)


def manifest_digest(archive: Path) -> str:
    """The digest of the one manifest in an archive that `write_archive` wrote."""
    with tarfile.open(archive) as tar:
        index = tar.extractfile("index.json")
        if index is None:
            raise ValueError(f"{archive} holds no index.json")
        return str(json.load(index)["manifests"][0]["digest"])


def _tar_of(tree: Path, without: Sequence[str]) -> bytes:
    """Plain files, directories and symbolic links below `tree`; modes are kept, owners become root."""
    buffer = io.BytesIO()
    left_out = {path for pattern in without for path in tree.glob(pattern)}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            if not (path.is_symlink() or path.is_dir() or path.is_file()) or left_out.intersection((path, *path.parents)):
                continue
            entry = tar.gettarinfo(path, arcname=str(path.relative_to(tree)))
            if entry.islnk():
                # A second name of a file already in the archive: stored again, so that layers stand alone.
                entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", path.stat().st_size
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = 0
            entry.pax_headers = {}
            if entry.isreg():
                with path.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
