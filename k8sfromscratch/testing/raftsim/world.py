"""A group of five on a network, disks and a clock that are all drawn from one seed; see `checks` for what must hold.

    heap of (time, number, action): ticks, deliveries, syncs that end, what clients do, what breaks

Nothing else decides anything: the same seed is the same run, down to its trace.  Time is in units of a hundredth of an election timeout.
"""

import heapq
from collections.abc import Callable, Sequence
from hashlib import blake2b
from random import Random

from k8sfromscratch.core.raft.node import Ready, first_start, joining
from k8sfromscratch.core.raft.state import Config
from k8sfromscratch.core.raft.types import Entry, Message, MessageType, ProposalDropped
from k8sfromscratch.testing.raftsim.checks import Checks, require
from k8sfromscratch.testing.raftsim.disk import Disk
from k8sfromscratch.testing.raftsim.member import Member

TICK = 10
STORM_UNTIL, CALM_UNTIL = 4000, 8000
"""Until then things break; then all is mended, and the group must agree again."""
FIRST_VOTERS = (1, 2, 3)
MEMBERS = (1, 2, 3, 4, 5)


class World:
    def __init__(self, seed: int) -> None:
        self.seed, self.random = seed, Random(seed)
        self.now = 0
        self.checks = Checks()
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._trace = blake2b(digest_size=8)
        self.members: dict[int, Member] = {}
        self.disks = {each: Disk(first_start(FIRST_VOTERS) if each in FIRST_VOTERS else joining()) for each in MEMBERS}
        self.cut: set[tuple[int, int]] = set()
        """Directed: an asymmetric link is cut one way."""
        self.loss = self.random.choice((0.0, 0.02, 0.1, 0.25))
        self.delay_max = self.random.choice((5, 15, 60))
        self.duplicates = self.random.choice((0.0, 0.05))
        self.sync_max = self.random.choice((1, 10, 60))
        self._check_quorum = self.random.random() < 0.5
        self._small = self.random.random() < 0.5
        for each in MEMBERS:
            self.start(each)

    def run(self, until: int) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        self.now = until

    def at(self, delay: int, action: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (self.now + max(delay, 0), self._number, action))

    def note(self, what: str) -> None:
        self._trace.update(f"{self.now} {what}\n".encode())

    @property
    def digest(self) -> str:
        return self._trace.hexdigest()

    # Members

    def start(self, number: int) -> None:
        if number in self.members:
            return
        config = Config(
            id=number,
            election_tick=10,
            heartbeat_tick=2,
            check_quorum=self._check_quorum,
            max_size_per_message=1 if self._small else 2000,
            max_inflight_messages=4,
            max_committed_size_per_ready=300,
        )
        member = self.members[number] = Member(config, Random(self.random.getrandbits(32)), self.disks[number], self.checks, lambda: self.now)
        self.note(f"start {number} applied {member.applied}")
        self.at(self.random.randrange(TICK), lambda: self._tick(member))

    def crash(self, number: int) -> None:
        member = self.members.pop(number, None)
        if member is not None:
            member.up = False
            member.disk.crash(self.random)
            self.note(f"crash {number}")

    def _tick(self, member: Member) -> None:
        if member.up:
            member.node.tick()
            member.lead()
            self.pump(member)
            self.at(TICK, lambda: self._tick(member))

    def pump(self, member: Member) -> None:
        """Begins what the member has to do, unless its disk is at work; then the sync's end comes here again."""
        while member.up and member.node.has_ready():
            ready = member.node.ready()
            entries = self.checks.ready(member.node, ready)
            position = member.write(ready)
            self._send(ready.messages)
            if ready.snapshot is None:
                member.apply(ready.committed_entries)
            if ready.must_sync:
                self.at(self.random.randint(1, self.sync_max), self._when_synced(member, ready, entries, position))
                return
            self._finish(member, ready)

    def _when_synced(self, member: Member, ready: Ready, entries: list[tuple[Entry, int | None]], position: int) -> Callable[[], None]:
        def synced() -> None:
            if member.up:
                member.disk.sync(position)
                self.checks.persisted(entries)
                self._finish(member, ready)
                self.pump(member)

        return synced

    def _finish(self, member: Member, ready: Ready) -> None:
        self._send(ready.messages_after_persist)
        if ready.snapshot is not None:
            member.restore(ready.snapshot)
        member.confirm(ready)
        member.node.advance()

    # The network

    def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._send_one(message)

    def _send_one(self, m: Message) -> None:
        sender = m.from_
        self.checks.sent(m)
        lost = (m.from_, m.to) in self.cut or self.random.random() < self.loss
        if m.type == MessageType.SNAP:
            self.at(self.delay_max + 5, lambda: self._report(sender, m.to, ok=not lost))
        if not lost:
            for _ in range(2 if self.random.random() < self.duplicates else 1):
                self.at(self.random.randint(1, self.delay_max), lambda: self._deliver(m))

    def _report(self, sender: int, to: int, *, ok: bool) -> None:
        if sender in self.members:
            self.members[sender].node.report_snapshot(to, ok=ok)
            self.pump(self.members[sender])

    def _deliver(self, m: Message) -> None:
        member = self.members.get(m.to)
        if member is None:
            return
        self._trace.update(b"%d %d %d %d %d %d %d\n" % (self.now, m.type, m.from_, m.to, m.term, m.index, m.commit))
        try:
            member.node.step(m)
        except ProposalDropped:
            self.note("dropped")
        self.pump(member)

    # The end

    def mend(self) -> None:
        self.cut.clear()
        self.loss, self.duplicates, self.delay_max, self.sync_max = 0.0, 0.0, 5, 5
        for number in MEMBERS:
            self.start(number)

    def agreed(self) -> None:
        """After a calm all voters have applied everything that any has: an election, a full log and lost messages have been got over."""
        latest = max(self.checks.committed, default=1)
        leaders = [member for member in self.members.values() if member.lead()]
        require(len(leaders) > 0, "liveness: no leader after the calm")
        voters = leaders[-1].conf.voters
        behind = {number: self.members[number].applied for number in voters if self.members[number].applied < latest}
        require(not behind, f"liveness: {behind} behind {latest} after the calm")
