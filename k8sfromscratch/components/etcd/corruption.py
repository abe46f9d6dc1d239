"""Do the members hold the same?  Each hashes what it has at one revision, and the hashes are compared.

    at the start      a member that differs from the others does not begin to serve (--experimental-initial-corrupt-check)
    now and then      the leader compares; who differs gets the alarm CORRUPT, and nothing is answered any more before somebody has looked
                      (--experimental-corrupt-check-time)

All goes on meanwhile: members apply, and compact at the same place of the log, each when it comes to it.  So each says of which revisions its hash is,
and only those taken above the same compacted revision are compared.
"""

import asyncio
import logging

from google.protobuf.message import DecodeError

from k8sfromscratch.components.etcd import peer_messages as wire
from k8sfromscratch.components.etcd.member import Member
from k8sfromscratch.components.etcd.peer_link import PeerRefused
from k8sfromscratch.components.etcd.peers import Peers
from k8sfromscratch.core.mvcc.errors import MvccError
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.service import StartError
from k8sfromscratch.storage.interface import Unavailable
from k8sfromscratch.storage.machine import ALARM_ACTIVATE, ALARM_CORRUPT, Kind

log = logging.getLogger(__name__)

ASK_S = 30.0
"""A hash reads the whole database."""


async def differing(member: Member, peers: Peers) -> list[int]:
    """The members that hold something else than this one; those that cannot be asked are left out.  Raises Unavailable."""
    own = await member.checksum(0)
    revision = own.revision
    found = []
    for peer in peers.all():
        try:
            raw = await peer.ask(wire.HASH_KV, m.HashKVRequest(revision=revision).SerializeToString(), ASK_S)
            theirs = m.HashKVResponse.FromString(raw)
        except (PeerRefused, Unavailable, DecodeError) as error:
            log.info("member %x cannot be compared at revision %d: %s", peer.id, revision, error)
            continue
        if theirs.compact_revision == own.compact_revision and theirs.hash != own.crc32:
            log.error("member %x differs at revision %d: its hash is %d, and ours %d", peer.id, revision, theirs.hash, own.crc32)
            found.append(peer.id)
    return found


async def check_at_start(member: Member, peers: Peers) -> None:
    """Raises StartError."""
    if wrong := await differing(member, peers):
        raise StartError(f"found data inconsistency with peers: {', '.join(f'{each:x}' for each in wrong)}; restore this member, or remove and add it again")


async def check_often(member: Member, peers: Peers, every_s: float) -> None:
    """As long as this member leads, until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        if not member.engine.is_leader:
            continue
        try:
            await member.engine.read_barrier()
            for wrong in await differing(member, peers):
                raised = m.AlarmRequest(action=ALARM_ACTIVATE, memberID=wrong, alarm=ALARM_CORRUPT)
                await member.engine.proposed(Kind.ALARM, raised.SerializeToString(), raised)
        except (MvccError, Unavailable) as error:
            log.warning("the members could not be compared: %s", error)
