"""Deployments, ReplicaSets and ReplicationControllers, DaemonSets and StatefulSets."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from k8sfromscratch.api.registry import (
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.client import Informer
from k8sfromscratch.components.controller_manager.controller import (
    BY_CONTROLLER,
    BY_NAMESPACE,
    Context,
    Controller,
    Trigger,
    candidates,
    dependent_keys,
    own_key,
)
from k8sfromscratch.core.reconcile import daemonset, deployment, deployment_revisions, deployment_sizes, objects, replicaset, statefulset, taints
from k8sfromscratch.core.reconcile.plan import Object, Plan


def deployment_controller(context: Context) -> Controller:
    deployments, sets, pods = context.informer(DEPLOYMENTS), context.informer(REPLICA_SETS), context.informer(PODS)

    def pods_of(replica_set: Object) -> Sequence[Object]:
        return pods.store.by_index(BY_CONTROLLER, objects.uid(replica_set))

    def recreated_keys(old: Object | None, new: Object | None) -> Iterable[str]:
        """A Recreate waits for the last old pod: nothing else tells the Deployment that it has gone."""
        if old is None or (new is not None and objects.pod_active(new)):
            return ()
        owner = objects.controller_of(old)
        replica_set = sets.store.get(f"{objects.namespace(old)}/{owner['name']}") if owner is not None else None
        owner = objects.controller_of(replica_set) if replica_set is not None else None
        found = deployments.store.get(f"{objects.namespace(old)}/{owner['name']}") if owner is not None else None
        return (objects.key(found),) if found is not None and deployment_sizes.is_recreate(found) else ()

    async def plan(key: str, now: datetime) -> Plan:
        found = deployments.store.get(key)
        if found is None:
            return Plan()
        namesake = sets.store.get(f"{objects.namespace(found)}/{deployment_revisions.new_set_name(found)}")
        return deployment.plan(found, candidates(sets, found), namesake, pods_of, now)

    triggers = (
        Trigger(deployments, own_key),
        Trigger(sets, dependent_keys(DEPLOYMENTS, deployments)),
        Trigger(pods, recreated_keys),
    )
    return Controller("deployment-controller", plan, triggers)


def replicaset_controller(context: Context) -> Controller:
    return _replicas_controller(context, "replicaset-controller", REPLICA_SETS)


def replicationcontroller_controller(context: Context) -> Controller:
    return _replicas_controller(context, "replicationcontroller-controller", REPLICATION_CONTROLLERS)


def _replicas_controller(context: Context, name: str, resource: Resource) -> Controller:
    sets, pods = context.informer(resource), context.informer(PODS)

    def related(replica_set: Object) -> list[Object]:
        """The active pods of all sets of the same Deployment."""
        owner = objects.controller_of(replica_set)
        siblings = sets.store.by_index(BY_CONTROLLER, owner["uid"]) if owner is not None else [replica_set]
        return [pod for one in siblings for pod in pods.store.by_index(BY_CONTROLLER, objects.uid(one)) if objects.pod_active(pod)]

    async def plan(key: str, now: datetime) -> Plan:
        found = sets.store.get(key)
        if found is None:
            return Plan()
        return replicaset.plan(found, candidates(pods, found), related(found), now, resource=resource)

    return Controller(name, plan, (Trigger(sets, own_key), Trigger(pods, dependent_keys(resource, sets))))


def daemonset_controller(context: Context) -> Controller:
    sets, pods, nodes, revisions = (context.informer(resource) for resource in (DAEMON_SETS, PODS, NODES, CONTROLLER_REVISIONS))

    def keys_of_node(old: Object | None, new: Object | None) -> Iterable[str]:
        """Every set, when a node comes, goes, or changes in what decides who may run on it."""
        if old is not None and new is not None and _placing(old) == _placing(new):
            return ()
        return [objects.key(one) for one in sets.store.list()]

    async def plan(key: str, now: datetime) -> Plan:
        found = sets.store.get(key)
        if found is None:
            return Plan()
        owned, names = _revisions(revisions, found)
        return daemonset.plan(found, candidates(pods, found), owned, names, nodes.store.list(), now)

    triggers = (
        Trigger(sets, own_key),
        Trigger(pods, dependent_keys(DAEMON_SETS, sets)),
        Trigger(nodes, keys_of_node),
        Trigger(revisions, dependent_keys(DAEMON_SETS, sets)),
    )
    return Controller("daemonset-controller", plan, triggers)


def statefulset_controller(context: Context) -> Controller:
    sets, pods, claims, revisions = (context.informer(resource) for resource in (STATEFUL_SETS, PODS, PERSISTENT_VOLUME_CLAIMS, CONTROLLER_REVISIONS))

    async def plan(key: str, now: datetime) -> Plan:
        found = sets.store.get(key)
        if found is None:
            return Plan()
        owned, names = _revisions(revisions, found)
        near = {objects.name(claim): claim for claim in claims.store.by_index(BY_NAMESPACE, objects.namespace(found))}
        return statefulset.plan(found, candidates(pods, found), near, owned, names, now)

    triggers = (Trigger(sets, own_key), Trigger(pods, dependent_keys(STATEFUL_SETS, sets)), Trigger(revisions, dependent_keys(STATEFUL_SETS, sets)))
    return Controller("statefulset-controller", plan, triggers, reads=(claims,))


def _revisions(informer: Informer, owner: Object) -> tuple[list[Object], set[str]]:
    """The owner's ControllerRevisions, and the names of all in its namespace."""
    near = informer.store.by_index(BY_NAMESPACE, objects.namespace(owner))
    return informer.store.by_index(BY_CONTROLLER, objects.uid(owner)), {objects.name(one) for one in near}


def _placing(node: Object) -> tuple[Any, ...]:
    return (objects.labels(node), taints.of(node), objects.uid(node))
