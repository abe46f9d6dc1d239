"""What becomes of one object in view of its owners, and of its dependents while it is being deleted.

    being deleted, finalizer `orphan`               dependents lose their reference to it, then it loses the finalizer
    being deleted, finalizer `foregroundDeletion`   it loses the finalizer once no dependent blocks it any more
    being deleted otherwise                         nothing
    some owner is solid                             references to owners that are gone or going are dropped
    owners only wait for it to go                   deleted, in the foreground if it has dependents itself
    all owners are absent                           deleted, its own finalizers choosing the policy, else in the background
    an owner's state is not known                   nothing: never delete on a guess

Every write carries uid and resourceVersion as they were judged, so a change in between makes it fail and the object is judged again.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal

from k8sfromscratch.core.reconcile.garbage_graph import FOREGROUND, ORPHAN, Node
from k8sfromscratch.core.reconcile.plan import NOTHING, Delete, Patch, Plan, Step, Together, Write


class OwnerState(Enum):
    SOLID = "solid"
    WAITING = "waiting"
    """It is being deleted in the foreground, and waits for its dependents."""
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """Its kind is not served, or the reference cannot be resolved (a namespaced owner of a cluster-scoped object)."""


def plan(node: Node | None, owner_states: Mapping[str, OwnerState], dependents: Sequence[Node]) -> Plan:
    """`owner_states`: by owner uid, one for each of the node's references."""
    if node is None:
        return NOTHING
    if node.deleting:
        if node.releases_dependents:
            releases = tuple(_without_owners(one, {node.uid}) for one in dependents)
            return Plan((*((Together(releases),) if releases else ()), _without_finalizer(node, ORPHAN)))
        if node.awaits_dependents and not any(one.blocks(node.uid) for one in dependents):
            return Plan((_without_finalizer(node, FOREGROUND),))
        return NOTHING
    states = {owner["uid"]: owner_states[owner["uid"]] for owner in node.owners}
    by_state = {state: {uid for uid, its in states.items() if its is state} for state in OwnerState}
    dropped = by_state[OwnerState.ABSENT] | by_state[OwnerState.WAITING]
    if not dropped:
        return NOTHING
    if by_state[OwnerState.SOLID]:
        return Plan((_without_owners(node, dropped),))
    if by_state[OwnerState.UNKNOWN]:
        return NOTHING
    policy: Literal["Background", "Foreground", "Orphan"] = "Background"
    steps: list[Step] = []
    if by_state[OwnerState.WAITING] and dependents:
        if any(one.awaits_dependents for one in dependents):
            # A cycle: each would wait for the other for ever.
            steps.append(_unblocking(node))
            return Plan((*steps, _deletion(node, "Foreground", versioned=False)))
        policy = "Foreground"
    elif ORPHAN in node.finalizers:
        policy = "Orphan"
    elif FOREGROUND in node.finalizers:
        policy = "Foreground"
    return Plan((_deletion(node, policy),))


def _deletion(node: Node, policy: Literal["Background", "Foreground", "Orphan"], *, versioned: bool = True) -> Delete:
    version = node.resource_version if versioned else None
    return Delete(node.resource, node.namespace, node.name, node.uid, version, propagation_policy=policy)


def _without_owners(node: Node, uids: set[str]) -> Write:
    return _metadata_patch(node, {"ownerReferences": [dict(owner) for owner in node.owners if owner["uid"] not in uids]})


def _unblocking(node: Node) -> Write:
    return _metadata_patch(node, {"ownerReferences": [{**owner, "blockOwnerDeletion": False} for owner in node.owners]})


def _without_finalizer(node: Node, finalizer: str) -> Write:
    return _metadata_patch(node, {"finalizers": [one for one in node.finalizers if one != finalizer]})


def _metadata_patch(node: Node, change: dict[str, Any]) -> Patch:
    metadata = {"uid": node.uid, "resourceVersion": node.resource_version, **change}
    return Patch(node.resource, node.namespace, node.name, {"metadata": metadata}, ignore=frozenset({"NotFound"}))
