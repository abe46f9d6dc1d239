"""The ownership graph, and that nothing with a live owner is ever deleted."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from k8sfromscratch.api.registry import PODS
from k8sfromscratch.core.reconcile import garbage_collector
from k8sfromscratch.core.reconcile.garbage_collector import OwnerState
from k8sfromscratch.core.reconcile.garbage_graph import FOREGROUND, ORPHAN, Graph, Node
from k8sfromscratch.core.reconcile.plan import Delete, Patch, Together


def node(uid, owners=(), *, finalizers=(), deleting=False, blocking=True, version="1"):
    references = tuple({"apiVersion": "v1", "kind": "Pod", "name": one, "uid": one, "blockOwnerDeletion": blocking} for one in owners)
    return Node(PODS, "default", uid, uid, version, references, tuple(finalizers), deleting)


S, W, A, U = OwnerState.SOLID, OwnerState.WAITING, OwnerState.ABSENT, OwnerState.UNKNOWN


@pytest.mark.parametrize(
    ("states", "finalizers", "deleted", "kept"),
    [
        ({"a": S}, (), None, None),
        ({"a": A}, (), "Background", None),
        ({"a": A}, (ORPHAN,), "Orphan", None),
        ({"a": A}, (FOREGROUND,), "Foreground", None),
        ({"a": A, "b": S}, (), None, ["b"]),
        ({"a": W, "b": S}, (), None, ["b"]),
        ({"a": A, "b": A}, (), "Background", None),
        ({"a": W}, (), "Background", None),
        ({"a": U}, (), None, None),
        ({"a": A, "b": U}, (), None, None),
    ],
)
def test_what_becomes_of_an_object_by_the_state_of_its_owners(states, finalizers, deleted, kept):
    plan = garbage_collector.plan(node("x", states, finalizers=finalizers, version="7"), states, [])
    if deleted:
        (delete,) = plan.steps
        assert isinstance(delete, Delete)
        assert (delete.propagation_policy, delete.uid, delete.resource_version) == (deleted, "x", "7")
    elif kept:
        (patch,) = plan.steps
        assert isinstance(patch, Patch) and [o["uid"] for o in patch.patch["metadata"]["ownerReferences"]] == kept
        assert patch.patch["metadata"]["resourceVersion"] == "7"
    else:
        assert plan.steps == ()


def test_a_dependent_with_dependents_goes_in_the_foreground_too():
    (delete,) = garbage_collector.plan(node("x", ["a"]), {"a": W}, [node("child", ["x"])]).steps
    assert delete.propagation_policy == "Foreground"


def test_a_cycle_of_foreground_deletions_is_broken():
    other = node("y", ["x"], deleting=True, finalizers=[FOREGROUND])
    patch, delete = garbage_collector.plan(node("x", ["y"]), {"y": W}, [other]).steps
    assert [o["blockOwnerDeletion"] for o in patch.patch["metadata"]["ownerReferences"]] == [False]
    assert delete.resource_version is None, "the patch before it has changed the version"


def test_foreground_waits_for_those_that_block():
    owner = node("x", deleting=True, finalizers=[FOREGROUND, "mine"])
    assert garbage_collector.plan(owner, {}, [node("d", ["x"])]).steps == ()
    (patch,) = garbage_collector.plan(owner, {}, [node("d", ["x"], blocking=False)]).steps
    assert patch.patch["metadata"]["finalizers"] == ["mine"]


def test_orphaning_releases_dependents_before_the_owner_goes():
    together, patch = garbage_collector.plan(node("x", deleting=True, finalizers=[ORPHAN]), {}, [node("d", ["x", "z"])]).steps
    assert isinstance(together, Together)
    assert [o["uid"] for o in together.steps[0].patch["metadata"]["ownerReferences"]] == ["z"]
    assert patch.patch["metadata"]["finalizers"] == []


def test_the_graph_asks_for_a_look_where_something_may_have_to_go():
    graph = Graph()
    assert graph.upsert(node("pod", ["rs"])) == ["pod"], "its owner has not been seen"
    assert graph.upsert(node("rs")) == []
    assert graph.upsert(node("pod", ["rs"], version="2")) == []
    assert graph.upsert(node("rs", deleting=True, finalizers=[FOREGROUND])) == ["rs", "pod"]
    assert graph.remove("pod") == ["rs"]
    assert graph.remove("rs") == [] and graph.is_absent("rs")


def test_an_owner_that_goes_leaves_its_dependents_to_be_looked_at():
    graph = Graph()
    for one in (node("rs"), node("a", ["rs"]), node("b", ["rs"])):
        graph.upsert(one)
    assert graph.remove("rs") == ["a", "b"]
    graph.upsert(node("a"))
    assert [d.uid for d in graph.dependents("rs")] == ["b"], "a released dependent is none any more"


def test_an_owner_that_is_watched_no_more_is_not_taken_for_gone():
    graph = Graph()
    for one in (node("custom"), node("a", ["custom"])):
        graph.upsert(one)
    assert graph.forget("custom") == ["a"]
    assert graph.get("custom") is None and not graph.is_absent("custom")


class Server:
    """A toy apiserver: graceful deletion and finalizers as the real one has them; watchers hear of changes late and per object in order."""

    def __init__(self):
        self.live: dict[str, Node] = {}
        self.events: dict[str, list[Node | None]] = {}
        self.versions = 0

    def put(self, one: Node):
        self.versions += 1
        one = Node(one.resource, one.namespace, one.name, one.uid, str(self.versions), one.owners, one.finalizers, one.deleting)
        if one.deleting and not one.finalizers:
            self.live.pop(one.uid, None)
            self.events.setdefault(one.uid, []).append(None)
        else:
            self.live[one.uid] = one
            self.events.setdefault(one.uid, []).append(one)

    def delete(self, uid, policy):
        one = self.live.get(uid)
        if one is not None:
            finalizer = {"Foreground": (FOREGROUND,), "Orphan": (ORPHAN,)}.get(policy, ())
            self.put(Node(one.resource, one.namespace, one.name, uid, "", one.owners, one.finalizers + finalizer, True))

    def apply(self, plan):
        for step in plan.steps:
            for write in step.steps if isinstance(step, Together) else (step,):
                one = self.live.get(write.name)
                version = write.resource_version if isinstance(write, Delete) else write.patch["metadata"]["resourceVersion"]
                if one is None or (version is not None and version != one.resource_version):
                    return
                if isinstance(write, Delete):
                    self.delete(write.name, write.propagation_policy)
                else:
                    change = write.patch["metadata"]
                    owners = tuple(change.get("ownerReferences", one.owners))
                    self.put(Node(one.resource, one.namespace, one.name, one.uid, "", owners, tuple(change.get("finalizers", one.finalizers)), one.deleting))


def look(server, graph, uid):
    """One look as the component makes it: what the graph does not know of an owner is read live."""
    one = graph.get(uid)
    states = {}
    for owner in one.owners if one else ():
        known = graph.get(owner["uid"])
        if graph.is_absent(owner["uid"]):
            states[owner["uid"]] = A
        elif known is not None:
            states[owner["uid"]] = W if known.awaits_dependents else S
        else:
            live = server.live.get(owner["uid"])
            states[owner["uid"]] = A if live is None else W if live.awaits_dependents else S
    plan = garbage_collector.plan(one, states, graph.dependents(uid))
    for step in plan.steps:
        if (
            isinstance(step, Delete)
            and uid in server.live
            and server.live[uid].resource_version == (step.resource_version or server.live[uid].resource_version)
        ):
            holders = [server.live[o["uid"]] for o in server.live[uid].owners if o["uid"] in server.live]
            assert all(holder.awaits_dependents for holder in holders), f"{uid} is deleted though it has a live owner"
    server.apply(plan)


names = [f"u{i}" for i in range(7)]
shapes = st.lists(st.sets(st.integers(0, 5), max_size=2), min_size=7, max_size=7)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("delete"), st.integers(0, 6), st.sampled_from(["Background", "Foreground", "Orphan"])),
        st.tuples(st.just("deliver"), st.integers(0, 6), st.just("")),
        st.tuples(st.just("look"), st.integers(0, 6), st.just("")),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(shapes, moves, st.randoms(use_true_random=False))
def test_nothing_with_a_live_owner_is_deleted_and_nothing_without_one_stays(shape, script, random):
    server, graph = Server(), Graph()
    pending: set[str] = set()
    for index, owners in enumerate(shape):
        # An object is owned by earlier ones only: ownership has no cycles here.
        server.put(node(names[index], [names[o] for o in sorted(owners) if o < index]))

    def deliver(uid):
        event = server.events[uid].pop(0)
        pending.update(graph.remove(uid) if event is None else graph.upsert(event))

    for action, index, policy in script:
        uid = names[index]
        if action == "delete":
            server.delete(uid, policy)
        elif action == "deliver" and server.events.get(uid):
            deliver(uid)
        elif action == "look":
            look(server, graph, uid)
    for _ in range(500):
        waiting = [uid for uid, events in server.events.items() if events]
        if waiting:
            deliver(random.choice(waiting))
        elif pending:
            uid = sorted(pending)[0]
            pending.discard(uid)
            look(server, graph, uid)
        else:
            break
    else:
        raise AssertionError("the collector never comes to rest")
    assert not [one for one in server.live.values() if one.deleting], "every deletion is completed"
    for one in server.live.values():
        owners = [owner["uid"] for owner in one.owners]
        assert not owners or any(owner in server.live for owner in owners), f"{one.uid} has lost all its owners and is still there"
