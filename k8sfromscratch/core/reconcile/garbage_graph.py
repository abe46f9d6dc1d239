"""Who owns whom: the ownership graph of all objects, as the garbage collector's watches show it.

    Deployment web ◄── ReplicaSet web-7d9 ◄── Pod web-7d9-x ◄── …       an edge is an ownerReference, by uid
    Node n1        ◄── Lease n1

Watches of different resources are not ordered against each other: a pod may be seen before the ReplicaSet that owns it.  So a
missing owner proves nothing.  An owner is *absent* only when its deletion was watched, or a live read did not find it; uids never come
back, so what is absent stays absent.

`upsert` and `remove` answer with the uids that need a look (`garbage_collector.plan`); looking too often is harmless.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import Object

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
ABSENT_UIDS_MAX = 5000
"""How many absent owners are remembered; one that is forgotten costs a live read."""


@dataclass(frozen=True, slots=True)
class Node:
    """What the collector keeps of an object: a few strings, never the object."""

    resource: Resource
    namespace: str | None
    name: str
    uid: str
    resource_version: str
    owners: tuple[Mapping[str, Any], ...]
    finalizers: tuple[str, ...]
    deleting: bool

    @property
    def awaits_dependents(self) -> bool:
        """Foreground deletion: it goes when the dependents that block it have gone."""
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def releases_dependents(self) -> bool:
        return self.deleting and ORPHAN in self.finalizers

    def blocks(self, owner_uid: str) -> bool:
        return any(owner["uid"] == owner_uid and owner.get("blockOwnerDeletion") for owner in self.owners)


def node_of(resource: Resource, obj: Object) -> Node:
    """From the object or from its PartialObjectMetadata."""
    metadata = obj["metadata"]
    return Node(
        resource=resource,
        namespace=metadata.get("namespace") if resource.namespaced else None,
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata.get("resourceVersion", ""),
        owners=tuple(objects.owner_references(obj)),
        finalizers=tuple(objects.finalizers(obj)),
        deleting=objects.deleting(obj),
    )


class Graph:
    """Invariant: `_dependents[u]` holds exactly the uids of known nodes that name `u` as an owner."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._dependents: dict[str, set[str]] = {}
        self._absent: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, uid: str) -> Node | None:
        return self._nodes.get(uid)

    def dependents(self, uid: str) -> list[Node]:
        """In a fixed order, so that the same history gives the same plans."""
        return sorted((self._nodes[one] for one in self._dependents.get(uid, ())), key=lambda node: node.uid)

    def upsert(self, node: Node) -> list[str]:
        before = self._nodes.get(node.uid)
        self._nodes[node.uid] = node
        old_owners = {owner["uid"] for owner in before.owners} if before is not None else set()
        new_owners = {owner["uid"] for owner in node.owners}
        self._unlink(node.uid, old_owners - new_owners)
        for owner_uid in new_owners:
            self._dependents.setdefault(owner_uid, set()).add(node.uid)
        look: list[str] = []
        if self._needs_look(node):
            look.append(node.uid)
        if node.awaits_dependents and not (before is not None and before.awaits_dependents):
            look += sorted(self._dependents.get(node.uid, ()))
        # An owner that waits for its dependents may have one less to wait for.
        look += sorted(uid for uid in old_owners | new_owners if (owner := self._nodes.get(uid)) is not None and owner.awaits_dependents)
        return list(dict.fromkeys(look))

    def remove(self, uid: str) -> list[str]:
        """The object's deletion was watched."""
        self.mark_absent(uid)
        return self.forget(uid)

    def forget(self, uid: str) -> list[str]:
        """The object is watched no more: what has become of it is not known."""
        node = self._nodes.pop(uid, None)
        if node is None:
            return []
        owner_uids = [owner["uid"] for owner in node.owners]
        self._unlink(uid, owner_uids)
        waiting = [one for one in owner_uids if (owner := self._nodes.get(one)) is not None and owner.awaits_dependents]
        return list(dict.fromkeys([*sorted(self._dependents.get(uid, ())), *waiting]))

    def mark_absent(self, uid: str) -> None:
        self._absent[uid] = None
        self._absent.move_to_end(uid)
        while len(self._absent) > ABSENT_UIDS_MAX:
            self._absent.popitem(last=False)

    def is_absent(self, uid: str) -> bool:
        return uid in self._absent

    def _needs_look(self, node: Node) -> bool:
        if node.deleting:
            return node.awaits_dependents or node.releases_dependents
        owners = [self._nodes.get(owner["uid"]) for owner in node.owners]
        return any(owner is None or owner.awaits_dependents for owner in owners)

    def _unlink(self, uid: str, owner_uids: Iterable[str]) -> None:
        for owner_uid in owner_uids:
            dependents = self._dependents.get(owner_uid)
            if dependents is not None:
                dependents.discard(uid)
                if not dependents:
                    del self._dependents[owner_uid]
