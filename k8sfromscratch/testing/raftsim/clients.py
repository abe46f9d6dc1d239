"""What clients do in a run: write and read registers, keep leases, watch everything."""

from collections.abc import Callable
from random import Random

from k8sfromscratch.core.mvcc.errors import MvccError
from k8sfromscratch.core.mvcc.types import Event, RangeOp
from k8sfromscratch.core.raft.types import ProposalDropped
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.machine import Kind
from k8sfromscratch.testing.linearizability import Operation
from k8sfromscratch.testing.raftsim.member import Member
from k8sfromscratch.testing.raftsim.world import STORM_UNTIL, World

KEYS = (b"a", b"b", b"c")
LEASE_TTL = 400


class Clients:
    def __init__(self, world: World) -> None:
        self.world, self.random = world, Random(world.random.getrandbits(32))
        self._number = 0
        self._leases: list[int] = []
        self._operations = world.checks.operations
        self.watchers = [Watcher(world, number, Random(self.random.getrandbits(32))) for number in range(2)]
        world.at(200, self._act)

    def _act(self) -> None:
        world = self.world
        if world.now >= STORM_UNTIL + 1500:
            return
        world.at(self.random.randint(2, 40), self._act)
        if world.members:
            member = world.members[self.random.choice(sorted(world.members))]
            self.random.choices((self._put, self._read, self._grant, self._keep_alive), (6, 6, 1, 3))[0](member)
            world.pump(member)
        for each in world.members.values():
            self._revoke_expired(each)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _put(self, member: Member) -> None:
        world, key, value = self.world, self.random.choice(KEYS), b"%d" % self._next()
        history = self._operations.setdefault(key, [])
        lease = self.random.choice(self._leases) if self._leases and self.random.random() < 0.2 else 0
        if lease:
            key = b"leased/%d" % lease
        payload = bytes([Kind.PUT]) + m.PutRequest(key=key, value=value, lease=lease).SerializeToString()
        at, called = len(history), world.now
        if not lease:
            history.append(Operation(called, None, True, value))
            member.writes[payload] = lambda: history.__setitem__(at, Operation(called, world.now, True, value))
        try:
            member.node.propose(payload)
        except ProposalDropped:
            member.writes.pop(payload, None)

    def _read(self, member: Member) -> None:
        world, key, called = self.world, self.random.choice(KEYS), self.world.now
        history = self._operations.setdefault(key, [])

        def served() -> None:
            kvs = member.machine.store.range(RangeOp(key)).kvs
            history.append(Operation(called, world.now, False, kvs[0].value if kvs else None))

        self._confirmed(member, served)

    def _confirmed(self, member: Member, served: Callable[[], None]) -> None:
        context = b"%d/%d" % (member.id, self._next())
        member.reads[context] = served
        try:
            member.node.read_index(context)
        except ProposalDropped:
            del member.reads[context]

    def _grant(self, member: Member) -> None:
        lease = self._next()
        try:
            member.node.propose(bytes([Kind.GRANT]) + m.LeaseGrantRequest(ID=lease, TTL=LEASE_TTL).SerializeToString())
        except ProposalDropped:
            return
        self._leases = [*self._leases[-2:], lease]

    def _keep_alive(self, member: Member) -> None:
        """At one that leads, behind a read that it confirms itself: a leader that was replaced must not promise anything."""
        leaders = [each for each in self.world.members.values() if each.lead()]
        if not self._leases or not leaders:
            return
        lease, called, checks, leader = self.random.choice(self._leases), self.world.now, self.world.checks, self.random.choice(leaders)

        def served() -> None:
            if leader.lead():
                try:
                    leader.machine.store.leases.keep_alive(lease, float(self.world.now))
                except MvccError:
                    return
                checks.lease_alive_until[lease] = max(checks.lease_alive_until.get(lease, 0), called + LEASE_TTL)

        self._confirmed(leader, served)
        self.world.pump(leader)

    def _revoke_expired(self, member: Member) -> None:
        if member.lead():
            for lease in member.machine.store.leases.expired(float(self.world.now)):
                try:
                    member.node.propose(bytes([Kind.REVOKE]) + m.LeaseRevokeRequest(ID=lease).SerializeToString())
                except ProposalDropped:
                    return
            self.world.pump(member)


class Watcher:
    """Follows all keys from revision 2, at one member after the other."""

    def __init__(self, world: World, number: int, random: Random) -> None:
        self.world, self.number, self.random = world, number, random
        self.received: list[tuple[int, list[Event]]] = []
        self.last = 1
        self._at: Member | None = None
        world.at(300, self._move)

    def _move(self) -> None:
        """Resumes elsewhere, behind what it has."""
        world = self.world
        world.at(self.random.randint(100, 500), self._move)
        if not world.members:
            return
        member = world.members[self.random.choice(sorted(world.members))]
        if self._at is not None and self._live in self._at.watchers:
            self._at.watchers.remove(self._live)
        self._at = member
        store = member.machine.store
        if store.revision > self.last:
            for revision, events in store.events(b"\0", b"\0", self.last + 1, store.revision, prev_kv=True):
                self._live(revision, events)
            self.last = store.revision
        member.watchers.append(self._live)

    def _live(self, revision: int, events: list[Event]) -> None:
        if revision > self.last:  # a member that lags repeats what it had elsewhere
            self.received.append((revision, events))
            self.last = revision
