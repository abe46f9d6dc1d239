"""Pods with lasting names: order, claims, and updates from the end, played out step by step."""

import copy

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from k8sfromscratch.core.reconcile import objects, statefulset
from k8sfromscratch.core.reconcile.plan import Create, Delete, Patch, Together, Update


def stateful_set(make, replicas=3, *, image="i:1", **spec):
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    body = {
        "replicas": replicas,
        "serviceName": "db",
        "selector": {"matchLabels": {"app": "db"}},
        "template": template,
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        **spec,
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": make.meta("db"), "spec": body, "status": {"replicas": 0, "availableReplicas": 0}}


class World:
    """A set, its pods, claims and revisions; `step` plans once and applies it all."""

    def __init__(self, make, the_set):
        self.make, self.set = make, the_set
        self.pods, self.claims, self.revisions = {}, {}, {}

    def step(self):
        plan = statefulset.plan(self.set, list(self.pods.values()), self.claims, list(self.revisions.values()), self.revisions, self.make.now)
        log = []
        for step in (*plan.steps, *(plan.conclude(()) if plan.conclude else ())):
            for write in step.steps if isinstance(step, Together) else (step,):
                log += self.write(write)
        return log

    def write(self, write):
        kinds = {"Pod": self.pods, "PersistentVolumeClaim": self.claims, "ControllerRevision": self.revisions}
        store = kinds.get(write.resource.kind)
        match write:
            case Create():
                name = objects.name(write.object)
                assert name not in store
                store[name] = {**write.object, "metadata": {**self.make.meta(name), **write.object["metadata"]}, "status": {"phase": "Pending"}}
                return [f"+{name}"] if store is not self.revisions else []
            case Delete():
                del store[write.name]
                return [f"-{write.name}"] if store is not self.revisions else []
            case Patch() if store is self.revisions:
                store[write.name] = {**store[write.name], "revision": write.patch["revision"]}
            case Patch():
                store[write.name] = copy.deepcopy(store[write.name])
                store[write.name]["metadata"]["ownerReferences"] = write.patch["metadata"]["ownerReferences"]
            case Update():
                self.set = write.object
        return []

    def ready(self, *names, value=True):
        for name in names or self.pods:
            condition = {"type": "Ready", "status": str(value), "lastTransitionTime": self.make.at(-60)}
            self.pods[name]["status"] = {"phase": "Running", "conditions": [condition]}

    def settle(self):
        log = []
        for _ in range(60):
            self.ready()
            done = self.step()
            log += done
            if not done:
                return log
        raise AssertionError(f"it never settles: {log[-6:]}")

    def change(self, **spec):
        self.set = copy.deepcopy(self.set)
        self.set["spec"].update(spec)

    def image(self, image):
        self.set = copy.deepcopy(self.set)
        self.set["spec"]["template"]["spec"]["containers"][0]["image"] = image

    @property
    def images(self):
        return {name: pod["spec"]["containers"][0]["image"] for name, pod in sorted(self.pods.items())}


def test_pods_are_made_in_order_each_when_the_one_before_is_ready(make):
    world = World(make, stateful_set(make))
    assert world.step() == ["+db-0"]
    assert world.step() == [], "db-0 is not ready"
    world.ready()
    assert world.step() == ["+db-1"]
    assert world.settle() == ["+db-2"]
    assert world.set["status"] == {
        "observedGeneration": 1,
        "replicas": 3,
        "availableReplicas": 3,
        "readyReplicas": 3,
        "currentReplicas": 3,
        "updatedReplicas": 3,
        "currentRevision": next(iter(world.revisions)),
        "updateRevision": next(iter(world.revisions)),
    }


def test_parallel_makes_all_at_once_and_scales_down_at_once(make):
    world = World(make, stateful_set(make, podManagementPolicy="Parallel"))
    assert world.step() == ["+db-0", "+db-1", "+db-2"]
    world.change(replicas=1)
    assert world.step() == ["-db-2", "-db-1"]


def test_identity_of_a_pod(make):
    world = World(make, stateful_set(make, 1, volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]))
    assert world.step() == ["+data-db-0", "+db-0"]
    pod = world.pods["db-0"]
    assert pod["metadata"]["labels"] == {
        "app": "db",
        "statefulset.kubernetes.io/pod-name": "db-0",
        "apps.kubernetes.io/pod-index": "0",
        "controller-revision-hash": next(iter(world.revisions)),
    }
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-0", "db")
    assert pod["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]
    assert world.claims["data-db-0"]["metadata"]["labels"] == {"app": "db"}


def test_scaling_down_goes_from_the_end_and_keeps_the_claims(make):
    world = World(make, stateful_set(make, volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {}}]))
    world.settle()
    world.change(replicas=1)
    assert world.settle() == ["-db-2", "-db-1"]
    assert set(world.claims) == {"data-db-0", "data-db-1", "data-db-2"}
    world.change(replicas=2)
    assert world.settle() == ["+db-1"], "its claim is there already"


def test_claims_may_go_with_their_pods(make):
    policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
    world = World(make, stateful_set(make, 1, volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {}}], persistentVolumeClaimRetentionPolicy=policy))
    world.settle()
    pod = world.pods["db-0"]
    world.change(replicas=0)
    assert world.settle() == ["-db-0"]
    owners = world.claims["data-db-0"]["metadata"]["ownerReferences"]
    assert [(o["kind"], o["uid"]) for o in owners] == [("StatefulSet", world.set["metadata"]["uid"]), ("Pod", pod["metadata"]["uid"])]


def test_an_update_goes_from_the_last_pod_to_the_first(make):
    world = World(make, stateful_set(make))
    world.settle()
    world.image("i:2")
    assert world.settle() == ["-db-2", "+db-2", "-db-1", "+db-1", "-db-0", "+db-0"]
    assert set(world.images.values()) == {"i:2"}
    assert world.set["status"]["currentRevision"] == world.set["status"]["updateRevision"]


def test_an_update_waits_for_each_new_pod_to_be_ready(make):
    world = World(make, stateful_set(make))
    world.settle()
    world.image("i:2")
    assert world.step() == ["-db-2"]
    assert world.step() == ["+db-2"]
    assert world.step() == []
    assert world.set["status"]["updatedReplicas"] == 1 and world.set["status"]["currentReplicas"] == 2


def test_below_the_partition_pods_keep_the_old_template_even_when_they_come_back(make):
    world = World(make, stateful_set(make, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}))
    world.settle()
    world.image("i:2")
    assert world.settle() == ["-db-2", "+db-2"]
    del world.pods["db-0"], world.pods["db-2"]
    world.settle()
    assert world.images == {"db-0": "i:1", "db-1": "i:1", "db-2": "i:2"}


def test_on_delete_replaces_only_what_somebody_deletes(make):
    world = World(make, stateful_set(make, updateStrategy={"type": "OnDelete"}))
    world.settle()
    world.image("i:2")
    assert world.settle() == []
    del world.pods["db-1"]
    world.settle()
    assert world.images == {"db-0": "i:1", "db-1": "i:2", "db-2": "i:1"}


def test_a_failed_pod_is_made_again_under_its_name(make):
    world = World(make, stateful_set(make))
    world.settle()
    world.pods["db-1"]["status"] = {"phase": "Failed"}
    assert world.step() == ["-db-1"]
    assert world.step() == ["+db-1"]


def test_ordinals_may_start_elsewhere(make):
    world = World(make, stateful_set(make, 2, ordinals={"start": 5}))
    assert world.settle() == ["+db-5", "+db-6"]


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
@settings(max_examples=60, deadline=None)
@given(script=st.lists(st.one_of(st.integers(0, 5), st.sampled_from(["i:1", "i:2", "i:3", "ready", "step", "lose"])), max_size=25))
def test_whatever_happens_it_arrives_with_the_right_names_and_image(make, policy, script):
    world = World(make, stateful_set(make, podManagementPolicy=policy))
    for action in script:
        match action:
            case int():
                world.change(replicas=action)
            case "ready":
                world.ready()
            case "step":
                world.step()
            case "lose":
                if world.pods:
                    del world.pods[sorted(world.pods)[0]]
            case _:
                world.image(action)
        if policy == "OrderedReady":
            world.step()
    world.settle()
    replicas = world.set["spec"]["replicas"]
    assert sorted(world.pods) == [f"db-{i}" for i in range(replicas)]
    assert set(world.images.values()) <= {world.set["spec"]["template"]["spec"]["containers"][0]["image"]}
    if replicas:
        assert world.set["status"]["currentRevision"] == world.set["status"]["updateRevision"]
