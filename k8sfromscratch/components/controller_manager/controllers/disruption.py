"""The status of PodDisruptionBudgets, which evictions rest on."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from k8sfromscratch.api.errors import ApiError
from k8sfromscratch.api.registry import DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS
from k8sfromscratch.client import Informer
from k8sfromscratch.components.controller_manager.controller import BY_NAMESPACE, Context, Controller, Trigger, own_key
from k8sfromscratch.components.controller_manager.discovery import discover
from k8sfromscratch.core.reconcile import disruption, objects
from k8sfromscratch.core.reconcile.disruption import Scales
from k8sfromscratch.core.reconcile.plan import Object, Plan
from k8sfromscratch.core.selectors.labels import matches

# Controllers whose replicas stand in their own spec.
_OWNERS = (REPLICATION_CONTROLLERS, REPLICA_SETS, STATEFUL_SETS, DEPLOYMENTS)


def disruption_controller(context: Context) -> Controller:
    budgets, pods = context.informer(POD_DISRUPTION_BUDGETS), context.informer(PODS)
    owners = {(resource.api_version, resource.kind): context.informer(resource) for resource in _OWNERS}

    def budgets_of_pod(old: Object | None, new: Object | None) -> Iterable[str]:
        present = new if new is not None else old
        near = budgets.store.by_index(BY_NAMESPACE, objects.namespace(present)) if present is not None else []
        return [objects.key(one) for one in near if any(obj is not None and _selects(one, obj) for obj in (old, new))]

    async def plan(key: str, now: datetime) -> Plan:
        budget = budgets.store.get(key)
        if budget is None:
            return Plan()
        mine = [pod for pod in pods.store.by_index(BY_NAMESPACE, objects.namespace(budget)) if _selects(budget, pod)]
        scales = await _scales(context, owners, mine) if disruption.needs_scales(budget) else Scales({})
        return disruption.plan(budget, mine, scales, now)

    triggers = (Trigger(budgets, own_key), Trigger(pods, budgets_of_pod))
    return Controller("disruption-controller", plan, triggers, reads=tuple(owners.values()), event_source="controllermanager")


def _selects(budget: Object, pod: Object) -> bool:
    return matches(objects.spec(budget).get("selector"), objects.labels(pod))


async def _scales(context: Context, owners: dict[tuple[str, str], Informer], pods: Sequence[Object]) -> Scales:
    """Each controller once, however many of its pods there are."""
    found: dict[str, int] = {}
    seen: set[str] = set()
    for pod in pods:
        reference = objects.controller_of(pod)
        if reference is None or reference["uid"] in seen:
            continue
        seen.add(reference["uid"])
        top = reference
        if (top["apiVersion"], top["kind"]) in owners:
            owner = _owner(owners, pod, top)
            above = objects.controller_of(owner) if owner is not None else None
            if owner is not None and above is not None and above["kind"] == DEPLOYMENTS.kind:
                owner, top = _owner(owners, pod, above), above
            if owner is None:
                return Scales(found, f'found no controllers for pod "{objects.name(pod)}"')
            found[top["uid"]] = int(objects.spec(owner).get("replicas", 1))
            continue
        try:
            found[top["uid"]] = await _custom_scale(context, objects.namespace(pod), top)
        except ApiError as error:
            return Scales(found, str(error))
    return Scales(found)


def _owner(owners: dict[tuple[str, str], Informer], pod: Object, reference: Object) -> Object | None:
    informer = owners.get((reference["apiVersion"], reference["kind"]))
    found = informer.store.get(f"{objects.namespace(pod)}/{reference['name']}") if informer is not None else None
    return found if found is not None and objects.uid(found) == reference["uid"] else None


async def _custom_scale(context: Context, namespace: str, reference: Object) -> int:
    """The replicas of an owner of any kind, by its scale subresource.  Raises ApiError."""
    group = reference["apiVersion"].rpartition("/")[0]
    served = (await discover(context.client)).resources
    resource = next((one for one in served if one.group == group and one.kind == reference["kind"]), None)
    if resource is None:
        raise ApiError(f'no matches for kind "{reference["kind"]}" in version "{reference["apiVersion"]}"')
    try:
        scale = await context.client.get(resource, reference["name"], namespace, subresource="scale")
    except ApiError as error:
        if error.http_code == 404:
            raise ApiError(f"{resource.group_resource} does not implement the scale subresource") from error
        raise
    return int(objects.spec(scale).get("replicas", 0))
