"""The simulated group keeps its promises: 200 seeds, or as many as `KFS_SEEDS` says (10,000 a night: KFS_SEEDS=10000)."""

import os

from k8sfromscratch.testing.raftsim.run import run

SEEDS = int(os.environ.get("KFS_SEEDS", "200"))


def test_seeds() -> None:
    for seed in range(SEEDS):
        try:
            run(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}; again: python -m k8sfromscratch.testing.raftsim --seed {seed}") from error


def test_seeds_that_have_failed() -> None:
    """1133: the voter that was left did not know it was the only one, and those who knew had longer logs and were no voters any more."""
    for seed in (1133,):
        run(seed)


def test_the_same_seed_is_the_same_run() -> None:
    assert run(3) == run(3)
    assert run(3) != run(4)
