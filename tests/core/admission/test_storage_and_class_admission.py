"""Default classes, finalizers of storage, growing claims, runtime classes, new nodes, device tolerations."""

import pytest

from k8sfromscratch.api.errors import Forbidden
from k8sfromscratch.api.registry import INGRESSES, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, VOLUME_ATTRIBUTES_CLASSES
from k8sfromscratch.core.admission.default_ingress_class import DefaultIngressClass
from k8sfromscratch.core.admission.default_storage_class import DefaultStorageClass
from k8sfromscratch.core.admission.extended_resource_toleration import ExtendedResourceToleration
from k8sfromscratch.core.admission.pvc_resize import PersistentVolumeClaimResize
from k8sfromscratch.core.admission.runtime_class import RuntimeClass, merged_tolerations
from k8sfromscratch.core.admission.storage_object_in_use import StorageObjectInUseProtection
from k8sfromscratch.core.admission.taint_nodes import TaintNodesByCondition
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.testing.views import MemoryView


def request(resource, obj, old=None):
    space = "n" if resource.namespaced else ""
    return AdmissionRequest("CREATE" if old is None else "UPDATE", resource, "", space, obj["metadata"]["name"], UserInfo("u"), obj, old)


def admitted(plugin, resource, obj, view=None, old=None):
    view, asked = view or MemoryView(), request(resource, obj, old)
    plugin.mutate(asked, view)
    plugin.validate(asked, view)
    return obj


def made(name="x", annotations=None, **spec):
    return {"metadata": {"name": name, **({"annotations": annotations} if annotations else {})}, "spec": spec}


def storage_class(name, created="2026-01-01T00:00:00Z", default=True, **more):
    mark = {"storageclass.kubernetes.io/is-default-class": "true" if default else "false"}
    metadata = {"name": name, "annotations": mark, "creationTimestamp": created}
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata, **more}


OLD, NEW = storage_class("old", "2025-01-01T00:00:00Z"), storage_class("new")


@pytest.mark.parametrize(
    ("classes", "claim", "chosen"),
    [
        ((), made(), None),
        ((storage_class("a", default=False),), made(), None),
        ((OLD, NEW), made(), "new"),
        ((NEW, storage_class("also-new")), made(), "also-new"),
        ((NEW,), made(storageClassName="other"), "other"),
        ((NEW,), made(storageClassName=""), ""),
        ((NEW,), made(annotations={"volume.beta.kubernetes.io/storage-class": "other"}), None),
    ],
)
def test_a_claim_without_a_class_gets_the_newest_default(classes, claim, chosen):
    assert admitted(DefaultStorageClass(), PERSISTENT_VOLUME_CLAIMS, claim, MemoryView(*classes))["spec"].get("storageClassName") == chosen


def test_an_ingress_without_a_class_gets_the_default():
    mark = {"ingressclass.kubernetes.io/is-default-class": "true"}
    view = MemoryView({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx", "annotations": mark}})
    assert admitted(DefaultIngressClass(), INGRESSES, made(), view)["spec"] == {"ingressClassName": "nginx"}
    assert admitted(DefaultIngressClass(), INGRESSES, made(ingressClassName="own"), view)["spec"] == {"ingressClassName": "own"}
    assert admitted(DefaultIngressClass(), INGRESSES, made(annotations={"kubernetes.io/ingress.class": "old"}), view)["spec"] == {}
    assert admitted(DefaultIngressClass(), INGRESSES, made())["spec"] == {}


def test_storage_is_born_protected():
    plugin = StorageObjectInUseProtection()
    assert admitted(plugin, PERSISTENT_VOLUME_CLAIMS, made())["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert admitted(plugin, PERSISTENT_VOLUMES, made())["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    assert admitted(plugin, VOLUME_ATTRIBUTES_CLASSES, made())["metadata"]["finalizers"] == ["kubernetes.io/vac-protection"]
    assert "finalizers" not in admitted(plugin, PERSISTENT_VOLUMES, made(), old=made())["metadata"], "an update may take it away"


def claim_of(size, class_name="fast", phase="Bound"):
    return {**made(storageClassName=class_name, resources={"requests": {"storage": size}}), "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (claim_of("1Gi"), claim_of("2Gi"), None),
        (claim_of("1Gi"), claim_of("1024Mi"), None),
        (claim_of("1Gi", phase="Pending"), claim_of("2Gi"), "Only bound persistent volume claims can be expanded"),
        (claim_of("1Gi", "fixed"), claim_of("2Gi", "fixed"), "the storageclass that provisions the pvc must support resize"),
        (claim_of("1Gi", "gone"), claim_of("2Gi", "gone"), "only dynamically provisioned pvc can be resized"),
        (claim_of("1Gi", "fixed"), claim_of("1Gi", "fixed"), None),
    ],
)
def test_claims_grow_where_their_class_lets_them(old, new, problem):
    view = MemoryView(storage_class("fast", allowVolumeExpansion=True), storage_class("fixed"))
    if problem is None:
        admitted(PersistentVolumeClaimResize(), PERSISTENT_VOLUME_CLAIMS, new, view, old)
        return
    with pytest.raises(Forbidden, match=problem):
        admitted(PersistentVolumeClaimResize(), PERSISTENT_VOLUME_CLAIMS, new, view, old)


TOLERATION = {"key": "sandbox", "operator": "Exists"}


def sandbox(**more):
    return MemoryView({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "sandbox"}, "handler": "kata", **more})


def test_a_pods_runtime_says_what_it_costs_and_where_it_runs():
    view = sandbox(overhead={"podFixed": {"cpu": "250m"}}, scheduling={"nodeSelector": {"kata": "yes"}, "tolerations": [TOLERATION]})
    spec = admitted(RuntimeClass(), PODS, made(runtimeClassName="sandbox", nodeSelector={"disk": "ssd"}), view)["spec"]
    assert spec["overhead"] == {"cpu": "250m"}
    assert spec["nodeSelector"] == {"disk": "ssd", "kata": "yes"}
    assert spec["tolerations"] == [TOLERATION]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"runtimeClassName": "other"}, 'pod rejected: RuntimeClass "other" not found'),
        ({"runtimeClassName": "sandbox", "overhead": {"cpu": "1"}}, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"),
        ({"overhead": {"cpu": "1"}}, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"),
        (
            {"runtimeClassName": "sandbox", "nodeSelector": {"kata": "no"}},
            r"conflict: runtimeClass.scheduling.nodeSelector\[kata\] = yes; pod.spec.nodeSelector\[kata\] = no",
        ),
    ],
)
def test_a_pod_does_not_say_otherwise(spec, problem):
    view = sandbox(overhead={"podFixed": {"cpu": "250m"}}, scheduling={"nodeSelector": {"kata": "yes"}})
    with pytest.raises(Forbidden, match=problem):
        admitted(RuntimeClass(), PODS, made(**spec), view)


def test_tolerations_that_another_covers_are_left_out():
    narrow = {"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}
    wide = {"key": "k", "operator": "Exists"}
    short, long = ({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds} for seconds in (5, 50))
    assert merged_tolerations([narrow], [wide]) == [wide]
    assert merged_tolerations([wide], [narrow]) == [wide]
    assert merged_tolerations([narrow], [narrow]) == [narrow]
    assert merged_tolerations([short], [long]) == [long]
    assert merged_tolerations([narrow], [{**narrow, "value": "w"}]) == [narrow, {**narrow, "value": "w"}]


def test_a_new_node_takes_no_pods_yet():
    not_ready = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    own = {"key": "own", "effect": "NoExecute"}
    assert admitted(TaintNodesByCondition(), NODES, made(taints=[own]))["spec"]["taints"] == [own, not_ready]
    assert admitted(TaintNodesByCondition(), NODES, made(taints=[not_ready]))["spec"]["taints"] == [not_ready]
    assert admitted(TaintNodesByCondition(), NODES, made(), old=made())["spec"] == {}


def test_who_asks_for_a_device_tolerates_its_nodes():
    containers = [{"name": "c", "resources": {"requests": {"cpu": "1", "example.com/gpu": "1", "hugepages-2Mi": "2Mi", "x.kubernetes.io/y": "1"}}}]
    spec = admitted(ExtendedResourceToleration(), PODS, made(containers=containers))["spec"]
    assert spec["tolerations"] == [{"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "tolerations" not in admitted(ExtendedResourceToleration(), PODS, made(containers=[{"name": "c"}]))["spec"]
