"""What breaks, drawn from a seed: a round is each kind of fault once, in a random order, at the leader as often as not.

kill             SIGKILL, to one, to a majority, or to all; started again
pause            SIGSTOP and SIGCONT: alive to its own clock, and late
isolate          one member hears nobody and is not heard by the others; its clients reach it
one way          a member is heard and hears nothing, or the other way round
link             two members do not hear each other; the third hears both
full disk        not a byte is left: the member may refuse or end, and must not lie
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from k8sfromscratch.testing.etcd_checker.cluster import MEMBERS, Cluster

KINDS = ("kill", "kill many", "pause", "isolate", "one way", "link", "full disk")
FAULT_S = (0.6, 1.6)
PAUSE_S = (0.6, 3.0)
"""Longer than a lease lives: who goes on has seen everything expire, and the next leader has not."""
REST_S = (0.2, 0.7)


class Nemesis:
    def __init__(self, cluster: Cluster, random: Random, say: Callable[[str], None]) -> None:
        self._cluster, self._random, self._say = cluster, random, say

    async def run(self, rounds: int, only: Sequence[str] = KINDS) -> None:
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "kill": self._kill, "kill many": self._kill_many, "pause": self._pause, "isolate": self._isolate, "one way": self._one_way,
            "link": self._link, "full disk": self._full_disk,
        }  # fmt: skip
        faults = [kinds[kind] for kind in only]
        for _ in range(rounds):
            for fault in self._random.sample(faults, len(faults)):
                await fault()
                self._cluster.check_alive()
                await asyncio.sleep(self._random.uniform(*REST_S))

    async def _victim(self) -> int:
        leader = await self._cluster.leader() if self._random.random() < 0.6 else None
        return leader or self._random.choice(MEMBERS)

    async def _last(self) -> None:
        await asyncio.sleep(self._random.uniform(*FAULT_S))

    async def _kill(self) -> None:
        victim = await self._victim()
        self._say(f"kill m{victim}")
        await self._cluster.kill(victim)
        await self._last()
        await self._cluster.start(victim)

    async def _kill_many(self) -> None:
        victims = self._random.sample(MEMBERS, self._random.choice((2, 3)))
        self._say(f"kill {' '.join(f'm{each}' for each in victims)}")
        await asyncio.gather(*(self._cluster.kill(each) for each in victims))
        await asyncio.sleep(self._random.uniform(0, FAULT_S[0]))
        for each in victims:
            await self._cluster.start(each)
            await asyncio.sleep(self._random.uniform(0, REST_S[0]))

    async def _pause(self) -> None:
        victim = await self._victim()
        self._say(f"pause m{victim}")
        self._cluster.pause(victim)
        await asyncio.sleep(self._random.uniform(*PAUSE_S))
        self._cluster.resume(victim)

    async def _isolate(self) -> None:
        victim = await self._victim()
        await self._cut(f"isolate m{victim}", {(a, b) for a in MEMBERS for b in MEMBERS if (a == victim) != (b == victim)})

    async def _one_way(self) -> None:
        victim = await self._victim()
        others = [each for each in MEMBERS if each != victim]
        deaf = self._random.random() < 0.5
        await self._cut(f"m{victim} {'hears nobody' if deaf else 'is heard by nobody'}", {(other, victim) if deaf else (victim, other) for other in others})

    async def _link(self) -> None:
        one, other = self._random.sample(MEMBERS, 2)
        await self._cut(f"no link m{one} m{other}", {(one, other), (other, one)})

    async def _cut(self, what: str, pairs: set[tuple[int, int]]) -> None:
        self._say(what)
        self._cluster.cut(pairs)
        await self._last()
        self._cluster.cut(set())

    async def _full_disk(self) -> None:
        victim = await self._victim()
        self._say(f"full disk at m{victim}")
        self._cluster.fill(victim)
        await self._last()
        self._cluster.free(victim)
        process = self._cluster.processes.get(victim)
        if process is not None and process.returncode is not None:
            self._say(f"m{victim} had ended with {process.returncode}")
            await self._cluster.start(victim)
