"""`describe`, for every kind that kubectl has a describer of: each reads related objects, and events, in ways of its own."""

import json
import re

import pytest

POD = {"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": POD}
SELECTOR = {"matchLabels": {"app": "web"}}
RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
INGRESS_PATH = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
METRIC = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}

# apiVersion and kind, the rest of the object, what the description must tell.
KINDS = {
    "v1 Pod": (
        {"spec": POD},
        ("Containers:", "Image:", "QoS Class:                   BestEffort", "not-ready:NoExecute op=Exists for 300s"),
    ),
    "v1 ReplicationController": ({"spec": {"replicas": 0, "selector": {"app": "web"}, "template": TEMPLATE}}, ("Replicas:     0 current / 0 desired",)),
    "v1 Service": ({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}, ("IP Families:", "Port:", "Session Affinity:")),
    "v1 Endpoints": ({"subsets": [{"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 80}]}]}, ("Addresses:          10.1.1.1",)),
    "v1 ConfigMap": ({"data": {"key": "value"}}, ("key:\n----\nvalue",)),
    "v1 Secret": ({"data": {"key": "dmFsdWU="}}, ("Type:  Opaque", "key:  5 bytes")),
    "v1 ServiceAccount": ({}, ("Image pull secrets:",)),
    "v1 LimitRange": ({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}, ("Container   cpu",)),
    "v1 ResourceQuota": ({"spec": {"hard": {"pods": "3"}}}, ("Resource",)),
    "v1 PersistentVolumeClaim": ({"spec": CLAIM}, ("Status:        Pending", "VolumeMode:    Filesystem")),
    "apps/v1 Deployment": ({"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}}, ("StrategyType:           RollingUpdate",)),
    "apps/v1 ReplicaSet": ({"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}}, ("Pods Status:    0 Running",)),
    "apps/v1 DaemonSet": ({"spec": {"selector": SELECTOR, "template": TEMPLATE}}, ("Desired Number of Nodes Scheduled:",)),
    "apps/v1 StatefulSet": (
        {"spec": {"replicas": 0, "serviceName": "web", "selector": SELECTOR, "template": TEMPLATE}},
        ("Strategy:    RollingUpdate",),
    ),
    "batch/v1 Job": ({"spec": {"suspend": True, "template": {"spec": {**POD, "restartPolicy": "Never"}}}}, ("Parallelism:      1", "Suspend:          true")),
    "batch/v1 CronJob": (
        {"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}}}},
        ("Schedule:                      @daily", "Concurrency Policy:            Allow"),
    ),
    "autoscaling/v2 HorizontalPodAutoscaler": (
        {"spec": {"maxReplicas": 3, "metrics": [METRIC], "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}},
        ("Deployment/web", "<unknown> / 50%"),
    ),
    "policy/v1 PodDisruptionBudget": ({"spec": {"minAvailable": 1, "selector": SELECTOR}}, ("Min available:  1", "Allowed disruptions:")),
    "networking.k8s.io/v1 Ingress": ({"spec": {"rules": [{"host": "a.example", "http": {"paths": [INGRESS_PATH]}}]}}, ("a.example", "web:80")),
    "networking.k8s.io/v1 NetworkPolicy": ({"spec": {"podSelector": SELECTOR}}, ("PodSelector:     app=web", "Policy Types: Ingress")),
    "discovery.k8s.io/v1 EndpointSlice": (
        {"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.1.2"], "conditions": {"ready": True}}], "ports": [{"name": "http", "port": 80}]},
        ("AddressType:  IPv4", "10.1.1.2"),
    ),
    "rbac.authorization.k8s.io/v1 Role": ({"rules": RULES}, ("pods       []", "[get]")),
    "rbac.authorization.k8s.io/v1 RoleBinding": (
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "ann"}]},
        ("Kind:  Role", "User  ann"),
    ),
    "coordination.k8s.io/v1 Lease": ({"spec": {"holderIdentity": "me"}}, ("Holder Identity:  me",)),
    "storage.k8s.io/v1 CSIStorageCapacity": ({"storageClassName": "fast", "capacity": "1Gi"}, ("Storage Class Name:  fast",)),
}

CLUSTER_KINDS = {
    "v1 Node": ({}, ("Non-terminated Pods:          (0 in total)", "Allocated resources:")),
    "v1 Namespace": ({}, ("Status:       Active", "No resource quota.", "No LimitRange resource.")),
    "v1 PersistentVolume": (
        {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp"}}},
        ("Reclaim Policy:  Retain", "HostPath (bare host directory volume)"),
    ),
    "rbac.authorization.k8s.io/v1 ClusterRole": ({"rules": RULES}, ("[get]",)),
    "rbac.authorization.k8s.io/v1 ClusterRoleBinding": (
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}, "subjects": [{"kind": "Group", "name": "staff"}]},
        ("Group  staff",),
    ),
    "storage.k8s.io/v1 StorageClass": ({"provisioner": "example.com/p"}, ("Provisioner:           example.com/p", "VolumeBindingMode:     Immediate")),
    "storage.k8s.io/v1 CSINode": ({"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n"}]}}, ("d.example.com",)),
    "scheduling.k8s.io/v1 PriorityClass": ({"value": 7}, ("Value:             7", "PreemptionPolicy:  PreemptLowerPriority")),
    "networking.k8s.io/v1 IngressClass": ({"spec": {"controller": "example.com/c"}}, ("Controller:   example.com/c",)),
    "networking.k8s.io/v1 ServiceCIDR": ({"spec": {"cidrs": ["10.200.0.0/16"]}}, ("10.200.0.0/16",)),
    "certificates.k8s.io/v1 CertificateSigningRequest": (None, ("Requesting User:    admin", "Common Name:    eve", "Status:              Pending")),
    "node.k8s.io/v1 RuntimeClass": ({"handler": "runc"}, ("Handler:", "runc")),
}


@pytest.mark.parametrize("kind", [*KINDS, *CLUSTER_KINDS])
def test_describe(kubectl, kind, signing_request):
    api_version, _, name_of_kind = kind.partition(" ")
    more, told = {**KINDS, **CLUSTER_KINDS}[kind]
    if more is None:
        more = {"spec": {"request": signing_request, "signerName": "example.com/signer", "usages": ["client auth"]}}
    name = f"it-{kubectl.namespace}"
    kubectl("create", "-f", "-", text=json.dumps({"apiVersion": api_version, "kind": name_of_kind, "metadata": {"name": name}, **more}))
    group, _, version = api_version.rpartition("/")
    resource = f"{name_of_kind}.{version}.{group}" if group else name_of_kind
    try:
        said = _even(kubectl("describe", resource, name))
        assert f"Name: {name}" in said
        for words in told:
            assert _even(words) in said
    finally:
        if kind in CLUSTER_KINDS:
            kubectl("delete", resource, name, "--wait=false")


def _even(text: str) -> str:
    """Without alignment, which depends on the other lines."""
    return re.sub(" +", " ", text)


def test_describe_tells_events_and_takes_selectors(live):
    with live.start("events", "--watch") as watching:
        live("create", "deployment", "web", "--image=nginx")
        # By two components, each with a queue of its own: in either order.
        if "ScalingReplicaSet" not in watching.until("Successfully assigned"):
            watching.until("ScalingReplicaSet")
    live("rollout", "status", "deployment/web", "--timeout=30s")
    deployment = live("describe", "deployment/web")
    assert "ScalingReplicaSet" in deployment and "NewReplicaSet:   web-" in deployment and "Available      True    MinimumReplicasAvailable" in deployment
    pods = live("describe", "pods", "-l", "app=web")
    assert "Controlled By:  ReplicaSet/web-" in pods and "Successfully assigned" in pods
    assert "Events:" not in live("describe", "deployment", "web", "--show-events=false")
    (node,) = live("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").split()
    assert f"{live.namespace} " in live("describe", "node", node)
    assert "web-" in live("describe", "pod", "web-")
    assert 'deployments.apps "none" not found' in live.fails("describe", "deployment", "none")
