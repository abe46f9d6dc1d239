"""Random parts of names: `web-` becomes `web-x7k2p`."""

import random

# Five of these 27 letters make 14 million names; vowels and look-alikes are left out so that no name is a word.
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_LENGTH = 5
_NAME_MAX = 63


def random_suffix(rng: random.Random) -> str:
    return "".join(rng.choice(_LETTERS) for _ in range(_LENGTH))


def generated(base: str, rng: random.Random) -> str:
    """A name from `metadata.generateName`, cut so that it fits a DNS label."""
    return base[: _NAME_MAX - _LENGTH] + random_suffix(rng)
