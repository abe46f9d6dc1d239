"""Who a member is when it starts: what its data directory says, or its flags, or the cluster that it joins.

    the directory has an identity   ─► that one; the flags --initial-… mean nothing any more
    --initial-cluster-state=new     ─► all derive the same from --initial-cluster, unless the others are at work already
    --initial-cluster-state=existing ─► the others are asked which identifier they gave this member when it was added

A member whose directory was lost must not begin the cluster anew: it would vote a second time in terms in which it has voted.  So one that is asked
to begin a cluster asks the others first whether they know it.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from k8sfromscratch.components.etcd import peer_messages as wire
from k8sfromscratch.components.etcd.certificates import ClientTls
from k8sfromscratch.components.etcd.config import EtcdFlags
from k8sfromscratch.components.etcd.initial import InitialClusterError, Urls, check_own_part, cluster_id, member_id, same_members
from k8sfromscratch.components.etcd.peer_link import PeerRefused, connect
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.service import StartError
from k8sfromscratch.storage.group import MemberInfo
from k8sfromscratch.storage.interface import Unavailable

log = logging.getLogger(__name__)

ASK_S = 2.0
"""How long a member of the cluster may take to say who belongs to it."""


@dataclass(frozen=True, slots=True)
class Identity:
    member: int
    cluster: int
    first_members: tuple[MemberInfo, ...] = ()
    """With whom the cluster begins; none where it is there."""
    others: tuple[MemberInfo, ...] = ()
    """Of a cluster that is joined: they are answered before this member knows its cluster from its log."""


@dataclass(frozen=True, slots=True)
class Existing:
    """A cluster as one of its members tells it."""

    cluster: int
    members: tuple[MemberInfo, ...]


async def begin(flags: EtcdFlags, tls: ClientTls) -> Identity:
    """Of a member whose directory is empty.  `tls` is for asking others.  Raises StartError."""
    cluster = flags.members
    try:
        check_own_part(flags.name, flags.initial_advertise_peer_urls, cluster)
        if flags.initial_cluster_state == "existing":
            return await _join(flags.name, cluster, tls)
        return await _found(flags.name, cluster, flags.initial_cluster_token, tls)
    except InitialClusterError as error:
        raise StartError(str(error)) from error


async def _found(name: str, cluster: Mapping[str, Urls], token: str, tls: ClientTls) -> Identity:
    """Raises StartError, InitialClusterError."""
    ids = {each: member_id(urls, token) for each, urls in cluster.items()}
    if len(set(ids.values())) < len(ids):
        raise InitialClusterError("two members of --initial-cluster have the same peer URLs")
    others = [url for each, urls in cluster.items() if each != name for url in urls]
    for existing in await asyncio.gather(*(_ask(url, tls) for url in others), return_exceptions=True):
        if isinstance(existing, Existing) and any(each.id == ids[name] and each.client_urls for each in existing.members):
            raise StartError(f"member {ids[name]:x} has already been bootstrapped: its data directory was lost; remove it from the cluster and add it again")
        if isinstance(existing, BaseException) and not isinstance(existing, Unavailable | PeerRefused):
            raise existing
    first = tuple(MemberInfo(ids[each], each, urls) for each, urls in cluster.items())
    return Identity(ids[name], cluster_id(ids.values()), first)


async def _join(name: str, cluster: Mapping[str, Urls], tls: ClientTls) -> Identity:
    """Raises StartError, InitialClusterError.  A member that lags may not know of this one yet: any of them will do."""
    reason: Exception | None = None
    for url in [url for each, urls in cluster.items() if each != name for url in urls]:
        try:
            existing = await _ask(url, tls)
            ids = same_members(cluster, {each.id: each.peer_urls for each in existing.members})
            others = tuple(each for each in existing.members if each.id != ids[name])
            log.info("joining cluster %x as member %x", existing.cluster, ids[name])
            return Identity(ids[name], existing.cluster, others=others)
        except (Unavailable, PeerRefused) as error:
            log.warning("cannot get the members of the cluster from %s: %s", url, error)
            reason = reason or error
        except InitialClusterError as error:
            reason = error
    if isinstance(reason, InitialClusterError):
        raise reason
    raise StartError(f"cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs ({reason or 'there are none'})")


async def _ask(url: str, tls: ClientTls) -> Existing:
    """Raises Unavailable, PeerRefused."""
    link = await connect(url, tls())
    try:
        answer = wire.pb.Members.FromString(await link.request(wire.MEMBERS, b"", (), ASK_S))
        return Existing(answer.cluster_id, tuple(info_of(m.Member.FromString(raw)) for raw in answer.members))
    except DecodeError as error:
        raise Unavailable(f"{url} answers what cannot be read: {error}") from error
    finally:
        link.close()


def info_of(member: Any) -> MemberInfo:
    """Of etcd's message Member."""
    return MemberInfo(member.ID, member.name, tuple(member.peerURLs), tuple(member.clientURLs), member.isLearner)


def member_messages(members: Iterable[MemberInfo]) -> list[Any]:
    """As etcd's messages, in the order of `member list`."""
    return [
        m.Member(ID=each.id, name=each.name, peerURLs=each.peer_urls, clientURLs=each.client_urls, isLearner=each.is_learner)
        for each in sorted(members, key=lambda each: each.id)
    ]
