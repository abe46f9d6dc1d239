"""One seed, from storm to calm: `python -m k8sfromscratch.testing.raftsim --seed 7`."""

from k8sfromscratch.testing.raftsim.clients import Clients
from k8sfromscratch.testing.raftsim.nemesis import Nemesis, Upheaval
from k8sfromscratch.testing.raftsim.world import CALM_UNTIL, STORM_UNTIL, World

UPHEAVAL_EVERY = 4
"""One seed of so many is about joint changes."""


def run(seed: int) -> str:
    """The digest of the trace: equal for equal seeds.  Raises AssertionError (checks.Violation, or one of the core's) when something is wrong."""
    world = World(seed)
    clients = Clients(world)
    (Upheaval if seed % UPHEAVAL_EVERY == UPHEAVAL_EVERY - 1 else Nemesis)(world)
    world.run(STORM_UNTIL)
    world.mend()
    world.run(CALM_UNTIL)
    world.agreed()
    for watcher in clients.watchers:
        world.checks.watched(watcher.number, 2, watcher.received, watcher.last)
    world.checks.histories()
    return world.digest
