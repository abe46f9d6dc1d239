"""Namespaces: what they are born with, and how they are emptied."""

import asyncio
from collections.abc import Iterable
from datetime import datetime

from k8sfromscratch.api.errors import ApiError, MethodNotAllowed, NotFound
from k8sfromscratch.api.registry import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.controller_manager.controller import Context, Controller, KeysOf, Trigger, own_key
from k8sfromscratch.components.controller_manager.discovery import discover
from k8sfromscratch.core.reconcile import namespace, objects, serviceaccount
from k8sfromscratch.core.reconcile.namespace import Content
from k8sfromscratch.core.reconcile.plan import Object, Plan

PARALLEL_LISTS_MAX = 10
"""LISTs of one namespace's contents in flight."""


def namespace_controller(context: Context) -> Controller:
    namespaces = context.informer(NAMESPACES)

    def keys_of(old: Object | None, new: Object | None) -> Iterable[str]:
        return (objects.name(new),) if new is not None and objects.deleting(new) else ()

    async def plan(key: str, now: datetime) -> Plan:
        found = namespaces.store.get(key)
        if found is None or not objects.deleting(found):
            return Plan()
        served = await discover(context.client)
        gate = asyncio.Semaphore(PARALLEL_LISTS_MAX)

        async def content(resource: Resource) -> Content:
            async with gate:
                try:
                    listed = await context.metadata_client.list(resource, key)
                except (NotFound, MethodNotAllowed):
                    return Content(resource, ())  # no longer served: nothing of it can be in the way
            return Content(resource, listed["items"])

        listable = [one for one in served.resources if one.namespaced and {"list", "deletecollection"} <= set(one.verbs)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(content(resource)) for resource in listable]
        except* ApiError as errors:
            raise errors.exceptions[0] from errors
        contents = [task.result() for task in tasks]
        return namespace.plan(found, contents, served.failed, now, settle_s=context.options.namespace_settle_s)

    return Controller("namespace-controller", plan, (Trigger(namespaces, keys_of),))


def serviceaccount_controller(context: Context) -> Controller:
    namespaces, accounts = context.informer(NAMESPACES), context.informers.get(SERVICE_ACCOUNTS)

    async def plan(key: str, now: datetime) -> Plan:
        return serviceaccount.plan_default_account(namespaces.store.get(key), accounts.store.get(f"{key}/{serviceaccount.DEFAULT_ACCOUNT}"))

    return Controller(
        "serviceaccount-controller", plan, (Trigger(namespaces, own_key), Trigger(accounts, _namespace_when_named(serviceaccount.DEFAULT_ACCOUNT)))
    )


def root_ca_controller(context: Context) -> Controller:
    namespaces = context.informer(NAMESPACES)
    published = context.informers.get(CONFIG_MAPS, field_selector=f"metadata.name={serviceaccount.ROOT_CA}")

    async def plan(key: str, now: datetime) -> Plan:
        return serviceaccount.plan_root_ca(namespaces.store.get(key), published.store.get(f"{key}/{serviceaccount.ROOT_CA}"), context.options.root_ca)

    triggers = (Trigger(namespaces, own_key), Trigger(published, _namespace_when_named(serviceaccount.ROOT_CA)))
    return Controller("root-ca-certificate-publisher-controller", plan, triggers)


def _namespace_when_named(name: str) -> KeysOf:
    """The namespace of an object that has changed or gone, if it is the one object of that name which is ours."""

    def keys_of(old: Object | None, new: Object | None) -> Iterable[str]:
        present = new if new is not None else old
        return (objects.namespace(present),) if present is not None and objects.name(present) == name else ()

    return keys_of
