"""NodeRestriction: a table of what a kubelet may and may not write, with a pod that runs on it and one that does not."""

import base64
import copy
from typing import Any, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from k8sfromscratch.api.errors import Forbidden, NotFound
from k8sfromscratch.api.registry import CERTIFICATE_SIGNING_REQUESTS, CONFIG_MAPS, LEASES, NODES, PERSISTENT_VOLUME_CLAIMS, PODS, SERVICE_ACCOUNTS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.admission.noderestriction import NodeRestriction, may_label
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.testing.views import MemoryView

Object = dict[str, Any]
KUBELET = UserInfo("system:node:n1", ("system:nodes",))
NODE: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "uid": "node-uid", "labels": {"kubernetes.io/hostname": "n1"}}, "spec": {}}
OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "node-uid", "controller": True}


def pod(name: str = "web", node: str = "n1", *, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata = {"name": name, "namespace": "a", "uid": f"{name}-uid", "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "containers": [{"name": "c"}], **spec}}


def mirror(owners: list[Object] | None = None, node: str = "n1", **spec: Any) -> Object:
    made = pod("static", node, **spec)
    made["metadata"] |= {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [OWNER] if owners is None else owners}
    return made


VOLUMES = [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"audience": "vault", "path": "t"}}]}}, {"name": "c", "csi": {"driver": "d"}}]
DRIVER = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "d"}, "spec": {"tokenRequests": [{"audience": "csi"}]}}
VIEW = MemoryView(NODE, pod(volumes=VOLUMES), pod("far", "n2"), DRIVER)


def validate(
    operation: Literal["CREATE", "UPDATE", "DELETE"],
    resource: Resource,
    name: str,
    obj: Object | None = None,
    old: Object | None = None,
    *,
    sub: str = "",
    namespace: str = "a",
    user: UserInfo = KUBELET,
) -> None:
    request = AdmissionRequest(operation, resource, sub, namespace if resource.namespaced else "", name, user, obj, old)
    NodeRestriction().validate(request, VIEW)


def refused(message: str) -> Any:
    return pytest.raises(Forbidden, match=message)


def test_others_are_not_its_business() -> None:
    validate("CREATE", PODS, "web", pod(), user=UserInfo("ann"))
    validate("CREATE", CONFIG_MAPS, "x", {"metadata": {"name": "x"}})


def test_mirror_pods_of_its_own() -> None:
    validate("CREATE", PODS, "static", mirror())


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (pod(), "can only create mirror pods"),
        (mirror(node="n2"), "spec.nodeName set to itself"),
        (mirror([]), "single owner reference"),
        (mirror([{**OWNER, "name": "n2"}]), "owner reference set to itself"),
        (mirror([{**OWNER, "controller": False}]), "controller owner reference"),
        (mirror([{**OWNER, "blockOwnerDeletion": True}]), "must not set blockOwnerDeletion"),
        (mirror([{**OWNER, "uid": "other"}]), "UID mismatch: expected other got node-uid"),
        (mirror(serviceAccountName="x"), "reference a service account"),
        (mirror(volumes=[{"name": "v", "secret": {"secretName": "s"}}]), "reference secrets"),
        (mirror(volumes=[{"name": "v", "configMap": {"name": "s"}}]), "reference configmaps"),
        (mirror(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]), "reference persistentvolumeclaims"),
        (mirror(volumes=[{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]), "projected serviceAccountToken"),
    ],
)
def test_pods_it_may_not_make(obj: Object, message: str) -> None:
    with refused(message):
        validate("CREATE", PODS, obj["metadata"]["name"], obj)


def test_deletes_and_evicts_its_own_pods() -> None:
    validate("DELETE", PODS, "web")
    validate("CREATE", PODS, "web", {"metadata": {"name": "web"}}, sub="eviction")
    with refused('node "n1" can only delete pods'):
        validate("DELETE", PODS, "far")
    with refused('node "n1" can only evict pods'):
        validate("CREATE", PODS, "far", {"metadata": {"name": "far"}}, sub="eviction")
    with pytest.raises(NotFound):
        validate("DELETE", PODS, "none")


def test_status_of_its_own_pods() -> None:
    validate("UPDATE", PODS, "web", {**pod(), "status": {"phase": "Running"}}, pod(), sub="status")
    with refused("pods with spec.nodeName set to itself"):
        validate("UPDATE", PODS, "far", pod("far", "n2"), pod("far", "n2"), sub="status")
    with refused("cannot update labels through pod status"):
        validate("UPDATE", PODS, "web", pod(labels={"app": "db"}), pod(), sub="status")
    with refused("unexpected pod subresource"):
        validate("UPDATE", PODS, "web", pod(), pod(), sub="ephemeralcontainers")
    with refused("can only create and delete mirror pods"):
        validate("UPDATE", PODS, "web", pod(), pod())


def node(**parts: Any) -> Object:
    changed = copy.deepcopy(NODE)
    for part, value in parts.items():
        changed["metadata" if part in ("labels", "ownerReferences", "annotations") else "spec"][part] = value
    return changed


def test_its_own_node() -> None:
    validate("CREATE", NODES, "", NODE)
    validate("UPDATE", NODES, "n1", node(annotations={"a": "b"}, labels={"kubernetes.io/hostname": "n2", "own": "x"}), NODE)
    # What the control plane has put on it may stay, but neither change nor go.
    marked = node(labels={"node-role.kubernetes.io/worker": ""})
    validate("UPDATE", NODES, "n1", marked, marked)
    with refused("not allowed to modify labels: node-role.kubernetes.io/worker"):
        validate("UPDATE", NODES, "n1", node(labels={}), marked)


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (node(labels={"node-role.kubernetes.io/control-plane": ""}), "labels"),
        (node(labels={"kubernetes.io/hostname": "n1", "secure.node-restriction.kubernetes.io/x": "y"}), "node-restriction"),
        (node(taints=[{"key": "x", "effect": "NoSchedule"}]), "not allowed to modify taints"),
        (node(ownerReferences=[{"kind": "ConfigMap", "name": "x"}]), "not allowed to modify ownerReferences"),
        (node(configSource={"configMap": {}}), "configSource"),
    ],
)
def test_what_it_may_not_change_on_its_node(obj: Object, message: str) -> None:
    with refused(message):
        validate("UPDATE", NODES, "n1", obj, NODE)


def test_other_nodes() -> None:
    with refused('node "n1" is not allowed to modify node "n2"'):
        validate("UPDATE", NODES, "n2", NODE, NODE, sub="status")
    with refused('not allowed to modify node "n2"'):
        validate("CREATE", NODES, "", {"metadata": {"name": "n2"}})


@pytest.mark.parametrize(
    ("label", "allowed"),
    [
        ("team", True),
        ("example.com/team", True),
        ("kubernetes.io/os", True),
        ("node.kubernetes.io/instance-type", True),
        ("x.kubelet.kubernetes.io/y", True),
        ("topology.kubernetes.io/zone", True),
        ("node-role.kubernetes.io/master", False),
        ("kubernetes.io/other", False),
        ("k8s.io/x", False),
        ("node-restriction.kubernetes.io/x", False),
        ("a.node-restriction.kubernetes.io/x", False),
        ("notkubernetes.io/x", True),
    ],
)
def test_labels(label: str, allowed: bool) -> None:
    assert may_label(label) is allowed


def token(audiences: list[str], **ref: str) -> Object:
    return {"metadata": {}, "spec": {"audiences": audiences, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "web-uid", **ref}}}


@pytest.mark.parametrize("audiences", [[], ["vault"], ["csi"]])
def test_tokens_its_pods_need(audiences: list[str]) -> None:
    validate("CREATE", SERVICE_ACCOUNTS, "bot", token(audiences), sub="token")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"spec": {}}, "not bound to a pod"),
        (token([], kind="Secret"), "not bound to a pod"),
        (token([], uid=""), "without a uid"),
        (token([], uid="other"), "does not match the UID in record"),
        (token([], name="far", uid="far-uid"), "scheduled on a different node"),
        (token(["other"]), 'audience "other" not found'),
        (token(["vault", "csi"]), "0 or 1 audiences"),
    ],
)
def test_tokens_it_may_not_have(request_: Object, message: str) -> None:
    with refused(message):
        validate("CREATE", SERVICE_ACCOUNTS, "bot", request_, sub="token")


def test_its_own_lease() -> None:
    validate("UPDATE", LEASES, "n1", {"metadata": {"name": "n1"}}, namespace="kube-node-lease")
    validate("CREATE", LEASES, "", {"metadata": {"name": "n1"}}, namespace="kube-node-lease")
    with refused("same name as the requesting node"):
        validate("CREATE", LEASES, "", {"metadata": {"name": "n2"}}, namespace="kube-node-lease")
    with refused("kube-node-lease"):
        validate("UPDATE", LEASES, "n1", {"metadata": {"name": "n1"}}, namespace="kube-system")


def test_status_of_claims() -> None:
    claim = {"metadata": {"name": "c", "resourceVersion": "1"}, "spec": {}, "status": {"phase": "Bound"}}
    grown = {**claim, "metadata": {"name": "c", "resourceVersion": "2"}, "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}}
    validate("UPDATE", PERSISTENT_VOLUME_CLAIMS, "c", grown, claim, sub="status")
    with refused("not allowed to update fields other than"):
        validate("UPDATE", PERSISTENT_VOLUME_CLAIMS, "c", {**claim, "status": {"phase": "Lost"}}, claim, sub="status")
    with refused("may only update PVC status"):
        validate("UPDATE", PERSISTENT_VOLUME_CLAIMS, "c", claim, claim)


@pytest.mark.parametrize(("name", "allowed"), [("system:node:n1", True), ("system:node:n2", False)])
def test_certificates_in_its_own_name(name: str, allowed: bool) -> None:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    encoded = base64.b64encode(csr.public_bytes(Encoding.PEM)).decode()
    request = {"metadata": {"name": "x"}, "spec": {"signerName": "kubernetes.io/kubelet-serving", "request": encoded}}
    if allowed:
        validate("CREATE", CERTIFICATE_SIGNING_REQUESTS, "x", request)
    else:
        with refused("can only create a node CSR with CN=system:node:n1"):
            validate("CREATE", CERTIFICATE_SIGNING_REQUESTS, "x", request)
    validate("CREATE", CERTIFICATE_SIGNING_REQUESTS, "x", {**request, "spec": {**request["spec"], "signerName": "example.com/other"}})
