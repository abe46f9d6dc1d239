"""The admission plugins that are the apiserver's own, one by one on a view in memory."""

import pytest

from k8sfromscratch.api.errors import Forbidden, NotFound
from k8sfromscratch.api.registry import CONFIG_MAPS, NAMESPACES, PODS, PRIORITY_CLASSES, RESOURCES
from k8sfromscratch.core.admission.chain import KINDS, OFF_BY_DEFAULT, PLUGINS, Chain, UnknownPlugin, chain
from k8sfromscratch.core.admission.default_toleration_seconds import DefaultTolerationSeconds
from k8sfromscratch.core.admission.namespace_lifecycle import NamespaceLifecycle
from k8sfromscratch.core.admission.priority import Priority
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.testing.views import MemoryView

USER = UserInfo("someone")


def namespace(name, **metadata):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}


def priority_class(name, value, **more):
    return {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value, **more}


def creating(resource, obj, namespace="n"):
    return AdmissionRequest("CREATE", resource, "", namespace if resource.namespaced else "", obj["metadata"]["name"], USER, obj, None)


def pod(**spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": spec}


def test_nothing_is_created_where_there_is_no_namespace():
    plugin, obj = NamespaceLifecycle(), {"metadata": {"name": "a"}}
    with pytest.raises(NotFound, match='namespaces "n" not found'):
        plugin.mutate(creating(CONFIG_MAPS, obj), MemoryView())
    plugin.mutate(creating(CONFIG_MAPS, obj), MemoryView(namespace("n")))
    plugin.mutate(creating(NAMESPACES, namespace("m")), MemoryView())


def test_nothing_is_created_in_a_namespace_that_is_going():
    view = MemoryView(namespace("n", deletionTimestamp="2026-01-01T00:00:00Z"))
    with pytest.raises(Forbidden) as caught:
        NamespaceLifecycle().mutate(creating(CONFIG_MAPS, {"metadata": {"name": "a"}}), view)
    assert caught.value.details["causes"] == [{"reason": "NamespaceTerminating", "message": "namespace n is being terminated", "field": "metadata.namespace"}]


def test_pods_tolerate_a_lost_node_for_five_minutes_unless_they_say_otherwise():
    plugin = DefaultTolerationSeconds()
    plain = pod()
    plugin.mutate(creating(PODS, plain), MemoryView())
    assert [(t["key"], t["tolerationSeconds"]) for t in plain["spec"]["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 300),
        ("node.kubernetes.io/unreachable", 300),
    ]
    own = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]
    some = pod(tolerations=own)
    plugin.mutate(creating(PODS, some), MemoryView())
    assert [(t["key"], t["tolerationSeconds"]) for t in some["spec"]["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 5),
        ("node.kubernetes.io/unreachable", 300),
    ]
    everything = pod(tolerations=[{"operator": "Exists"}])
    plugin.mutate(creating(PODS, everything), MemoryView())
    assert everything["spec"]["tolerations"] == [{"operator": "Exists"}]


def test_a_pods_class_becomes_its_number():
    view = MemoryView(priority_class("high", 1000, preemptionPolicy="Never"), priority_class("usual", 7, globalDefault=True))
    named, unnamed = pod(priorityClassName="high"), pod()
    for obj in (named, unnamed):
        Priority().mutate(creating(PODS, obj), view)
    assert (named["spec"]["priority"], named["spec"]["preemptionPolicy"]) == (1000, "Never")
    assert (unnamed["spec"]["priority"], unnamed["spec"]["priorityClassName"]) == (7, "usual")
    bare = pod()
    Priority().mutate(creating(PODS, bare), MemoryView())
    assert bare["spec"] == {"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}


def test_a_pod_cannot_choose_its_number():
    view = MemoryView(priority_class("high", 1000))
    with pytest.raises(Forbidden, match="no PriorityClass with name nope was found"):
        Priority().mutate(creating(PODS, pod(priorityClassName="nope")), view)
    with pytest.raises(Forbidden, match="must not be provided in pod spec"):
        Priority().mutate(creating(PODS, pod(priority=5)), view)


def test_only_one_class_is_the_default():
    view = MemoryView(priority_class("usual", 7, globalDefault=True))
    with pytest.raises(Forbidden, match="usual is already marked as default"):
        Priority().validate(creating(PRIORITY_CLASSES, priority_class("other", 8, globalDefault=True)), view)
    Priority().validate(creating(PRIORITY_CLASSES, priority_class("usual", 7, globalDefault=True)), view)


def test_the_chain_runs_in_the_tables_order_and_each_phase_for_all():
    seen = []

    class Spy:
        def __init__(self, name):
            self.name = name

        def mutate(self, request, view):
            seen.append(f"mutate {self.name}")

        def validate(self, request, view):
            seen.append(f"validate {self.name}")

    spies = Chain([Spy("a"), Spy("b")])
    request = creating(CONFIG_MAPS, {"metadata": {"name": "a"}})
    spies.mutate(request, MemoryView())
    spies.validate(request, MemoryView())
    assert seen == ["mutate a", "mutate b", "validate a", "validate b"]
    assert chain(lambda: "12345").names == tuple(name for name in PLUGINS if name not in OFF_BY_DEFAULT)
    assert chain(lambda: "12345", enable=OFF_BY_DEFAULT).names == tuple(PLUGINS)
    assert "Priority" not in chain(lambda: "12345", disable=["Priority"]).names
    with pytest.raises(UnknownPlugin, match="Prioritty"):
        chain(lambda: "12345", enable=["Prioritty"])
    with pytest.raises(UnknownPlugin, match='"AlwaysPullImages" is not supported'):
        chain(lambda: "12345", enable=["AlwaysPullImages"])
    assert "Priority" in chain(lambda: "12345", disable=["AlwaysPullImages"]).names


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_plugin_is_asked_about_the_kinds_it_knows(name):
    asked = []

    class Spy:
        def __init__(self):
            self.name = name

        def mutate(self, request, view):
            asked.append(request.resource)

        def validate(self, request, view):
            asked.append(request.resource)

    spied = Chain([Spy()])
    for resource in RESOURCES:
        spied.mutate(creating(resource, {"metadata": {"name": "a"}}), MemoryView())
        spied.validate(creating(resource, {"metadata": {"name": "a"}}), MemoryView())
    assert set(asked) == set(KINDS[name])
