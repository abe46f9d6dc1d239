"""The Lease service.  Granting and revoking are records of the log like any other; how long a lease still lives, only the leader knows.

    keep-alive or time to live ─► this member leads: answered here
                               └► another does: it is asked; while nobody leads, or the leader changes, again until the request's time is over

So keep-alives go on over a change of leaders: the new one lets every lease live a whole time to live from when it began to lead.  A leader that was
replaced and does not know it (it was paused, or cut off) must promise nothing, as the new one will not keep it: before it answers, a majority
confirms that it leads.  One question is enough for all that wait.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from k8sfromscratch.components.etcd import peer_messages as wire
from k8sfromscratch.components.etcd.connection import Call, OpenStream, Unary
from k8sfromscratch.components.etcd.member import Member, fail, refusing
from k8sfromscratch.components.etcd.peer_link import PeerRefused
from k8sfromscratch.components.etcd.peers import Peers
from k8sfromscratch.core.mvcc import errors
from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.group import LeaderChanged, NoLeader, NotLeader, RequestTimedOut
from k8sfromscratch.storage.interface import Unavailable
from k8sfromscratch.storage.machine import Kind

LEASE_TTL_MAX_S = 9_000_000_000
LOOK_AGAIN_S = 0.02
"""How soon it is looked again who leads."""
WAITING_MAX = 10_000
"""Keep-alives of one stream that wait for a leader; then the stream is given up."""


class Leasing:
    def __init__(self, member: Member, peers: Peers, *, election_s: float, request_timeout_s: float) -> None:
        self._member, self._engine, self._env, self._peers = member, member.engine, member.env, peers
        self._request_timeout_s = request_timeout_s
        # Shorter ones would end before a new leader is elected: upstream's rule.
        self._ttl_min_s = max(1, int(-(-3 * election_s // 2)))

    def unary(self) -> dict[str, Unary]:
        return {
            "/etcdserverpb.Lease/LeaseGrant": self.grant,
            "/etcdserverpb.Lease/LeaseRevoke": self.revoke,
            "/etcdserverpb.Lease/LeaseTimeToLive": self.time_to_live,
            "/etcdserverpb.Lease/LeaseLeases": self.leases,
        }

    def streams(self) -> dict[str, OpenStream]:
        return {"/etcdserverpb.Lease/LeaseKeepAlive": lambda call: KeepAlives(call, self)}

    @refusing
    def grant(self, data: bytes, call: Call) -> None:
        request = m.LeaseGrantRequest.FromString(data)
        if request.TTL > LEASE_TTL_MAX_S:
            call.finish(grpc.OUT_OF_RANGE, "etcdserver: too large lease TTL")
            return
        if not self._member.has_room(data, call):
            return
        # The identifier is chosen before the record is written, so that reading the log again gives the same lease.
        granted = m.LeaseGrantRequest(ID=request.ID or self._env.rng.getrandbits(62) + 1, TTL=max(request.TTL, self._ttl_min_s))

        def response(lease: Any) -> Any:
            return m.LeaseGrantResponse(header=self._member.header_now(), ID=lease.id, TTL=lease.ttl_s)

        self._member.propose(call, Kind.GRANT, granted.SerializeToString(), (granted.ID, granted.TTL), self._member.answering(call, response))

    @refusing
    def revoke(self, data: bytes, call: Call) -> None:
        answered = self._member.answering(call, lambda _: m.LeaseRevokeResponse(header=self._member.header_now()))
        self._member.propose(call, Kind.REVOKE, data, m.LeaseRevokeRequest.FromString(data).ID, answered)

    def leases(self, data: bytes, call: Call) -> None:
        leases = [m.LeaseStatus(ID=lease.id) for lease in self._engine.store.leases.all()]
        call.reply(m.LeaseLeasesResponse(header=self._member.header_now(), leases=leases).SerializeToString())

    # What only the leader knows

    @refusing
    def time_to_live(self, data: bytes, call: Call) -> None:
        request = m.LeaseTimeToLiveRequest.FromString(data)
        if self._member.auth.enabled and request.keys:
            self._engine.machine.check_lease_read(self._member.who(call), request.ID)

        async def work() -> None:
            await self._engine.read_barrier()
            if self._engine.is_leader:
                response = self.time_to_live_here(request)
            else:
                response = m.LeaseTimeToLiveResponse.FromString(await self._leader(wire.TIME_TO_LIVE, data))
                response.header.CopyFrom(self._member.header_now())
            call.reply(response.SerializeToString())

        self._member.spawn(work(), call)

    def time_to_live_here(self, request: Any) -> Any:
        """Raises NotLeader."""
        if not self._engine.is_leader:
            raise NotLeader
        response = m.LeaseTimeToLiveResponse(header=self._member.header_now(), ID=request.ID, TTL=-1)
        if request.ID in self._engine.store.leases:
            lease = self._engine.store.leases.get(request.ID)
            response.TTL = max(int(lease.expires_at - self._env.clock.monotonic()), 0)
            response.grantedTTL = lease.ttl_s
            if request.keys:
                response.keys.extend(sorted(lease.keys))
        return response

    @property
    def member(self) -> Member:
        return self._member

    async def renewed_here(self, leases: Sequence[int]) -> list[Any]:
        """In a term that began, or was confirmed, after they were asked for.  Raises NotLeader, Unavailable."""
        if not self._engine.is_leader:
            raise NotLeader
        await self._engine.read_barrier()
        if not self._engine.is_leader:
            raise NotLeader
        return [await self._renewed(lease) for lease in leases]

    async def _renewed(self, lease: int) -> Any:
        """A lease that is gone has TTL 0."""
        try:
            ttl_s = (await self._engine.lessor.renew(lease)).ttl_s
        except errors.LeaseNotFound:
            ttl_s = 0
        return m.LeaseKeepAliveResponse(header=self._member.header_now(), ID=lease, TTL=ttl_s)

    async def renewed(self, leases: Sequence[int]) -> list[Any]:
        """Wherever the leader is.  Raises Unavailable."""
        if self._engine.is_leader:
            try:
                return await self.renewed_here(leases)
            except (NotLeader, LeaderChanged):
                pass  # the next one is asked
        answers = []
        for lease in leases:
            response = m.LeaseKeepAliveResponse.FromString(await self._leader(wire.KEEP_ALIVE, m.LeaseKeepAliveRequest(ID=lease).SerializeToString()))
            response.header.CopyFrom(self._member.header_now())
            answers.append(response)
        return answers

    async def _leader(self, method: str, data: bytes) -> bytes:
        """The leader's answer, who may be this member by now.  Raises Unavailable when there is none in the request's time."""
        clock = self._env.clock
        end_s = clock.monotonic() + self._request_timeout_s
        while (left_s := end_s - clock.monotonic()) > 0:
            leader = self._engine.leader
            try:
                if leader == self._member.id and self._engine.is_leader:
                    return await self._here(method, data)
                if leader and leader != self._member.id:
                    return await self._peers[leader].ask(method, data, min(left_s, self._request_timeout_s / 2))
            except (NotLeader, PeerRefused, Unavailable):
                pass  # it leads no more, or is just gone
            await asyncio.sleep(LOOK_AGAIN_S)
        raise RequestTimedOut if self._engine.leader else NoLeader

    async def _here(self, method: str, data: bytes) -> bytes:
        if method == wire.KEEP_ALIVE:
            (response,) = await self.renewed_here([m.LeaseKeepAliveRequest.FromString(data).ID])
        else:
            response = self.time_to_live_here(m.LeaseTimeToLiveRequest.FromString(data))
        return bytes(response.SerializeToString())


class KeepAlives:
    """One LeaseKeepAlive call: each request is answered, in order."""

    def __init__(self, call: Call, leasing: Leasing) -> None:
        self._call, self._leasing = call, leasing
        self._waiting: deque[int] = deque()
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    def message(self, data: bytes) -> None:
        try:
            lease = m.LeaseKeepAliveRequest.FromString(data).ID
        except DecodeError as error:
            fail(self._call, error)
            return
        if len(self._waiting) >= WAITING_MAX:
            self.closed()
            self._call.finish(grpc.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
            return
        self._waiting.append(lease)
        if self._task is None:
            self._task = self._leasing.member.spawn(self._forward(), self._call)

    async def _forward(self) -> None:
        while self._waiting:
            for answer in await self._leasing.renewed(list(self._waiting)):
                self._call.send(answer.SerializeToString())
                self._waiting.popleft()
        self._task = None
        if self._ending:
            self._call.finish()

    def half_closed(self) -> None:
        self._ending = True
        if self._task is None:
            self._call.finish()

    def closed(self) -> None:
        if self._task is not None:
            self._task.cancel()
