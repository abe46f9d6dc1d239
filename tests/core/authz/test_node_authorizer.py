"""What a kubelet may do: its own node and lease, and what the pods bound to it refer to, as long as they are."""

from typing import Any

import pytest

from k8sfromscratch.core.authz.node import NodeAuthorizer
from k8sfromscratch.core.authz.types import Attributes, UserInfo
from k8sfromscratch.testing.views import MemoryView

Object = dict[str, Any]
NODE = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))
GROUPS = {"leases": "coordination.k8s.io", "csinodes": "storage.k8s.io", "volumeattachments": "storage.k8s.io", "runtimeclasses": "node.k8s.io"}
GROUPS |= {"resourceclaims": "resource.k8s.io", "deployments": "apps", "subjectaccessreviews": "authorization.k8s.io"}

POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "a"},
    "spec": {
        "nodeName": "n1",
        "serviceAccountName": "bot",
        "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"name": "i", "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "init-env", "key": "k"}}}]}],
        "containers": [
            {
                "name": "c",
                "envFrom": [{"configMapRef": {"name": "env-from"}}, {"secretRef": {"name": "secret-from"}}],
                "env": [{"name": "Y", "valueFrom": {"configMapKeyRef": {"name": "env-key", "key": "k"}}}, {"name": "Z", "value": "plain"}],
            }
        ],
        "volumes": [
            {"name": "v1", "secret": {"secretName": "mounted"}},
            {"name": "v2", "configMap": {"name": "mounted"}},
            {"name": "v3", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "kube-root-ca.crt"}}]}},
            {"name": "v4", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "v5", "ephemeral": {"volumeClaimTemplate": {}}},
            {"name": "v6", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "csi"}}},
        ],
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}],
    },
}
VOLUME: Object = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "pv1"},
    "spec": {
        "claimRef": {"namespace": "a", "name": "data"},
        "csi": {"driver": "d", "nodeStageSecretRef": {"namespace": "vault", "name": "stage"}},
    },
}


def allowed(authorizer: NodeAuthorizer, view: MemoryView, text: str, *, user: UserInfo = NODE, namespace: str = "a", fields: str = "") -> bool:
    """`get secrets x`, `update pods/status x`, `list pods`."""
    verb, resource, *name = text.split()
    plural, _, subresource = resource.partition("/")
    a = Attributes(user, verb, namespace, GROUPS.get(plural, ""), "v1", plural, subresource, name[0] if name else "", field_selector=fields)
    return authorizer.authorize(a, view).allowed


NEEDED = [
    "get secrets pull", "get secrets init-env", "get secrets secret-from", "get secrets mounted", "get secrets projected", "get secrets csi",
    "watch secrets mounted", "list secrets mounted", "get configmaps env-from", "get configmaps env-key", "get configmaps mounted",
    "get configmaps kube-root-ca.crt",
    "get persistentvolumeclaims data", "get persistentvolumeclaims web-v5", "patch persistentvolumeclaims/status data", "get persistentvolumes pv1",
    "get resourceclaims gpu", "create serviceaccounts/token bot", "get serviceaccounts bot", "get pods web",
]  # fmt: skip


@pytest.mark.parametrize("text", NEEDED)
def test_what_a_pod_needs_its_node_may_have_while_it_is_there(text: str) -> None:
    authorizer, view = NodeAuthorizer(), MemoryView(POD, VOLUME)
    assert allowed(authorizer, view, text)
    assert not allowed(authorizer, view, text, user=UserInfo("system:node:n2", ("system:nodes",)))
    if "persistentvolumes" not in text:
        assert not allowed(authorizer, view, text, namespace="b")
    view.put({**POD, "metadata": {**POD["metadata"], "name": "another"}})
    view.remove(POD)
    assert allowed(authorizer, view, text) is ("pods" not in text and "web" not in text)
    view.put({**POD, "metadata": {**POD["metadata"], "name": "another"}, "spec": {**POD["spec"], "nodeName": "n2"}})
    assert not allowed(authorizer, view, text)


def test_a_volumes_own_secret_in_another_namespace() -> None:
    authorizer, view = NodeAuthorizer(), MemoryView(POD, VOLUME)
    assert allowed(authorizer, view, "get secrets stage", namespace="vault")
    view.remove(VOLUME)
    assert not allowed(authorizer, view, "get secrets stage", namespace="vault")


def test_a_lost_watch_changes_nothing() -> None:
    authorizer, view = NodeAuthorizer(), MemoryView(POD)
    assert allowed(authorizer, view, "get secrets mounted")
    view.lose_marks()
    assert allowed(authorizer, view, "get secrets mounted")
    view.remove(POD)
    view.lose_marks()
    assert not allowed(authorizer, view, "get secrets mounted")


def test_a_mirror_pod_gives_no_rights() -> None:
    mirror = {**POD, "metadata": {**POD["metadata"], "annotations": {"kubernetes.io/config.mirror": "x"}}}
    assert not allowed(NodeAuthorizer(), MemoryView(mirror), "get secrets mounted")
    assert allowed(NodeAuthorizer(), MemoryView(mirror), "get pods web")


def test_an_unbound_pod_gives_no_rights() -> None:
    unbound = {**POD, "spec": {key: value for key, value in POD["spec"].items() if key != "nodeName"}}
    assert not allowed(NodeAuthorizer(), MemoryView(unbound), "get secrets mounted")


@pytest.mark.parametrize(
    ("text", "namespace", "fields", "expected"),
    [
        ("get nodes n1", "", "", True),
        ("list nodes n1", "", "metadata.name=n1", True),
        ("get nodes n2", "", "", False),
        ("list nodes", "", "", False),
        ("create nodes", "", "", True),
        ("patch nodes/status n1", "", "", True),
        ("delete nodes n1", "", "", False),
        ("get nodes/proxy n1", "", "", False),
        ("list pods", "", "spec.nodeName=n1", True),
        ("watch pods", "", "spec.nodeName==n1,status.phase!=Failed", True),
        ("list pods", "", "spec.nodeName=n2", False),
        ("list pods", "", "spec.nodeName!=n1", False),
        ("list pods", "", "", False),
        ("update pods web", "a", "", False),
        ("patch pods/status web", "a", "", True),
        ("create pods/eviction web", "a", "", True),
        ("create pods/exec web", "a", "", False),
        ("create leases", "kube-node-lease", "", True),
        ("update leases n1", "kube-node-lease", "", True),
        ("update leases n2", "kube-node-lease", "", False),
        ("update leases n1", "kube-system", "", False),
        ("list leases", "kube-node-lease", "", False),
        ("patch csinodes n1", "", "", True),
        ("patch csinodes n2", "", "", False),
        ("list services", "", "", True),
        ("create events", "a", "", True),
        ("list runtimeclasses", "", "", True),
        ("create subjectaccessreviews", "", "", True),
        ("list secrets", "a", "", False),
        ("create secrets", "a", "", False),
        ("get deployments x", "a", "", False),
    ],
)
def test_its_own_and_the_common(text: str, namespace: str, fields: str, expected: bool) -> None:
    assert allowed(NodeAuthorizer(), MemoryView(POD), text, namespace=namespace, fields=fields) is expected


@pytest.mark.parametrize("user", [UserInfo("system:node:n1"), UserInfo("n1", ("system:nodes",)), UserInfo("system:node:", ("system:nodes",))])
def test_who_is_no_node_gets_no_opinion(user: UserInfo) -> None:
    assert not allowed(NodeAuthorizer(), MemoryView(POD), "list services", user=user)


def test_attachment_of_the_node() -> None:
    attachment = {"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "va"}, "spec": {"nodeName": "n1"}}
    authorizer, view = NodeAuthorizer(), MemoryView(attachment)
    assert allowed(authorizer, view, "get volumeattachments va", namespace="")
    view.put({**attachment, "spec": {"nodeName": "n2"}})
    assert not allowed(authorizer, view, "get volumeattachments va", namespace="")
