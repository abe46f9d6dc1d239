"""Deployments and ReplicaSets."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from k8sfromscratch.api.registry import DEPLOYMENTS, PODS, REPLICA_SETS
from k8sfromscratch.components.controller_manager.controller import BY_CONTROLLER, Context, Controller, Trigger, candidates, dependent_keys, own_key
from k8sfromscratch.core.reconcile import deployment, deployment_revisions, deployment_sizes, objects, replicaset
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
    sets, pods = context.informer(REPLICA_SETS), context.informer(PODS)

    def related(replica_set: Object) -> list[Object]:
        """The active pods of all sets of the same Deployment."""
        owner = objects.controller_of(replica_set)
        siblings = sets.store.by_index(BY_CONTROLLER, owner["uid"]) if owner is not None else [replica_set]
        return [pod for one in siblings for pod in pods.store.by_index(BY_CONTROLLER, objects.uid(one)) if objects.pod_active(pod)]

    async def plan(key: str, now: datetime) -> Plan:
        found = sets.store.get(key)
        if found is None:
            return Plan()
        return replicaset.plan(found, candidates(pods, found), related(found), now)

    return Controller("replicaset-controller", plan, (Trigger(sets, own_key), Trigger(pods, dependent_keys(REPLICA_SETS, sets))))
