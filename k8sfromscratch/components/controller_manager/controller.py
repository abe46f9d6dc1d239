"""What a controller is to the runner: a name, the changes that wake it, and a plan for a key.

A controller here is wiring only: it reads caches into arguments for its pure `core.reconcile` function.  A *key* names what to look at
(`namespace/name`, a uid, or one fixed word where everything is planned at once); it never says what happened.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from k8sfromscratch.api.resource import Resource
from k8sfromscratch.client import Client, Informer, Informers
from k8sfromscratch.components.controller_manager.options import Options
from k8sfromscratch.core.reconcile import job_pods, objects
from k8sfromscratch.core.reconcile.plan import Object, Plan
from k8sfromscratch.core.selectors.labels import matches
from k8sfromscratch.process.clock import Env

Planner = Callable[[str, datetime], Awaitable[Plan]]
KeysOf = Callable[[Object | None, Object | None], Iterable[str]]
"""(old, new) of a watched object -> the keys to plan; `old` is None when it appears, `new` when it goes."""


@dataclass(frozen=True)
class Trigger:
    informer: Informer
    keys_of: KeysOf


@dataclass(frozen=True)
class Controller:
    name: str
    """Upstream's, e.g. `replicaset-controller`: for metrics, logs and, where `event_source` does not say otherwise, as the source of events."""
    plan: Planner
    triggers: tuple[Trigger, ...] = ()
    reads: tuple[Informer, ...] = ()
    """Further caches that its plans look into: they must be filled first."""
    event_source: str = ""
    serial: bool = False
    """A plan for one key depends on what was written for others: never plan before every write can be seen, and with one worker."""
    first_keys: tuple[str, ...] = ()
    background: Callable[[Callable[[str], None]], Coroutine[Any, Any, None]] | None = None
    """A task of its own beside the workers, e.g. one that watches what no fixed informer can; given the way to enqueue a key."""

    @property
    def informers(self) -> tuple[Informer, ...]:
        return (*(trigger.informer for trigger in self.triggers), *self.reads)


@dataclass(frozen=True)
class Context:
    """What the controllers of one process share."""

    client: Client
    metadata_client: Client
    """The same, asking for metadata only (PartialObjectMetadata): for those that look at every object there is."""
    env: Env
    informers: Informers
    options: Options
    shared: dict[str, Informer] = field(default_factory=dict)
    """The caches that `informer` has given out, by group resource."""

    def informer(self, resource: Resource) -> Informer:
        """The shared cache of a built-in resource, with the indexes that any controller here uses."""
        informer = self.shared[resource.group_resource] = self.informers.get(resource, indexers=INDEXERS)
        return informer


# Indexes.  One set for every cache: what does not apply to a kind gives no entries.

BY_NAMESPACE = "namespace"
BY_CONTROLLER = "controller"
BY_NODE = "node"
BY_SERVICE = "service"
BY_JOB = "job"


def orphans_of(namespace: str) -> str:
    """The value in the index by controller under which a namespace's objects without one stand."""
    return f"orphans/{namespace}"


def _by_controller(obj: Object) -> Iterable[str]:
    reference = objects.controller_of(obj)
    return (reference["uid"],) if reference is not None else (orphans_of(objects.namespace(obj)),)


def _by_node(obj: Object) -> Iterable[str]:
    node_name = objects.spec(obj).get("nodeName")
    return (node_name,) if node_name else ()


def _by_service(obj: Object) -> Iterable[str]:
    service = objects.labels(obj).get("kubernetes.io/service-name")
    return (f"{objects.namespace(obj)}/{service}",) if service else ()


def _by_job(obj: Object) -> Iterable[str]:
    """Pods that a Job's finalizer holds, by that Job's key."""
    job = job_pods.job_name(obj)
    return (f"{objects.namespace(obj)}/{job}",) if job else ()


INDEXERS: Mapping[str, Callable[[Object], Iterable[str]]] = {
    BY_NAMESPACE: lambda obj: (objects.namespace(obj),),
    BY_CONTROLLER: _by_controller,
    BY_NODE: _by_node,
    BY_SERVICE: _by_service,
    BY_JOB: _by_job,
}


# Ways from a change to keys that several controllers use.


def own_key(old: Object | None, new: Object | None) -> Iterable[str]:
    present = new if new is not None else old
    return (objects.key(present),) if present is not None else ()


def dependent_keys(resource: Resource, owners: Informer) -> KeysOf:
    """The keys of those `owners` that an object belongs to, before and after the change; of an orphan, those that could adopt it."""

    def keys_of(old: Object | None, new: Object | None) -> Iterable[str]:
        keys: list[str] = []
        for obj in (old, new):
            if obj is None:
                continue
            reference = objects.controller_of(obj)
            if reference is not None:
                if reference["kind"] == resource.kind and reference["apiVersion"] == resource.api_version:
                    keys.append(f"{objects.namespace(obj)}/{reference['name']}")
            elif obj is new and not objects.deleting(obj):
                near = owners.store.by_index(BY_NAMESPACE, objects.namespace(obj))
                keys += [objects.key(owner) for owner in near if matches(objects.selector(owner), objects.labels(obj))]
        return dict.fromkeys(keys)

    return keys_of


def candidates(informer: Informer, owner: Object) -> list[Object]:
    """What `core.reconcile.claims` chooses from: the owner's objects, and those in its namespace that are nobody's."""
    owned = informer.store.by_index(BY_CONTROLLER, objects.uid(owner))
    return [*owned, *informer.store.by_index(BY_CONTROLLER, orphans_of(objects.namespace(owner)))]
