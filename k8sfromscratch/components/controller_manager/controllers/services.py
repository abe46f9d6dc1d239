"""EndpointSlices and Endpoints of Services."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from k8sfromscratch.api.registry import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from k8sfromscratch.client import Informer
from k8sfromscratch.components.controller_manager.controller import BY_NAMESPACE, BY_SERVICE, Context, Controller, KeysOf, Trigger, own_key
from k8sfromscratch.core.reconcile import endpoints, endpointslice, endpointslice_mirroring, objects, service_backends
from k8sfromscratch.core.reconcile.plan import Object, Plan


def endpointslice_controller(context: Context) -> Controller:
    services, pods, slices, nodes = (context.informer(resource) for resource in (SERVICES, PODS, ENDPOINT_SLICES, NODES))

    async def plan(key: str, now: datetime) -> Plan:
        service = services.store.get(key)
        if service is None:
            return Plan()
        managed = [one for one in slices.store.by_index(BY_SERVICE, key) if objects.labels(one).get(endpointslice.MANAGED_BY) == endpointslice.CONTROLLER]
        near = pods.store.by_index(BY_NAMESPACE, objects.namespace(service))
        used = {objects.spec(pod).get("nodeName", "") for pod in near}
        known = {name: node for name in used if (node := nodes.store.get(name)) is not None}
        return endpointslice.plan(service, near, managed, known, now)

    triggers = (Trigger(services, own_key), Trigger(pods, _backend_keys(services)), Trigger(slices, _slice_keys))
    return Controller("endpointslice-controller", plan, triggers, reads=(nodes,))


def endpointslice_mirroring_controller(context: Context) -> Controller:
    services, stated, slices = (context.informer(resource) for resource in (SERVICES, ENDPOINTS, ENDPOINT_SLICES))

    async def plan(key: str, now: datetime) -> Plan:
        near = slices.store.by_index(BY_SERVICE, key)
        managed = [one for one in near if objects.labels(one).get(endpointslice.MANAGED_BY) == endpointslice_mirroring.CONTROLLER]
        return endpointslice_mirroring.plan(services.store.get(key), stated.store.get(key), managed)

    triggers = (Trigger(services, own_key), Trigger(stated, own_key), Trigger(slices, _slice_keys))
    return Controller("endpointslice-mirroring-controller", plan, triggers)


def endpoints_controller(context: Context) -> Controller:
    services, pods, present = (context.informer(resource) for resource in (SERVICES, PODS, ENDPOINTS))

    async def plan(key: str, now: datetime) -> Plan:
        service = services.store.get(key)
        near = pods.store.by_index(BY_NAMESPACE, objects.namespace(service)) if service is not None else []
        return endpoints.plan(service, near, present.store.get(key), now)

    triggers = (Trigger(services, own_key), Trigger(pods, _backend_keys(services)), Trigger(present, own_key))
    return Controller("endpoints-controller", plan, triggers)


def _slice_keys(old: Object | None, new: Object | None) -> Iterable[str]:
    """The Services that a slice is, or was, of."""
    named = (f"{objects.namespace(obj)}/{service}" for obj in (old, new) if obj is not None and (service := _service_of(obj)))
    return dict.fromkeys(named)


def _service_of(one: Object) -> str | None:
    return objects.labels(one).get(endpointslice.SERVICE_NAME)


def _backend_keys(services: Informer) -> KeysOf:
    """The Services that select the pod, before or after, if anything has changed that they show."""

    def keys_of(old: Object | None, new: Object | None) -> Iterable[str]:
        if old is not None and new is not None and _shown(old) == _shown(new):
            return ()
        present = new if new is not None else old
        near = services.store.by_index(BY_NAMESPACE, objects.namespace(present)) if present is not None else []
        return [objects.key(one) for one in near if any(obj is not None and service_backends.selects(one, obj) for obj in (old, new))]

    return keys_of


def _shown(pod: Object) -> tuple[Any, ...]:
    status, spec = objects.status(pod), objects.spec(pod)
    identity = (objects.uid(pod), objects.labels(pod), objects.deleting(pod), spec.get("nodeName"))
    return (*identity, status.get("podIPs"), status.get("podIP"), status.get("phase"), objects.condition(pod, "Ready"))
