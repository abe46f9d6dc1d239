"""Pods and their templates: every fault with its path, reason and upstream's wording."""

import copy
from typing import Any

import pytest

from k8sfromscratch.api.defaults import set_defaults
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.registry import PODS
from k8sfromscratch.api.schema import check
from k8sfromscratch.api.validation import validate_create, validate_update


def pod(**spec: Any) -> dict[str, Any]:
    obj, _ = check(PODS, {"metadata": {"name": "web", "namespace": "default"}, "spec": {"containers": [{"name": "a", "image": "b"}], **spec}})
    set_defaults(PODS, obj)
    return obj


def container(**fields: Any) -> dict[str, Any]:
    return pod(containers=[{"name": "a", "image": "b", **fields}])


def only(causes: list[Cause]) -> tuple[str, str]:
    assert len(causes) == 1, causes
    return causes[0].field, causes[0].message


def test_a_good_pod_has_no_faults() -> None:
    good = pod(
        initContainers=[{"name": "i", "image": "b", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["x"]}}}],
        containers=[
            {
                "name": "a",
                "image": "b",
                "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}],
                "env": [{"name": "A.b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}}],
                "resources": {"requests": {"cpu": "1", "x.y/z": 1}, "limits": {"cpu": "1", "x.y/z": 1, "hugepages-2Mi": "4Mi"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a/b"}],
                "livenessProbe": {"httpGet": {"port": "http"}},
            }
        ],
        volumes=[{"name": "v", "configMap": {"name": "c", "items": [{"key": "a", "path": "b"}]}}],
        tolerations=[{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 1}],
        topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}]}},
    )
    assert validate_create(PODS, good) == []
    assert validate_update(PODS, good, good) == []


@pytest.mark.parametrize(
    ("given", "field", "message"),
    [
        (pod(containers=[]), "spec.containers", "Required value"),
        (pod(containers=[{"name": "a"}]), "spec.containers[0].image", "Required value"),
        (pod(containers=[{"image": "a"}]), "spec.containers[0].name", "Required value"),
        (pod(containers=[{"name": "a", "image": "b"}, {"name": "a", "image": "b"}]), "spec.containers[1].name", 'Duplicate value: "a"'),
        (pod(initContainers=[{"name": "a", "image": "b"}]), "spec.initContainers[0].name", 'Duplicate value: "a"'),
        (container(image=" b"), "spec.containers[0].image", 'Invalid value: " b": must not have leading or trailing whitespace'),
        (pod(restartPolicy="Sometimes"), "spec.restartPolicy", 'Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'),
        (container(imagePullPolicy="x"), "spec.containers[0].imagePullPolicy", 'Unsupported value: "x": supported values: "Always", "IfNotPresent", "Never"'),
        (container(ports=[{}]), "spec.containers[0].ports[0].containerPort", "Required value"),
        (
            container(ports=[{"containerPort": 70000}]),
            "spec.containers[0].ports[0].containerPort",
            "Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            container(ports=[{"containerPort": 1, "protocol": "ICMP"}]),
            "spec.containers[0].ports[0].protocol",
            'Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
        ),
        (container(ports=[{"containerPort": 1, "name": "x"}, {"containerPort": 2, "name": "x"}]), "spec.containers[0].ports[1].name", 'Duplicate value: "x"'),
        (container(env=[{"value": "x"}]), "spec.containers[0].env[0].name", "Required value"),
        (
            container(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
            "spec.containers[0].env[0].valueFrom",
            'Invalid value: "": may not be specified when `value` is not empty',
        ),
        (
            container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.color"}}}]),
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
            'Invalid value: "metadata.color": error converting fieldPath: field label not supported: metadata.color',
        ),
        (container(volumeMounts=[{"name": "v", "mountPath": "/v"}]), "spec.containers[0].volumeMounts[0].name", 'Not found: "v"'),
        (
            container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            "spec.containers[0].resources.requests",
            'Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            container(resources={"requests": {"cpu": -1}}),
            "spec.containers[0].resources.requests[cpu]",
            'Invalid value: "-1": must be greater than or equal to 0',
        ),
        (
            container(resources={"requests": {"x.y/z": 1}, "limits": {"x.y/z": 2}}),
            "spec.containers[0].resources.requests",
            'Invalid value: "1": must be equal to x.y/z limit of 2',
        ),
        (container(livenessProbe={}), "spec.containers[0].livenessProbe", "Required value: must specify a handler type"),
        (
            container(livenessProbe={"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}),
            "spec.containers[0].livenessProbe.tcpSocket",
            "Forbidden: may not specify more than 1 handler type",
        ),
        (
            container(startupProbe={"exec": {"command": ["a"]}, "successThreshold": 2}),
            "spec.containers[0].startupProbe.successThreshold",
            "Invalid value: 2: must be 1",
        ),
        (
            pod(initContainers=[{"name": "i", "image": "b", "readinessProbe": {"tcpSocket": {"port": 1}}}]),
            "spec.initContainers[0].readinessProbe",
            "Forbidden: may not be set for init containers without restartPolicy=Always",
        ),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
            "spec.volumes[0].hostPath",
            "Forbidden: may not specify more than 1 volume type",
        ),
        (pod(volumes=[{"name": "v"}, {"name": "v"}]), "spec.volumes[1].name", 'Duplicate value: "v"'),
        (pod(volumes=[{"name": "v", "secret": {}}]), "spec.volumes[0].secret.secretName", "Required value"),
        (
            pod(volumes=[{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "../p"}]}}]),
            "spec.volumes[0].configMap.items[0].path",
            "Invalid value: \"../p\": must not contain '..'",
        ),
        (
            pod(tolerations=[{"operator": "Equal"}]),
            "spec.tolerations[0].operator",
            'Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"',
        ),
        (
            pod(tolerations=[{"key": "a", "tolerationSeconds": 1, "effect": "NoSchedule"}]),
            "spec.tolerations[0].effect",
            "Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ),
        (pod(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds", "Invalid value: 0: must be between 1 and 2147483647, inclusive"),
        (
            pod(hostNetwork=True, containers=[{"name": "a", "image": "b", "ports": [{"containerPort": 1, "hostPort": 2}]}]),
            "spec.containers[0].ports[0].hostPort",
            "Invalid value: 2: must match `containerPort` when `hostNetwork` is true",
        ),
        (pod(dnsPolicy="None"), "spec.dnsConfig", "Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
        (
            pod(dnsPolicy="None", dnsConfig={}),
            "spec.dnsConfig.nameservers",
            "Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
        ),
        (
            pod(topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]),
            "spec.topologySpreadConstraints[0].maxSkew",
            "Invalid value: 0: must be greater than zero",
        ),
        (
            pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}),
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
            "Required value: must have at least one node selector term",
        ),
        (pod(ephemeralContainers=[{"name": "e", "image": "b"}]), "spec.ephemeralContainers", "Forbidden: cannot be set on create"),
    ],
)
def test_faults_of_a_new_pod(given: dict[str, Any], field: str, message: str) -> None:
    assert only(validate_create(PODS, given)) == (field, message)


# -- updates


def changed(change: str, value: Any, of: dict[str, Any]) -> dict[str, Any]:
    new = copy.deepcopy(of)
    at: Any = new["spec"]
    *steps, last = change.split(".")
    for step in steps:
        at = at[int(step)] if step.isdigit() else at[step]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return new


OLD = pod(activeDeadlineSeconds=100, tolerations=[{"key": "a", "operator": "Exists", "effect": "NoExecute"}])


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("containers.0.image", "c:2"),
        ("activeDeadlineSeconds", 50),
        ("tolerations", [*OLD["spec"]["tolerations"], {"key": "b", "operator": "Exists"}]),
        ("tolerations", [{**OLD["spec"]["tolerations"][0], "tolerationSeconds": 5}]),
    ],
)
def test_what_an_update_may_change(change: str, value: Any) -> None:
    assert validate_update(PODS, changed(change, value, OLD), OLD) == []


@pytest.mark.parametrize(
    ("change", "value", "field", "message"),
    [
        ("containers.0.command", ["x"], "spec", "Forbidden: pod updates may not change fields other than "),
        ("nodeSelector", {"a": "b"}, "spec", "Forbidden: pod updates may not change fields other than "),
        ("terminationGracePeriodSeconds", 1, "spec", "Forbidden: pod updates may not change fields other than "),
        (
            "containers",
            [*OLD["spec"]["containers"], {**OLD["spec"]["containers"][0], "name": "z"}],
            "spec.containers",
            "Forbidden: pod updates may not add or remove containers",
        ),
        ("activeDeadlineSeconds", 200, "spec.activeDeadlineSeconds", "Invalid value: 200: must be less than or equal to previous value"),
        ("activeDeadlineSeconds", None, "spec.activeDeadlineSeconds", 'Invalid value: "null": must not update from a positive integer to nil value'),
        ("tolerations", [], "spec.tolerations", "Forbidden: existing toleration can not be modified except its tolerationSeconds"),
        ("containers.0.image", "", "spec.containers[0].image", "Required value"),
    ],
)
def test_what_an_update_may_not_change(change: str, value: Any, field: str, message: str) -> None:
    found_field, found = only(validate_update(PODS, changed(change, value, OLD), OLD))
    assert found_field == field
    assert found.startswith(message)


def test_a_gated_pod_may_still_be_told_where_to_go() -> None:
    gated = pod(schedulingGates=[{"name": "a.b/wait"}])
    assert validate_update(PODS, changed("nodeSelector", {"a": "b"}, gated), gated) == []
    assert validate_update(PODS, changed("schedulingGates", [], gated), gated) == []
    added = changed("schedulingGates", [{"name": "a.b/wait"}, {"name": "c.d/more"}], gated)
    assert only(validate_update(PODS, added, gated))[0] == "spec.schedulingGates"


def test_subresources_have_rules_of_their_own() -> None:
    status = {**copy.deepcopy(OLD), "status": {"phase": "Running"}}
    assert validate_update(PODS, status, OLD, "status") == []
    debugged = changed("ephemeralContainers", [{"name": "e", "image": "b", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}], OLD)
    assert validate_update(PODS, debugged, OLD, "ephemeralcontainers") == []
    assert only(validate_update(PODS, OLD, debugged, "ephemeralcontainers"))[0] == "spec.ephemeralContainers"
    resized = changed("containers.0.resources", {"requests": {"cpu": "1"}}, OLD)
    assert validate_update(PODS, resized, OLD, "resize") == []
    for reported, faults in (({}, 1), ({"resources": {"requests": {"cpu": "500m"}}}, 0)):
        running = {**OLD, "status": {"containerStatuses": [{"name": "c", "state": {"running": {}}, **reported}]}}
        assert len(validate_update(PODS, resized, running, "resize")) == faults, "a kubelet that resizes tells what containers have"
    assert only(validate_update(PODS, resized, OLD))[0] == "spec"
