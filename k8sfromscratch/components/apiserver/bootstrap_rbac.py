"""The default roles and bindings: made at every start, and made good where they lack something.

What users added to them stays; what they took away comes back, unless they set the annotation
`rbac.authorization.kubernetes.io/autoupdate` to "false".  As upstream's post-start hook rbac/bootstrap-roles.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from k8sfromscratch.api.errors import AlreadyExists, Conflict, NotFound
from k8sfromscratch.api.registry import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.client import Client
from k8sfromscratch.components.apiserver.policy import AUTOUPDATE, Item, Object
from k8sfromscratch.components.apiserver.policy_cluster import COMPONENTS, NAMESPACED, PEOPLE, PUBLIC
from k8sfromscratch.components.apiserver.policy_controllers import CONTROLLERS
from k8sfromscratch.core.authz.rules import Rule, covers

if TYPE_CHECKING:
    from k8sfromscratch.components.apiserver.server import ApiServer

POLICY: tuple[Item, ...] = PEOPLE + PUBLIC + COMPONENTS + CONTROLLERS + NAMESPACED

_WRITES_AT_ONCE = 16
"""A store that syncs each write to disk takes them in batches."""


def reconcile(existing: Object | None, wanted: Object) -> Object | None:
    """The object to be written; None where nothing is to be done.  A binding whose role is another must be made anew: a roleRef never changes."""
    if existing is None:
        return wanted
    notes = existing["metadata"].get("annotations") or {}
    if notes.get(AUTOUPDATE) == "false":
        return None
    metadata = dict(existing["metadata"])
    for part in ("labels", "annotations"):
        metadata[part] = {**wanted["metadata"][part], **(metadata.get(part) or {})}
    updated = {**existing, "metadata": metadata}
    if "roleRef" in wanted:
        updated["subjects"] = _with_missing(existing.get("subjects") or [], wanted["subjects"])
        updated["roleRef"] = wanted["roleRef"]
    elif "aggregationRule" in wanted:
        selectors = (existing.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        updated["aggregationRule"] = {"clusterRoleSelectors": _with_missing(selectors, wanted["aggregationRule"]["clusterRoleSelectors"])}
    else:
        held = [Rule.of(rule) for rule in existing.get("rules") or ()]
        updated["rules"] = list(existing.get("rules") or ()) + [rule for rule in wanted["rules"] if not covers(held, [Rule.of(rule)])]
    same = all((updated.get(part) or None) == (existing.get(part) or None) for part in ("rules", "aggregationRule", "subjects", "roleRef"))
    same = same and all(metadata[part] == (existing["metadata"].get(part) or {}) for part in ("labels", "annotations"))
    return None if same else updated


def _with_missing(present: list[Object], wanted: list[Object]) -> list[Object]:
    return [*present, *(item for item in wanted if item not in present)]


async def bootstrap_roles(server: "ApiServer") -> None:
    """The post-start hook.  The system's namespaces must be there."""
    await ensure(server.loopback, POLICY)


async def ensure(client: Client, policy: Sequence[Item]) -> int:
    """Brings the cluster in line; how many objects were written."""
    existing: dict[tuple[Resource, str, str], Object] = {}
    for resource in (CLUSTER_ROLES, ROLES, CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
        for obj in (await client.list(resource))["items"]:
            existing[(resource, obj["metadata"].get("namespace") or "", obj["metadata"]["name"])] = obj
    gate = asyncio.Semaphore(_WRITES_AT_ONCE)
    written = 0

    async def one(resource: Resource, wanted: Object) -> None:
        nonlocal written
        key = (resource, wanted["metadata"].get("namespace") or "", wanted["metadata"]["name"])
        async with gate:
            written += await _ensure_one(client, resource, existing.get(key), wanted)

    async with asyncio.TaskGroup() as group:
        for resource, wanted in policy:
            group.create_task(one(resource, wanted))
    return written


async def _ensure_one(client: Client, resource: Resource, existing: Object | None, wanted: Object) -> bool:
    updated = reconcile(existing, wanted)
    if updated is None:
        return False
    metadata = updated["metadata"]
    try:
        if existing is not None and existing.get("roleRef") != updated.get("roleRef"):
            await client.delete(resource, metadata["name"], metadata.get("namespace"), uid=metadata["uid"])
            fresh = {key: value for key, value in metadata.items() if key in ("name", "namespace", "labels", "annotations")}
            await client.create(resource, {**updated, "metadata": fresh})
        elif existing is None:
            await client.create(resource, updated)
        else:
            await client.update(resource, updated)
    except (AlreadyExists, Conflict, NotFound):
        # Another apiserver that started now, or a user: whoever was first, the next start makes good what is still missing.
        return False
    return True
