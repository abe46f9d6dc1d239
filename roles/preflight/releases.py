"""The releases that machines may have, and the Python that each has in its own archive.

The components need Python 3.11 or later.  Where a release's `python3` is older, its archive has another beside it; so what a machine gets
depends on its release alone, and not on what its owner has put on PATH.
"""

PYTHONS = {
    "debian 12": "3.11",
    "debian 13": "3.13",
    # `python3` is 3.10 there; universe has this one.
    "ubuntu 22.04": "3.11",
    "ubuntu 24.04": "3.12",
}
"""ID and VERSION_ID of os-release → the Python that the environment is made for."""


def known() -> str:
    """In words: `debian 12, 13; ubuntu 22.04, 24.04`."""
    versions: dict[str, list[str]] = {}
    for release in PYTHONS:
        name, _, version = release.partition(" ")
        versions.setdefault(name, []).append(version)
    return "; ".join(f"{name} {', '.join(each)}" for name, each in versions.items())
