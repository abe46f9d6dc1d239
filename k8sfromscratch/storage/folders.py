"""Directories whose entries outlive a power failure: syncing a file does not say that its name is found again."""

import os
from pathlib import Path


def sync_folders(*folders: Path) -> None:
    """What was made, renamed or removed in them stays so.  Raises OSError."""
    for each in folders:
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
