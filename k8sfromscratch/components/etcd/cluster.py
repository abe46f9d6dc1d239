"""The Cluster service: who belongs to the cluster, and how that changes.

    add ─► is the cluster well enough? ─► Raft's change, with the new member's URLs ─► applied everywhere ─► answered
    promote ─► at the leader, which knows how far the learner is; any other member asks it

With --strict-reconfig-check a change after which the cluster could have no quorum is refused: members that were added and never started, or that
are down, count against it.  The rules and refusals are upstream's.
"""

import logging
from collections.abc import Sequence
from typing import Any

from k8sfromscratch.components.etcd import peer_messages as wire
from k8sfromscratch.components.etcd.bootstrap import member_messages
from k8sfromscratch.components.etcd.connection import Call, Unary
from k8sfromscratch.components.etcd.initial import check_url, member_id
from k8sfromscratch.components.etcd.member import Member, refusing
from k8sfromscratch.components.etcd.peer_link import PeerRefused
from k8sfromscratch.components.etcd.peers import Peers
from k8sfromscratch.core.raft.types import ConfChangeSingle, ConfChangeType, ConfChangeV2
from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage import group
from k8sfromscratch.storage.group import MemberInfo
from k8sfromscratch.storage.interface import Unavailable

log = logging.getLogger(__name__)

HEALTHY_ELECTIONS = 5
"""A member counts as healthy when it has been connected for so many election timeouts: 5 s with the defaults, as upstream's."""
READY_SHARE = 0.9
"""A learner is in sync when it has so much of the leader's log."""


class Unhealthy(Unavailable):
    def __init__(self) -> None:
        super().__init__("unhealthy cluster")


class ClusterServices:
    def __init__(self, member: Member, peers: Peers, *, token: str, strict: bool, learners_max: int, election_s: float, request_timeout_s: float) -> None:
        self._member, self._engine, self._peers = member, member.engine, peers
        self._token, self._strict, self._learners_max = token, strict, learners_max
        self._healthy_s, self._request_timeout_s = HEALTHY_ELECTIONS * election_s, request_timeout_s
        self.promoted = 0

    def unary(self) -> dict[str, Unary]:
        return {
            "/etcdserverpb.Cluster/MemberList": self.member_list,
            "/etcdserverpb.Cluster/MemberAdd": self.member_add,
            "/etcdserverpb.Cluster/MemberRemove": self.member_remove,
            "/etcdserverpb.Cluster/MemberUpdate": self.member_update,
            "/etcdserverpb.Cluster/MemberPromote": self.member_promote,
        }

    @refusing
    def member_list(self, data: bytes, call: Call) -> None:
        def answer() -> None:
            call.reply(m.MemberListResponse(header=self._member.header_now(), members=self._listed()).SerializeToString())

        if m.MemberListRequest.FromString(data).linearizable:
            self._member.read(call, answer)
        else:
            answer()

    @refusing
    def member_add(self, data: bytes, call: Call) -> None:
        self._member.require_admin(call)
        request = m.MemberAddRequest.FromString(data)
        urls = _urls(request.peerURLs, call)
        if urls is None:
            return
        now_s = int(self._member.env.clock.now().timestamp())
        new = MemberInfo(member_id(urls, self._token, now_s), "", urls, (), request.isLearner)
        self._check_add(new)
        kind = ConfChangeType.ADD_LEARNER_NODE if new.is_learner else ConfChangeType.ADD_NODE

        async def work() -> None:
            await self._engine.change_members(ConfChangeV2((ConfChangeSingle(kind, new.id),)), new)
            log.info("added member %x at %s", new.id, ",".join(urls))
            (added,) = member_messages([new])
            call.reply(m.MemberAddResponse(header=self._member.header_now(), member=added, members=self._listed()).SerializeToString())

        self._member.spawn(work(), call)

    @refusing
    def member_remove(self, data: bytes, call: Call) -> None:
        self._member.require_admin(call)
        gone = m.MemberRemoveRequest.FromString(data).ID
        self._check_remove(gone)

        async def work() -> None:
            await self._engine.change_members(ConfChangeV2((ConfChangeSingle(ConfChangeType.REMOVE_NODE, gone),)), None)
            log.info("removed member %x", gone)
            self._answer(call)

        self._member.spawn(work(), call)

    @refusing
    def member_update(self, data: bytes, call: Call) -> None:
        self._member.require_admin(call)
        request = m.MemberUpdateRequest.FromString(data)
        urls = _urls(request.peerURLs, call)
        if urls is None:
            return
        known = self._engine.members.get(request.ID)
        if known is None:
            raise group.MemberNotFound
        self._check_urls(urls, but=request.ID)

        async def work() -> None:
            await self._engine.update_member(MemberInfo(request.ID, known.name, urls, known.client_urls, known.is_learner))
            self._answer(call)

        self._member.spawn(work(), call)

    @refusing
    def member_promote(self, data: bytes, call: Call) -> None:
        self._member.require_admin(call)
        member = m.MemberPromoteRequest.FromString(data).ID

        async def work() -> None:
            if self._engine.is_leader:
                await self.promote(member)
            else:
                leader = self._engine.leader
                if not leader:
                    raise group.NoLeader
                try:
                    await self._peers[leader].ask(wire.PROMOTE, wire.pb.PromoteRequest(member=member).SerializeToString(), self._request_timeout_s)
                except PeerRefused as error:
                    call.finish(error.code, str(error))
                    return
                await self._engine.read_barrier()  # so that the list below has it
            self._answer(call)

        self._member.spawn(work(), call)

    async def promote(self, member: int) -> None:
        """As the leader.  Raises MembershipRefused, NotLeader, Unavailable."""
        if not self._engine.is_leader:
            raise group.NotLeader
        known = self._engine.members.get(member)
        if known is None:
            raise group.MemberNotFound
        if not known.is_learner:
            raise group.NotLearner
        status = self._engine.status()
        progress = status.members.get(member)
        if progress is None or progress.match < READY_SHARE * status.last_index:
            raise group.LearnerNotReady
        voters = [each for each in self._engine.members.values() if not each.is_learner]
        if self._strict and sum(bool(each.name) for each in voters) + 1 < _quorum(len(voters) + 1):
            raise group.LastVoter
        await self._engine.change_members(ConfChangeV2((ConfChangeSingle(ConfChangeType.ADD_NODE, member),)), None)
        self.promoted += 1
        log.info("promoted member %x", member)

    # Whether the cluster can bear it

    def _check_add(self, new: MemberInfo) -> None:
        """Raises MembershipRefused, Unhealthy."""
        members = self._engine.members.values()
        self._check_urls(new.peer_urls)
        if new.id in self._engine.members:
            raise group.MemberExists
        if new.is_learner and sum(each.is_learner for each in members) >= self._learners_max:
            raise group.TooManyLearners
        if not self._strict:
            return
        voters = [each for each in members if not each.is_learner]
        started = sum(bool(each.name) for each in voters)
        # A lone member may always be joined by a second one: otherwise no cluster could grow.
        if not new.is_learner and not (started == 1 and len(voters) == 1) and started < _quorum(len(voters) + 1):
            raise group.LastVoter
        if self._connected(voters) < len(voters):
            raise Unhealthy

    def _check_remove(self, gone: int) -> None:
        """Raises MembershipRefused, Unhealthy."""
        known = self._engine.members.get(gone)
        if gone in self._engine.removed:
            raise group.MemberIsRemoved
        if known is None:
            raise group.MemberNotFound
        if not self._strict or known.is_learner:
            return
        voters = [each for each in self._engine.members.values() if not each.is_learner]
        left = [each for each in voters if each.id != gone]
        if not left or sum(bool(each.name) for each in left) < _quorum(len(left)):
            raise group.LastVoter
        if gone != self._member.id and self._peers.active_since(gone) is None:
            return  # it is down: without it there is no less of a quorum
        if self._connected(voters) - 1 < _quorum(len(left)):
            raise Unhealthy

    def _check_urls(self, urls: Sequence[str], but: int = 0) -> None:
        for each in self._engine.members.values():
            if each.id != but and set(each.peer_urls) & set(urls):
                raise group.PeerUrlExists

    def _connected(self, voters: Sequence[MemberInfo]) -> int:
        """How many of them are connected for long enough, this member among them."""
        before = self._member.env.clock.monotonic() - self._healthy_s
        since = (self._peers.active_since(each.id) for each in voters if each.id != self._member.id)
        return sum(each.id == self._member.id for each in voters) + sum(each is not None and each <= before for each in since)

    def _listed(self) -> list[Any]:
        return member_messages(self._engine.members.values())

    def _answer(self, call: Call) -> None:
        call.reply(m.MembersResponse(header=self._member.header_now(), members=self._listed()).SerializeToString())


def _quorum(members: int) -> int:
    return members // 2 + 1


def _urls(given: Sequence[str], call: Call) -> tuple[str, ...] | None:
    """None where they are none, which is told."""
    try:
        urls = tuple(sorted({check_url(url) for url in given}))
    except ValueError:
        urls = ()
    if not urls:
        call.finish(grpc.INVALID_ARGUMENT, "etcdserver: given member URLs are invalid")
        return None
    return urls
