"""ResourceQuotas, counted anew when something of theirs goes, and from time to time."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from k8sfromscratch.api.errors import MethodNotAllowed, NotFound
from k8sfromscratch.api.registry import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, RESOURCES, SERVICES
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.controller_manager.controller import BY_NAMESPACE, Context, Controller, KeysOf, Trigger
from k8sfromscratch.components.controller_manager.discovery import discover
from k8sfromscratch.core.reconcile import objects, resource_quota
from k8sfromscratch.core.reconcile.plan import Object, Plan

_WATCHED = (PODS, SERVICES, PERSISTENT_VOLUME_CLAIMS)
_BUILT_IN = {resource.group_resource: resource for resource in RESOURCES}


def resourcequota_controller(context: Context) -> Controller:
    """Kinds other than the watched ones are listed, their metadata only, for each count."""
    quotas = context.informer(RESOURCE_QUOTAS)
    watched = {resource: context.informer(resource) for resource in _WATCHED}

    def quota_keys(old: Object | None, new: Object | None) -> Iterable[str]:
        """A new one, or new limits.  Its usage changes with every object, which admission accounts for."""
        if new is None or (old is not None and objects.spec(old) == objects.spec(new) and objects.status(old).get("hard") == objects.status(new).get("hard")):
            return ()
        return (objects.key(new),)

    def gone_keys(resource: Resource, uses: Callable[[Object], Any]) -> KeysOf:
        def keys_of(old: Object | None, new: Object | None) -> Iterable[str]:
            """Something went, or uses something else than before: what it had is free."""
            if old is None or (new is not None and uses(old) == uses(new)):
                return ()
            near = quotas.store.by_index(BY_NAMESPACE, objects.namespace(old))
            return [objects.key(quota) for quota in resource_quota.limiting(near, resource)]

        return keys_of

    async def plan(key: str, now: datetime) -> Plan:
        quota = quotas.store.get(key)
        if quota is None:
            return Plan()
        namespace = objects.namespace(quota)
        present: dict[Resource, Sequence[Object]] = {}
        for resource in await _resources(context, resource_quota.kinds(quota)):
            if resource in watched:
                present[resource] = watched[resource].store.by_index(BY_NAMESPACE, namespace)
            else:
                present[resource] = await _metadata(context, resource, namespace)
        resync_s = resource_quota.RESYNC_S if present.keys() <= watched.keys() else resource_quota.UNWATCHED_RESYNC_S
        return resource_quota.plan(quota, present, now, resync_s=resync_s)

    triggers = (
        Trigger(quotas, quota_keys),
        Trigger(watched[PODS], gone_keys(PODS, lambda pod: (objects.status(pod).get("phase") in ("Succeeded", "Failed"), objects.spec(pod).get("containers")))),
        Trigger(watched[SERVICES], gone_keys(SERVICES, lambda service: (objects.spec(service).get("type"), objects.spec(service).get("ports")))),
        Trigger(watched[PERSISTENT_VOLUME_CLAIMS], gone_keys(PERSISTENT_VOLUME_CLAIMS, lambda claim: objects.spec(claim).get("resources"))),
    )
    return Controller("resourcequota-controller", plan, triggers)


async def _resources(context: Context, kinds: frozenset[str]) -> list[Resource]:
    """Built-in kinds are known; others are asked for.  One that is not served has no objects."""
    known = [_BUILT_IN[name] for name in sorted(kinds) if name in _BUILT_IN]
    others = kinds - _BUILT_IN.keys()
    served = (await discover(context.client)).resources if others else ()
    return known + [resource for resource in served if resource.group_resource in others]


async def _metadata(context: Context, resource: Resource, namespace: str) -> Sequence[Object]:
    if not resource.namespaced:
        return ()
    try:
        return list((await context.metadata_client.list(resource, namespace))["items"])
    except (NotFound, MethodNotAllowed):
        return ()  # no longer served: there is none
