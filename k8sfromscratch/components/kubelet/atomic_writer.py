"""Brings a set of files to a volume so that a reader sees all of the old set or all of the new one.

    volume/..2026_01_02_03_04_05.123456789/key      the files, in a directory of their own
    volume/..data -> ..2026_01_02_03_04_05.123…     the only thing that is replaced, by one rename
    volume/key -> ..data/key                        what containers read

A container that watches `..data` (as many programs do) sees one event for a whole update.  Source: upstream's AtomicWriter, whose
layout programs rely on.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from k8sfromscratch.core.pods.volumes import File

DATA = "..data"
_NEXT_DATA = "..data_tmp"


def write_files(volume: Path, files: Mapping[str, File], *, owner_gid: int | None = None) -> bool:
    """Whether anything changed.  `owner_gid`: the pod's fsGroup, which then owns the files and may read what their owner may."""
    link = volume / DATA
    current = volume / os.readlink(link) if link.is_symlink() else None
    if current is not None and _holds(current, files):
        _link_entries(volume, files)
        return False
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=volume))
    fresh.chmod(0o755)
    for path, file in files.items():
        _write(fresh, path, file, owner_gid)
    temporary = volume / _NEXT_DATA
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh.name)
    temporary.rename(link)
    _link_entries(volume, files)
    for name in _entries(volume) - _top_level(files):
        (volume / name).unlink()
    if current is not None:
        shutil.rmtree(current)
    return True


def _write(directory: Path, path: str, file: File, owner_gid: int | None) -> None:
    target = directory / path
    for parent in reversed(target.relative_to(directory).parents):
        (directory / parent).mkdir(exist_ok=True)
    mode = file.mode
    if owner_gid is not None:
        mode |= (mode & 0o600) >> 3
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(file.content)
        if owner_gid is not None:
            os.fchown(stream.fileno(), -1, owner_gid)
        os.fchmod(stream.fileno(), mode)


def _holds(directory: Path, files: Mapping[str, File]) -> bool:
    present = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    return present == set(files) and all((directory / path).read_bytes() == file.content for path, file in files.items())


def _link_entries(volume: Path, files: Mapping[str, File]) -> None:
    for name in sorted(_top_level(files)):
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"{DATA}/{name}")


def _top_level(files: Mapping[str, File]) -> set[str]:
    return {path.split("/")[0] for path in files}


def _entries(volume: Path) -> set[str]:
    return {entry.name for entry in volume.iterdir() if not entry.name.startswith("..")}
