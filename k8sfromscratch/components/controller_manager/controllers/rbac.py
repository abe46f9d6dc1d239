"""Aggregated ClusterRoles."""

from collections.abc import Iterable
from datetime import datetime

from k8sfromscratch.api.registry import CLUSTER_ROLES
from k8sfromscratch.components.controller_manager.controller import Context, Controller, Trigger
from k8sfromscratch.core.reconcile import clusterrole_aggregation, objects
from k8sfromscratch.core.reconcile.plan import Object, Plan


def clusterrole_aggregation_controller(context: Context) -> Controller:
    roles = context.informers.get(CLUSTER_ROLES)

    def keys_of(old: Object | None, new: Object | None) -> Iterable[str]:
        """Any role may be part of any sum."""
        return [objects.name(role) for role in roles.store.list() if role.get("aggregationRule")]

    async def plan(key: str, now: datetime) -> Plan:
        return clusterrole_aggregation.plan(roles.store.get(key), roles.store.list())

    return Controller("clusterrole-aggregation-controller", plan, (Trigger(roles, keys_of),))
