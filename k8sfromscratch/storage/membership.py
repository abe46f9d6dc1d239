"""The members of the cluster as all of them have agreed on: who they are, not how far they are.

Raft knows identifiers and votes; names and URLs are here, replicated with the rest of the state.  A change is checked when it is applied, where the
order of all changes is known, and so it is made or refused alike everywhere; one that is refused here is kept from Raft too.

    invariant: an identifier that was removed is never a member again
    invariant: no two members have a peer URL in common

In the database, as upstream's: bucket `members`, hexadecimal identifier -> JSON; bucket `members_removed`, hexadecimal identifier -> "removed".
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from k8sfromscratch.core.raft.types import ConfChangeType, ConfChangeV2
from k8sfromscratch.storage.group import LastVoter, MemberExists, MemberInfo, MemberIsRemoved, MemberNotFound, NotLearner, PeerUrlExists

MEMBERS, REMOVED = b"members", b"members_removed"
_ADDS = (ConfChangeType.ADD_NODE, ConfChangeType.ADD_LEARNER_NODE)


class Membership:
    def __init__(self, members: Iterable[MemberInfo] = ()) -> None:
        self.members: dict[int, MemberInfo] = {each.id: each for each in members}
        self.removed: set[int] = set()

    def check(self, change: ConfChangeV2, added: MemberInfo | None) -> None:
        """Raises MembershipRefused."""
        for each in change.changes:
            present = self.members.get(each.node_id)
            if each.node_id in self.removed:
                raise MemberIsRemoved
            if each.type in _ADDS and added is not None:
                if present is not None:
                    raise MemberExists
                self._check_urls(added)
            elif present is None:
                raise MemberNotFound
            elif each.type == ConfChangeType.ADD_NODE and not present.is_learner:
                raise NotLearner
            elif each.type == ConfChangeType.ADD_LEARNER_NODE:
                raise MemberExists
            elif each.type == ConfChangeType.REMOVE_NODE and not any(m.id != present.id and not m.is_learner for m in self.members.values()):
                raise LastVoter

    def change(self, change: ConfChangeV2, added: MemberInfo | None) -> None:
        """One that was checked."""
        for each in change.changes:
            if each.type in _ADDS:
                info = added if added is not None else self.members[each.node_id]
                self.members[each.node_id] = replace(info, is_learner=each.type == ConfChangeType.ADD_LEARNER_NODE)
            elif each.type == ConfChangeType.REMOVE_NODE:
                del self.members[each.node_id]
                self.removed.add(each.node_id)

    def update(self, info: MemberInfo) -> None:
        """Raises MembershipRefused."""
        present = self.members.get(info.id)
        if present is None:
            raise MemberNotFound
        self._check_urls(info)
        self.members[info.id] = replace(info, is_learner=present.is_learner)

    def _check_urls(self, info: MemberInfo) -> None:
        if any(set(info.peer_urls) & set(each.peer_urls) for each in self.members.values() if each.id != info.id):
            raise PeerUrlExists

    # The database

    def buckets(self) -> dict[bytes, dict[bytes, bytes]]:
        return {
            MEMBERS: {b"%x" % member: _encode(info) for member, info in self.members.items()},
            REMOVED: {b"%x" % member: b"removed" for member in self.removed},
        }

    def restore(self, buckets: Mapping[bytes, Mapping[bytes, bytes]]) -> None:
        self.members = {int(key, 16): _decode(raw) for key, raw in sorted(buckets.get(MEMBERS, {}).items())}
        self.removed = {int(key, 16) for key in buckets.get(REMOVED, {})}


def _encode(info: MemberInfo) -> bytes:
    fields = {"id": info.id, "peerURLs": info.peer_urls, "isLearner": info.is_learner, "name": info.name, "clientURLs": info.client_urls}
    return json.dumps({key: value for key, value in fields.items() if value or key in ("id", "peerURLs")}).encode()


def _decode(raw: bytes) -> MemberInfo:
    read = json.loads(raw)
    return MemberInfo(read["id"], read.get("name", ""), tuple(read["peerURLs"]), tuple(read.get("clientURLs", ())), read.get("isLearner", False))
