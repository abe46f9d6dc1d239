"""Directory trees of the cache that several machines have in common, as lower layers of their root file systems.

A tree must stay as long as a machine stands on it, in whichever lab: beside the tree `HASH` there is `HASH.users/`, with one symbolic link
to each machine's directory.  A link whose target is gone counts for nothing, so a machine is free to end in any way, and nobody has to
tell.
"""

import hashlib
import shutil
from collections.abc import Collection
from pathlib import Path

USERS = ".users"


def use(tree: Path, machine: Path) -> None:
    """From now on `tree` stays for as long as the directory `machine` is there."""
    users = tree.with_name(tree.name + USERS)
    users.mkdir(parents=True, exist_ok=True)
    link = users / hashlib.sha256(str(machine).encode()).hexdigest()[:16]
    if not link.is_symlink():
        link.symlink_to(machine)


def in_use(tree: Path) -> bool:
    users = tree.with_name(tree.name + USERS)
    return users.is_dir() and any(link.exists() for link in users.iterdir())


def prune(directory: Path, keep: Collection[Path], pattern: str = "*") -> None:
    """Removes the trees in `directory` that match and are neither to be kept nor used; what was half made with them."""
    for tree in sorted(directory.glob(pattern)):
        if tree in keep or not tree.is_dir() or tree.name.endswith(USERS) or in_use(tree):
            continue
        shutil.rmtree(tree, ignore_errors=True)
        shutil.rmtree(tree.with_name(tree.name + USERS), ignore_errors=True)
