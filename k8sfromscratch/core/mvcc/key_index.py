"""Where each key's versions are: key -> generations of revisions.

A revision is (main, sub): `main` counts transactions that wrote, `sub` the writes within one.  A key's life from its creation to its deletion
is a generation; the deletion is its last revision, a tombstone.  A worked example:

    put a          at (1,0)     generations [ [(1,0)] ]
    put a          at (2,0)     generations [ [(1,0), (2,0)] ]
    delete a       at (4,0)     generations [ [(1,0), (2,0), (4,0)t] ]
    put a          at (5,0)     generations [ [(1,0), (2,0), (4,0)t], [(5,0)] ]

    read a at 3    -> (2,0)     the last revision not above 3
    read a at 4    -> none      it lies in a generation whose tombstone is not above 4
    compact to 3   keeps (2,0): it is what a read at 3 needs           [ [(2,0), (4,0)t], [(5,0)] ]
    compact to 4   keeps the tombstone: a watch from 4 on tells of it  [ [(4,0)t], [(5,0)] ]
    compact to 5   drops the whole first generation                    [ [(5,0)] ]

    invariant: no generation is empty, and only the last one may lack a tombstone: then the key lives.
"""

from bisect import bisect_right
from dataclasses import dataclass, field

Revision = tuple[int, int]


@dataclass(slots=True)
class Generation:
    created: Revision
    revisions: list[Revision]
    version: int
    """How many writes it has had, those that compaction dropped too."""


@dataclass(slots=True)
class KeyHistory:
    """One key's generations, oldest first.  `alive` says whether the last one still goes on."""

    generations: list[Generation] = field(default_factory=list)
    alive: bool = False

    def put(self, revision: Revision) -> Generation:
        if not self.alive:
            self.generations.append(Generation(revision, [], 0))
            self.alive = True
        generation = self.generations[-1]
        generation.revisions.append(revision)
        generation.version += 1
        return generation

    def tombstone(self, revision: Revision) -> None:
        """Ends the generation; as the first thing of a restored history it stands for one whose writes are compacted away."""
        if not self.alive:
            self.generations.append(Generation(revision, [], 0))
        generation = self.generations[-1]
        generation.revisions.append(revision)
        generation.version += 1
        self.alive = False

    def at(self, main: int) -> Revision | None:
        """The revision that a read at `main` finds; None where the key did not exist then."""
        if self.alive:
            latest = self.generations[-1].revisions[-1]
            if latest[0] <= main:
                return latest
        for number in range(len(self.generations) - 1, -1, -1):
            generation = self.generations[number]
            ended = not (self.alive and number == len(self.generations) - 1)
            if generation.revisions[0][0] > main:
                continue
            if ended and generation.revisions[-1][0] <= main:
                return None
            return generation.revisions[bisect_right(generation.revisions, (main, 2**62)) - 1]
        return None

    def compact(self, main: int) -> list[Revision]:
        """Drops what no read and no watch from `main` on needs; the dropped revisions."""
        dropped: list[Revision] = []
        while self.generations:
            generation = self.generations[0]
            ended = not (self.alive and len(self.generations) == 1)
            if ended and generation.revisions[-1][0] < main:
                dropped += generation.revisions
                del self.generations[0]
                continue
            keep_from = max(bisect_right(generation.revisions, (main, 2**62)) - 1, 0)
            dropped += generation.revisions[:keep_from]
            del generation.revisions[:keep_from]
            break
        return dropped

    @property
    def empty(self) -> bool:
        return not self.generations
