"""Deployments played out in a toy cluster, in any order of events: the promises of a rolling update hold at every step.

The toy has the Deployment's plan, ReplicaSet plans, and a world where pods become ready or break.  Status reports lag: a ReplicaSet's counters
change only when its own plan runs, which is what makes the promises hard to keep.
"""

import copy
import itertools

import hypothesis.strategies as st
from hypothesis import given, settings

from k8sfromscratch.core.reconcile import deployment, deployment_sizes, objects, replicaset
from k8sfromscratch.core.reconcile.plan import Create, Delete, Patch, Plan, Together, Update


class World:
    """Applies plans at once: each write is seen by whoever plans next."""

    def __init__(self, make, replicas, strategy):
        self.make = make
        self.deployment = make.deployment(replicas, strategy=strategy)
        self.sets: dict[str, dict] = {}
        self.pods: dict[str, dict] = {}
        self.numbers = itertools.count(1)
        self.seconds = 0

    def owned_pods(self, replica_set):
        return [pod for pod in self.pods.values() if objects.controlled_by(pod, replica_set)]

    def plan_deployment(self):
        now = self.make.later(self.seconds)
        self.apply(deployment.plan(self.deployment, list(self.sets.values()), None, self.owned_pods, now))

    def plan_set(self, index):
        if self.sets:
            one = list(self.sets.values())[index % len(self.sets)]
            self.apply(replicaset.plan(one, self.owned_pods(one), list(self.pods.values()), self.make.later(self.seconds)))

    def set_ready(self, index, ready):
        """Turns one of the pods that are not so yet."""
        others = [pod for pod in self.pods.values() if objects.pod_ready(pod) != ready]
        if others:
            pod = others[index % len(others)]
            pod["status"]["conditions"] = [{"type": "Ready", "status": str(ready), "lastTransitionTime": self.make.at(self.seconds)}]

    def roll(self, image):
        self.deployment = copy.deepcopy(self.deployment)
        self.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image
        self.deployment["metadata"]["generation"] += 1

    def apply(self, plan: Plan):
        for step in (*plan.steps, *(plan.conclude(()) if plan.conclude else ())):
            for write in step.steps if isinstance(step, Together) else (step,):
                self.write(write)

    def write(self, write):
        match write:
            case Create() if write.resource.kind == "ReplicaSet":
                name = objects.name(write.object)
                self.sets[name] = {**write.object, "metadata": {**self.make.meta(name), **write.object["metadata"]}, "status": {"replicas": 0}}
            case Create():
                name = f"pod-{next(self.numbers)}"
                self.pods[name] = {**write.object, "metadata": {**self.make.meta(name), **write.object["metadata"]}, "status": {"phase": "Running"}}
            case Update() if write.resource.kind == "ReplicaSet":
                self.sets[objects.name(write.object)] = write.object
            case Update():
                self.deployment = write.object
            case Delete() if write.resource.kind == "ReplicaSet":
                del self.sets[write.name]
            case Delete():
                del self.pods[write.name]
            case Patch():
                self.deployment = copy.deepcopy(self.deployment)
                self.deployment["metadata"].setdefault("annotations", {}).update(write.patch["metadata"]["annotations"])

    @property
    def available(self):
        return sum(objects.pod_ready(pod) for pod in self.pods.values())

    def settle(self):
        """Everything becomes ready, everyone plans until nobody has anything to write."""
        for _ in range(200):
            before = copy.deepcopy((self.deployment, self.sets, self.pods))
            self.seconds += 1
            for _ in self.pods:
                self.set_ready(0, True)
            self.plan_deployment()
            for index in range(len(self.sets)):
                self.plan_set(index)
            if (self.deployment, self.sets, self.pods) == before:
                return
        raise AssertionError("the rollout never settles")


amount = st.one_of(st.integers(0, 5), st.sampled_from(["10%", "25%", "50%", "100%"]))
actions = st.lists(
    st.one_of(
        st.just(("deployment", 0)),
        st.tuples(st.just("set"), st.integers(0, 2)),
        st.tuples(st.just("ready"), st.integers(0, 8)),
        st.tuples(st.sampled_from(["ready", "broken"]), st.integers(0, 8)),
        st.tuples(st.sampled_from(["set", "set", "roll"]), st.integers(0, 2)),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(replicas=st.integers(0, 8), surge=amount, unavailable=amount, script=actions)
def test_a_rolling_update_keeps_both_promises_and_arrives(make, replicas, surge, unavailable, script):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    world = World(make, replicas, strategy)
    world.settle()
    world.roll("i:9")
    limit = deployment_sizes.bounds(world.deployment)
    for action, argument in script:
        before = world.available
        world.seconds += 1
        match action:
            case "deployment":
                world.plan_deployment()
            case "set":
                world.plan_set(argument)
            case "ready":
                world.set_ready(argument, True)
            case "broken":
                world.set_ready(argument, False)
            case "roll":
                world.roll(f"i:{argument}")
        wanted = sum(objects.spec(one)["replicas"] for one in world.sets.values())
        assert wanted <= limit.max_total, "never more than replicas + maxSurge are asked for"
        if world.available < before and action != "broken":
            assert world.available >= min(before, limit.min_available), "no available pod is given up below the minimum"
    world.settle()
    image = world.deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    assert [pod["spec"]["containers"][0]["image"] for pod in world.pods.values()] == [image] * replicas
    assert world.deployment["status"].get("availableReplicas", 0) == replicas


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(0, 12), min_size=2, max_size=6), strategy=st.sampled_from(["rolling", "recreate"]))
def test_any_sequence_of_resizes_arrives(make, sizes, strategy):
    kinds = {"rolling": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}, "recreate": {"type": "Recreate"}}
    world = World(make, sizes[0], kinds[strategy])
    world.settle()
    world.roll("i:2")
    for size in sizes[1:]:
        world.deployment = copy.deepcopy(world.deployment)
        world.deployment["spec"]["replicas"] = size
        world.plan_deployment()
        world.plan_set(0)
        world.plan_set(1)
    world.settle()
    assert len(world.pods) == sizes[-1]
    assert {pod["spec"]["containers"][0]["image"] for pod in world.pods.values()} <= {"i:2"}
