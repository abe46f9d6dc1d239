"""Claims and volumes: they stay as long as they are used."""

from collections.abc import Iterable
from datetime import datetime

from k8sfromscratch.api.registry import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, VOLUME_ATTRIBUTES_CLASSES
from k8sfromscratch.components.controller_manager.controller import BY_NAMESPACE, Context, Controller, Trigger, own_key
from k8sfromscratch.core.reconcile import objects, storage_protection
from k8sfromscratch.core.reconcile.plan import Object, Plan


def pvc_protection_controller(context: Context) -> Controller:
    claims, pods = context.informer(PERSISTENT_VOLUME_CLAIMS), context.informer(PODS)

    def claims_of_pod(old: Object | None, new: Object | None) -> Iterable[str]:
        """A pod that goes, or ends, may have been the last one to hold a claim."""
        present = new if new is not None else old
        if present is None or (new is not None and objects.pod_active(new)):
            return ()
        return [f"{objects.namespace(present)}/{name}" for name in storage_protection.claim_names(present)]

    async def plan(key: str, now: datetime) -> Plan:
        claim = claims.store.get(key)
        if claim is None or not storage_protection.waits_for_pods(claim):
            return storage_protection.plan_claim(claim, ())
        near = pods.store.by_index(BY_NAMESPACE, objects.namespace(claim))
        if not any(storage_protection.uses(pod, claim) for pod in near):
            near = (await context.client.list(PODS, objects.namespace(claim)))["items"]
        return storage_protection.plan_claim(claim, near)

    return Controller("persistentvolumeclaim-protection-controller", plan, (Trigger(claims, own_key), Trigger(pods, claims_of_pod)))


def pv_protection_controller(context: Context) -> Controller:
    volumes = context.informer(PERSISTENT_VOLUMES)

    async def plan(key: str, now: datetime) -> Plan:
        return storage_protection.plan_volume(volumes.store.get(key))

    return Controller("persistentvolume-protection-controller", plan, (Trigger(volumes, own_key),))


def vac_protection_controller(context: Context) -> Controller:
    classes = context.informer(VOLUME_ATTRIBUTES_CLASSES)
    claims, volumes = context.informer(PERSISTENT_VOLUME_CLAIMS), context.informer(PERSISTENT_VOLUMES)

    def left_classes(old: Object | None, new: Object | None) -> Iterable[str]:
        """Those that a claim or a volume named and names no more."""
        return storage_protection.classes_of(old) - (storage_protection.classes_of(new) if new is not None else set()) if old is not None else ()

    async def plan(key: str, now: datetime) -> Plan:
        return storage_protection.plan_class(classes.store.get(key), claims.store.list(), volumes.store.list())

    triggers = (Trigger(classes, own_key), Trigger(claims, left_classes), Trigger(volumes, left_classes))
    return Controller("volumeattributesclass-protection-controller", plan, triggers)
