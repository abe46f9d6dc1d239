"""The rows of `kubectl get`: ages, the STATUS of pods in every state, and one row of each common kind."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from k8sfromscratch.api import registry as r
from k8sfromscratch.api.columns import cells, columns
from k8sfromscratch.api.columns.text import duration, selector
from k8sfromscratch.api.resource import Resource

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def ago(**of: float) -> str:
    return (NOW - timedelta(**of)).strftime("%Y-%m-%dT%H:%M:%SZ")


def row(resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "x", "creationTimestamp": ago(minutes=5), **obj.get("metadata", {})}
    values = cells(resource, {**obj, "metadata": metadata}, NOW)
    return {column.name: value for column, value in zip(columns(resource), values, strict=True)}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (130, "2m10s"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (7 * 3600 + 61 * 60, "8h"),
        (5 * 3600 + 20 * 60, "5h20m"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (800 * 86400, "2y70d"),
        (8 * 365 * 86400 + 86400, "8y"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# -- pods


def status(name: str = "a", *, ready: bool = False, restarts: int = 0, started: bool | None = None, last: dict | None = None, **state: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "ready": ready, "restartCount": restarts, "state": state}
    if last is not None:
        made["lastState"] = {"terminated": last}
    if started is not None:
        made["started"] = started
    return made


RUNNING = status(ready=True, running={})


def pod(*statuses: dict[str, Any], init: list[dict[str, Any]] | None = None, sidecar: bool = False, **of_status: Any) -> dict[str, Any]:
    init = init or []
    return {
        "metadata": {},
        "spec": {
            "containers": [{"name": one["name"]} for one in statuses] or [{"name": "a"}],
            "initContainers": [{"name": one["name"], **({"restartPolicy": "Always"} if sidecar else {})} for one in init],
        },
        "status": {"phase": "Running", "containerStatuses": list(statuses), "initContainerStatuses": init, **of_status},
    }


READY = {"conditions": [{"type": "Ready", "status": "True"}]}
DELETED = {"deletionTimestamp": "2026-01-02T11:59:00Z"}


@pytest.mark.parametrize(
    ("of", "ready", "text", "restarts"),
    [
        (pod(phase="Pending"), "0/1", "Pending", "0"),
        (pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]), "0/1", "SchedulingGated", "0"),
        (pod(RUNNING), "1/1", "Running", "0"),
        (pod(status(waiting={"reason": "ContainerCreating"}), phase="Pending"), "0/1", "ContainerCreating", "0"),
        (pod(status(waiting={"reason": "ImagePullBackOff"}), phase="Pending"), "0/1", "ImagePullBackOff", "0"),
        (
            pod(status(restarts=3, last={"finishedAt": ago(seconds=40)}, waiting={"reason": "CrashLoopBackOff"})),
            "0/1",
            "CrashLoopBackOff",
            "3 (40s ago)",
        ),
        (pod(status(terminated={"reason": "Completed", "exitCode": 0}), phase="Succeeded"), "0/1", "Completed", "0"),
        (pod(status(terminated={"reason": "OOMKilled", "exitCode": 137})), "0/1", "OOMKilled", "0"),
        (pod(status(terminated={"exitCode": 3})), "0/1", "ExitCode:3", "0"),
        (pod(status(terminated={"exitCode": 137, "signal": 9})), "0/1", "Signal:9", "0"),
        (pod(RUNNING, status("b", terminated={"reason": "Completed"}), **READY), "1/2", "Running", "0"),
        (pod(status(terminated={"reason": "Completed"}), status("b", ready=True, running={})), "1/2", "NotReady", "0"),
        (pod(phase="Failed", reason="Evicted"), "0/1", "Evicted", "0"),
        (pod(init=[status("i", running={})], phase="Pending"), "0/1", "Init:0/1", "0"),
        (pod(init=[status("i", terminated={"exitCode": 0}), status("j", waiting={"reason": "PodInitializing"})], phase="Pending"), "0/1", "Init:1/2", "0"),
        (pod(init=[status("i", restarts=2, waiting={"reason": "CrashLoopBackOff"})], phase="Pending"), "0/1", "Init:CrashLoopBackOff", "2"),
        (pod(init=[status("i", terminated={"exitCode": 1, "reason": "Error"})], phase="Pending"), "0/1", "Init:Error", "0"),
        (pod(init=[status("i", terminated={"exitCode": 1})], phase="Pending"), "0/1", "Init:ExitCode:1", "0"),
        (
            pod(status(waiting={"reason": "PodInitializing"}), init=[status("i", terminated={"exitCode": 0}, restarts=1)], phase="Pending"),
            "0/1",
            "PodInitializing",
            "0",
        ),
        (pod(RUNNING, init=[status("i", ready=True, started=True, restarts=1, running={})], sidecar=True), "2/2", "Running", "1"),
        ({**pod(RUNNING), "metadata": DELETED}, "1/1", "Terminating", "0"),
        ({**pod(RUNNING, reason="NodeLost"), "metadata": DELETED}, "1/1", "Unknown", "0"),
        ({**pod(status(terminated={"reason": "Completed"}), phase="Succeeded"), "metadata": DELETED}, "0/1", "Completed", "0"),
    ],
)
def test_the_status_of_a_pod(of: dict[str, Any], ready: str, text: str, restarts: str) -> None:
    found = row(r.PODS, of)
    assert (found["Ready"], found["Status"], found["Restarts"]) == (ready, text, restarts)


def test_the_wide_row_of_a_pod() -> None:
    of = pod(RUNNING, podIPs=[{"ip": "10.0.0.9"}, {"ip": "fd00::9"}], nominatedNodeName="m", conditions=[{"type": "a/b", "status": "True"}])
    of["spec"] |= {"nodeName": "n", "readinessGates": [{"conditionType": "a/b"}, {"conditionType": "c/d"}]}
    found = row(r.PODS, of)
    assert [found[name] for name in ("IP", "Node", "Nominated Node", "Readiness Gates")] == ["10.0.0.9", "n", "m", "1/2"]
    assert [column.name for column in columns(r.PODS) if column.priority == 0] == ["Name", "Ready", "Status", "Restarts", "Age"]


# -- other kinds

TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "b:1"}, {"name": "c", "image": "d:1"}]}}


@pytest.mark.parametrize(
    ("resource", "obj", "expected"),
    [
        (
            r.DEPLOYMENTS,
            {
                "spec": {"replicas": 3, "selector": {"matchLabels": {"b": "2", "a": "1"}}, "template": TEMPLATE},
                "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1},
            },
            ["x", "2/3", 3, 1, "5m", "a,c", "b:1,d:1", "a=1,b=2"],
        ),
        (r.REPLICA_SETS, {"spec": {"replicas": 3, "template": TEMPLATE}, "status": {"replicas": 2}}, ["x", 3, 2, 0, "5m", "a,c", "b:1,d:1", "<none>"]),
        (
            r.DAEMON_SETS,
            {"spec": {"template": {"spec": {**TEMPLATE["spec"], "nodeSelector": {"os": "linux"}}}}, "status": {"desiredNumberScheduled": 2, "numberReady": 1}},
            ["x", 2, 0, 1, 0, 0, "os=linux", "5m", "a,c", "b:1,d:1", "<none>"],
        ),
        (r.STATEFUL_SETS, {"spec": {"replicas": 2, "template": TEMPLATE}, "status": {}}, ["x", "0/2", "5m", "a,c", "b:1,d:1"]),
        (
            r.JOBS,
            {
                "spec": {"completions": 2, "template": TEMPLATE},
                "status": {
                    "succeeded": 2,
                    "startTime": ago(minutes=4),
                    "completionTime": ago(minutes=3),
                    "conditions": [{"type": "Complete", "status": "True"}],
                },
            },
            ["x", "Complete", "2/2", "60s", "5m", "a,c", "b:1,d:1", "<none>"],
        ),
        (
            r.JOBS,
            {"spec": {"parallelism": 3, "template": TEMPLATE}, "status": {"startTime": ago(seconds=9)}},
            ["x", "Running", "0/1 of 3", "9s", "5m", "a,c", "b:1,d:1", "<none>"],
        ),
        (
            r.CRON_JOBS,
            {
                "spec": {"schedule": "* * * * *", "suspend": False, "jobTemplate": {"spec": {"template": TEMPLATE}}},
                "status": {"lastScheduleTime": ago(seconds=30)},
            },
            ["x", "* * * * *", "<none>", "False", 0, "30s", "5m", "a,c", "b:1,d:1", "<none>"],
        ),
        (
            r.SERVICES,
            {
                "spec": {
                    "type": "NodePort",
                    "clusterIPs": ["10.0.0.1"],
                    "ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}],
                    "selector": {"a": "b"},
                }
            },
            ["x", "NodePort", "10.0.0.1", "<none>", "80:30080/TCP,53/UDP", "5m", "a=b"],
        ),
        (r.SERVICES, {"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}}, ["x", "LoadBalancer", "10.0.0.1", "<pending>", "<none>", "5m", "<none>"]),
        (r.SERVICES, {"spec": {"type": "ExternalName", "externalName": "a.b"}}, ["x", "ExternalName", "<none>", "a.b", "<none>", "5m", "<none>"]),
        (
            r.ENDPOINTS,
            {"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}, {"port": 81}]}]},
            ["x", "10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more...", "5m"],
        ),
        (
            r.ENDPOINT_SLICES,
            {"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]},
            ["x", "IPv4", "80", "10.0.0.1", "5m"],
        ),
        (
            r.NODES,
            {
                "metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "big"}},
                "spec": {"unschedulable": True},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1.35.0", "osImage": "Debian", "kernelVersion": "6", "containerRuntimeVersion": "containerd://1"},
                },
            },
            ["x", "Ready,SchedulingDisabled", "big,control-plane", "5m", "v1.35.0", "10.0.0.1", "<none>", "Debian", "6", "containerd://1"],
        ),
        (r.NAMESPACES, {"status": {"phase": "Active"}}, ["x", "Active", "5m"]),
        (r.CONFIG_MAPS, {"data": {"a": "b"}, "binaryData": {"c": ""}}, ["x", 2, "5m"]),
        (r.SECRETS, {"type": "Opaque", "data": {"a": ""}}, ["x", "Opaque", 1, "5m"]),
        (r.SERVICE_ACCOUNTS, {}, ["x", 0, "5m"]),
        (
            r.EVENTS,
            {
                "firstTimestamp": ago(minutes=4),
                "lastTimestamp": ago(seconds=10),
                "count": 4,
                "type": "Warning",
                "reason": "BackOff",
                "message": " no \n",
                "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
                "source": {"component": "kubelet", "host": "n"},
            },
            ["10s", "Warning", "BackOff", "pod/p", "spec.containers{a}", "kubelet, n", "no", "4m", 4, "x"],
        ),
        (
            r.EVENTS_V1,
            {
                "eventTime": ago(minutes=3),
                "reportingController": "c",
                "note": "said",
                "regarding": {"kind": "Node", "name": "n"},
                "type": "Normal",
                "reason": "R",
            },
            ["3m", "Normal", "R", "node/n", "", "c", "said", "3m", 1, "x"],
        ),
        (r.LEASES, {"spec": {"holderIdentity": "me"}}, ["x", "me", "5m"]),
        (r.ROLES, {}, ["x", ago(minutes=5)]),
        (
            r.ROLE_BINDINGS,
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
            },
            ["x", "Role/r", "5m", "u", "g", "n/s"],
        ),
        (
            r.PERSISTENT_VOLUME_CLAIMS,
            {
                "spec": {"volumeName": "v", "storageClassName": "fast", "volumeMode": "Filesystem"},
                "status": {"phase": "Bound", "accessModes": ["ReadWriteMany", "ReadWriteOnce"], "capacity": {"storage": "1Gi"}},
            },
            ["x", "Bound", "v", "1Gi", "RWO,RWX", "fast", "<unset>", "5m", "Filesystem"],
        ),
        (
            r.PERSISTENT_VOLUMES,
            {
                "metadata": DELETED,
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOncePod"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "claimRef": {"namespace": "n", "name": "c"},
                },
                "status": {"phase": "Bound"},
            },
            ["x", "1Gi", "RWOP", "Retain", "Terminating", "n/c", "", "<unset>", "", "5m", "<unset>"],
        ),
        (
            r.STORAGE_CLASSES,
            {
                "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
                "provisioner": "p",
                "reclaimPolicy": "Delete",
                "volumeBindingMode": "Immediate",
            },
            ["x (default)", "p", "Delete", "Immediate", False, "5m"],
        ),
        (r.PRIORITY_CLASSES, {"value": 5, "preemptionPolicy": "Never"}, ["x", 5, False, "5m", "Never"]),
        (
            r.INGRESSES,
            {"spec": {"rules": [{"host": h} for h in "abcde"], "tls": [{}]}, "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}},
            ["x", "<none>", "a,b,c + 2 more...", "10.0.0.1", "80, 443", "5m"],
        ),
        (r.NETWORK_POLICIES, {"spec": {"podSelector": {}}}, ["x", "<none>", "5m"]),
        (
            r.HORIZONTAL_POD_AUTOSCALERS,
            {
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "d"},
                    "minReplicas": 1,
                    "maxReplicas": 4,
                    "metrics": [
                        {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
                        {"type": "Pods", "pods": {"target": {"averageValue": "5"}}},
                        {"type": "Object", "object": {"target": {"value": "5"}}},
                    ],
                },
                "status": {"currentReplicas": 2, "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40}}}]},
            },
            ["x", "Deployment/d", "cpu: 40%/80%, <unknown>/5 + 1 more...", "1", 4, 2, "5m"],
        ),
        (r.POD_DISRUPTION_BUDGETS, {"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}}, ["x", "50%", "N/A", 1, "5m"]),
        (r.CUSTOM_RESOURCE_DEFINITIONS, {}, ["x", ago(minutes=5)]),
        (
            r.API_SERVICES,
            {
                "spec": {"service": {"namespace": "n", "name": "s"}},
                "status": {"conditions": [{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]},
            },
            ["x", "n/s", "False (MissingEndpoints)", "5m"],
        ),
        (
            r.CERTIFICATE_SIGNING_REQUESTS,
            {"spec": {"signerName": "s", "username": "u", "expirationSeconds": 86400}, "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="}},
            ["x", "5m", "s", "u", "24h", "Approved,Issued"],
        ),
        (r.RESOURCE_QUOTAS, {"status": {"hard": {"pods": "5", "limits.cpu": "2"}, "used": {"pods": "1"}}}, ["x", "pods: 1/5", "limits.cpu: 0/2", "5m"]),
        (
            r.CONTROLLER_REVISIONS,
            {"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": True}]}, "revision": 2},
            ["x", "daemonset.apps/d", 2, "5m"],
        ),
        (r.VALIDATING_WEBHOOK_CONFIGURATIONS, {"webhooks": [{}, {}]}, ["x", 2, "5m"]),
    ],
    ids=lambda value: value.plural if isinstance(value, Resource) else "",
)
def test_rows(resource: Resource, obj: dict[str, Any], expected: list[Any]) -> None:
    assert list(row(resource, obj).values()) == expected


def test_an_unknown_kind_shows_name_and_age() -> None:
    custom = Resource("a.b", "v1", "Thing", "things")
    assert row(custom, {}) == {"Name": "x", "Age": "5m"}


@pytest.mark.parametrize("resource", [x for x in r.RESOURCES if "list" in x.verbs], ids=lambda x: f"{x.group_resource}/{x.version}")
def test_every_kind_has_a_row_for_an_empty_object(resource: Resource) -> None:
    assert len(row(resource, {})) == len(columns(resource))


def test_selectors_in_words() -> None:
    of = {"matchLabels": {"b": "1"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"}]}
    assert selector(of) == "a in (x,y),b=1,!c"
