"""Metadata, and the kinds other than pods."""

import copy
from typing import Any

import pytest

from k8sfromscratch.api import registry as r
from k8sfromscratch.api.defaults import set_defaults
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.api.schema import check
from k8sfromscratch.api.validation import validate_create, validate_update

TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
SELECTOR = {"matchLabels": {"app": "web"}}
NEVER = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}


def made(resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "x", **({"namespace": "default"} if resource.namespaced else {}), **obj.get("metadata", {})}
    checked, warnings = check(resource, {**copy.deepcopy(obj), "metadata": metadata})
    assert warnings == []
    set_defaults(resource, checked)
    return checked


def faults(resource: Resource, obj: dict[str, Any]) -> list[tuple[str, str]]:
    return [(cause.field, cause.message) for cause in validate_create(resource, made(resource, obj))]


def update_faults(resource: Resource, new: dict[str, Any], old: dict[str, Any]) -> list[tuple[str, str]]:
    return [(cause.field, cause.message) for cause in validate_update(resource, made(resource, new), made(resource, old))]


# -- metadata


@pytest.mark.parametrize(
    ("metadata", "field", "message"),
    [
        ({"name": ""}, "metadata.name", "Required value: name or generateName is required"),
        ({"name": "A"}, "metadata.name", 'Invalid value: "A": a lowercase RFC 1123 subdomain must consist of'),
        ({"generateName": "Ab-"}, "metadata.generateName", 'Invalid value: "Ab-": a lowercase RFC 1123 subdomain'),
        ({"labels": {"a b": "c"}}, "metadata.labels", 'Invalid value: "a b": name part must consist of'),
        ({"labels": {"a": "b c"}}, "metadata.labels", 'Invalid value: "b c": a valid label must be an empty string or consist of'),
        ({"annotations": {"a/b/c": ""}}, "metadata.annotations", 'Invalid value: "a/b/c": a qualified name must consist of'),
        ({"annotations": {"a": "x" * 262144}}, "metadata.annotations", "Too long: may not be more than 262144 bytes"),
        ({"finalizers": ["mine"]}, "metadata.finalizers[0]", 'Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified'),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]},
            "metadata.ownerReferences.uid",
            'Invalid value: "": must not be empty',
        ),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": n, "uid": n, "controller": True} for n in "ab"]},
            "metadata.ownerReferences",
            "Invalid value: ",
        ),
    ],
)
def test_metadata(metadata: dict[str, Any], field: str, message: str) -> None:
    ((found_field, found),) = faults(r.CONFIG_MAPS, {"metadata": metadata})
    assert found_field == field
    assert found.startswith(message)


def test_a_generated_name_may_end_in_a_dash() -> None:
    assert faults(r.CONFIG_MAPS, {"metadata": {"generateName": "web-"}}) == []


def test_namespaces_are_where_they_belong() -> None:
    assert faults(r.CONFIG_MAPS, {"metadata": {"namespace": ""}}) == [("metadata.namespace", "Required value")]
    assert faults(r.PRIORITY_CLASSES, {"metadata": {"namespace": "a"}}) == [("metadata.namespace", "Forbidden: not allowed on this type")]


@pytest.mark.parametrize(
    ("resource", "name", "good"),
    [
        (r.NAMESPACES, "a.b", False),
        (r.NAMESPACES, "a-b", True),
        (r.SERVICES, "1a", False),
        (r.CONFIG_MAPS, "1a.b", True),
        (r.CLUSTER_ROLES, "system:node", True),
        (r.CLUSTER_ROLES, "a/b", False),
    ],
)
def test_what_a_kinds_name_may_be(resource: Resource, name: str, good: bool) -> None:
    named = [field for field, _ in faults(resource, {"metadata": {"name": name}}) if field == "metadata.name"]
    assert (named == []) is good


def test_identity_does_not_change() -> None:
    old = {"metadata": {"uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}}
    assert update_faults(r.CONFIG_MAPS, {"metadata": {**old["metadata"], "uid": "2"}}, old) == [("metadata.uid", 'Invalid value: "2": field is immutable')]
    gone = {"metadata": {**old["metadata"], "deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": ["a.b/c"]}}
    ((field, message),) = update_faults(r.CONFIG_MAPS, {"metadata": {**gone["metadata"], "finalizers": ["a.b/c", "d.e/f"]}}, gone)
    assert field == "metadata.finalizers"
    assert message == 'Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"d.e/f"}'
    assert update_faults(r.CONFIG_MAPS, {"metadata": {**gone["metadata"], "finalizers": []}}, gone) == []


# -- good objects


GOOD: list[tuple[Resource, dict[str, Any]]] = [
    *((resource, {"spec": {"selector": SELECTOR, "template": TEMPLATE}}) for resource in (r.DEPLOYMENTS, r.REPLICA_SETS, r.DAEMON_SETS, r.STATEFUL_SETS)),
    (r.REPLICATION_CONTROLLERS, {"spec": {"template": TEMPLATE}}),
    (r.JOBS, {"spec": {"template": NEVER}}),
    (r.CRON_JOBS, {"spec": {"schedule": "*/5 0-6,22 1 jan-mar mon", "jobTemplate": {"spec": {"template": NEVER}}}}),
    (r.CRON_JOBS, {"spec": {"schedule": "@daily", "timeZone": "Europe/Berlin", "jobTemplate": {"spec": {"template": NEVER}}}}),
    (r.SERVICES, {"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}),
    (r.SERVICES, {"spec": {"clusterIP": "None"}}),
    (r.SERVICES, {"spec": {"type": "ExternalName", "externalName": "a.b."}}),
    (r.ENDPOINT_SLICES, {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}),
    (r.ENDPOINTS, {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
    (r.SECRETS, {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}),
    (r.NODES, {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}], "podCIDRs": ["10.0.0.0/24", "fd00::/64"]}}),
    (r.CLUSTER_ROLES, {"rules": [{"nonResourceURLs": ["/healthz"], "verbs": ["get"]}, {"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]}),
    (r.ROLE_BINDINGS, {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "n"}]}),
    (r.LEASES, {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 40}}),
    (r.PERSISTENT_VOLUME_CLAIMS, {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    (r.PERSISTENT_VOLUMES, {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"}}}),
    (r.STORAGE_CLASSES, {"provisioner": "a.b/c"}),
    (r.PRIORITY_CLASSES, {"value": 1_000_000_000}),
    (r.PRIORITY_CLASSES, {"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000}),
    (
        r.INGRESSES,
        {
            "spec": {
                "rules": [
                    {"host": "*.a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}
                ]
            }
        },
    ),
    (r.NETWORK_POLICIES, {"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}}),
    (r.HORIZONTAL_POD_AUTOSCALERS, {"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}}),
    (r.POD_DISRUPTION_BUDGETS, {"spec": {"minAvailable": "50%", "selector": SELECTOR}}),
    (r.EVENTS, {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}}),
    (r.API_SERVICES, {"metadata": {"name": "v1.a.b"}, "spec": {"group": "a.b", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}}),
]


@pytest.mark.parametrize(("resource", "obj"), GOOD, ids=lambda value: value.plural if isinstance(value, Resource) else "")
def test_good_objects_have_no_faults(resource: Resource, obj: dict[str, Any]) -> None:
    assert faults(resource, obj) == []
    assert update_faults(resource, obj, obj) == []


# -- faults of new objects


@pytest.mark.parametrize(
    ("resource", "obj", "expected"),
    [
        (
            r.DEPLOYMENTS,
            {"spec": {"template": TEMPLATE}},
            [
                ("spec.selector", "Required value"),
                ("spec.template.metadata.labels", 'Invalid value: {"app":"web"}: `selector` does not match template `labels`'),
            ],
        ),
        (
            r.DEPLOYMENTS,
            {"spec": {"selector": {"matchLabels": {"app": "db"}}, "template": TEMPLATE}},
            [("spec.template.metadata.labels", 'Invalid value: {"app":"web"}: `selector` does not match template `labels`')],
        ),
        (
            r.DEPLOYMENTS,
            {"spec": {"selector": {}, "template": TEMPLATE}},
            [("spec.selector", "Invalid value: {}: empty selector is invalid for deployment")],
        ),
        (
            r.DEPLOYMENTS,
            {"spec": {"selector": SELECTOR, "template": TEMPLATE, "replicas": -1}},
            [("spec.replicas", "Invalid value: -1: must be greater than or equal to 0")],
        ),
        (
            r.DEPLOYMENTS,
            {"spec": {"selector": SELECTOR, "template": NEVER}},
            [("spec.template.spec.restartPolicy", 'Unsupported value: "Never": supported values: "Always"')],
        ),
        (
            r.DEPLOYMENTS,
            {"spec": {"selector": SELECTOR, "template": TEMPLATE, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}},
            [("spec.strategy.rollingUpdate.maxUnavailable", "Invalid value: 0: may not be 0 when `maxSurge` is 0")],
        ),
        (
            r.DEPLOYMENTS,
            {"spec": {"selector": SELECTOR, "template": TEMPLATE, "strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}}},
            [("spec.strategy.rollingUpdate.maxUnavailable", 'Invalid value: "101%": must not be greater than 100%')],
        ),
        (
            r.DAEMON_SETS,
            {"spec": {"selector": SELECTOR, "template": TEMPLATE, "updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}},
            [("spec.updateStrategy.rollingUpdate.maxUnavailable", "Required value: cannot be 0 when maxSurge is 0")],
        ),
        (
            r.STATEFUL_SETS,
            {"spec": {"selector": SELECTOR, "template": TEMPLATE, "podManagementPolicy": "x"}},
            [("spec.podManagementPolicy", "Invalid value: \"x\": must be 'OrderedReady' or 'Parallel'")],
        ),
        (r.JOBS, {"spec": {"template": TEMPLATE}}, [("spec.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"')]),
        (
            r.JOBS,
            {"spec": {"template": NEVER, "completionMode": "Indexed", "parallelism": 1}},
            [("spec.completions", "Required value: when completion mode is Indexed")],
        ),
        (
            r.CRON_JOBS,
            {"spec": {"schedule": "61 * * * *", "jobTemplate": {"spec": {"template": NEVER}}}},
            [("spec.schedule", 'Invalid value: "61 * * * *": end of range (61) above maximum (59): 61 in minute')],
        ),
        (
            r.CRON_JOBS,
            {"spec": {"schedule": "@daily", "timeZone": "Mars/North", "jobTemplate": {"spec": {"template": NEVER}}}},
            [("spec.timeZone", 'Invalid value: "Mars/North": unknown time zone Mars/North')],
        ),
        (
            r.CRON_JOBS,
            {"spec": {"schedule": "@daily", "timeZone": "../etc/passwd", "jobTemplate": {"spec": {"template": NEVER}}}},
            [("spec.timeZone", 'Invalid value: "../etc/passwd": unknown time zone ../etc/passwd')],
        ),
        (
            r.CRON_JOBS,
            {"spec": {"schedule": "* * *", "jobTemplate": {"spec": {"template": NEVER}}}},
            [("spec.schedule", 'Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]')],
        ),
        (r.SERVICES, {"spec": {}}, [("spec.ports", "Required value")]),
        (
            r.SERVICES,
            {"spec": {"type": "Cluster", "ports": [{"port": 80}]}},
            [("spec.type", 'Unsupported value: "Cluster": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"')],
        ),
        (
            r.SERVICES,
            {"spec": {"ports": [{"port": 80, "nodePort": 30000}]}},
            [("spec.ports[0].nodePort", "Forbidden: may not be used when `type` is 'ClusterIP'")],
        ),
        (r.SERVICES, {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81}]}}, [("spec.ports[1].name", "Required value")]),
        (
            r.SERVICES,
            {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}},
            [("spec.ports[1]", 'Duplicate value: {"protocol":"TCP","port":80}')],
        ),
        (
            r.SERVICES,
            {"spec": {"clusterIP": "10.0", "ports": [{"port": 80}]}},
            [("spec.clusterIPs[0]", 'Invalid value: "10.0": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)')],
        ),
        (
            r.ENDPOINT_SLICES,
            {"addressType": "IPv6", "endpoints": [{"addresses": ["10.0.0.1"]}]},
            [("endpoints[0].addresses[0]", 'Invalid value: "10.0.0.1": must be an IPv6 address')],
        ),
        (
            r.ENDPOINT_SLICES,
            {"addressType": "IPv4", "endpoints": [{"addresses": []}]},
            [("endpoints[0].addresses", "Required value: must contain at least 1 address")],
        ),
        (r.CONFIG_MAPS, {"data": {"a": "x" * (1 << 20), "b": "x"}}, [("[]", "Too long: may not be more than 1048576 bytes")]),
        (r.CONFIG_MAPS, {"data": {"a": "x"}, "binaryData": {"a": "eA=="}}, [("data[a]", 'Invalid value: "a": duplicate of key present in binaryData')]),
        (r.SECRETS, {"type": "kubernetes.io/tls"}, [("data[tls.crt]", "Required value"), ("data[tls.key]", "Required value")]),
        (
            r.NODES,
            {"spec": {"taints": [{"key": "a", "effect": "Never"}]}},
            [("metadata.taints[0].effect", 'Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"')],
        ),
        (
            r.ROLES,
            {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
            [("rules[0].nonResourceURLs", 'Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs')],
        ),
        (
            r.CLUSTER_ROLE_BINDINGS,
            {"roleRef": {"kind": "Role", "name": "r"}},
            [("roleRef.kind", 'Unsupported value: "Role": supported values: "ClusterRole"')],
        ),
        (r.LEASES, {"spec": {"leaseDurationSeconds": 0}}, [("spec.leaseDurationSeconds", "Invalid value: 0: must be greater than 0")]),
        (
            r.PRIORITY_CLASSES,
            {"metadata": {"name": "system-mine"}, "value": 1},
            [("metadata.name", "Forbidden: priority class names with 'system-' prefix are reserved for system use only")],
        ),
        (r.PRIORITY_CLASSES, {"value": 1_000_000_001}, [("value", "Forbidden: maximum allowed value of a user defined priority is 1000000000")]),
        (
            r.PERSISTENT_VOLUME_CLAIMS,
            {"spec": {"accessModes": ["All"], "resources": {"requests": {"storage": "0"}}}},
            [
                ("spec.accessModes", 'Unsupported value: "All": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'),
                ("spec.resources[storage]", 'Invalid value: "0": must be greater than zero'),
            ],
        ),
        (r.INGRESSES, {"spec": {}}, [("spec", "Invalid value: {}: either `defaultBackend` or `rules` must be specified")]),
        (
            r.HORIZONTAL_POD_AUTOSCALERS,
            {"spec": {"minReplicas": 5, "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}},
            [("spec.maxReplicas", "Invalid value: 3: must be greater than or equal to `minReplicas`")],
        ),
        (
            r.POD_DISRUPTION_BUDGETS,
            {"spec": {"minAvailable": 1, "maxUnavailable": 1}},
            [("spec", 'Invalid value: {"maxUnavailable":1,"minAvailable":1}: minAvailable and maxUnavailable cannot be both set')],
        ),
        (r.EVENTS, {"involvedObject": {"namespace": "other"}}, [("involvedObject.namespace", 'Invalid value: "other": does not match event.namespace')]),
    ],
)
def test_faults_of_new_objects(resource: Resource, obj: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert faults(resource, obj) == expected


# -- faults of updates


@pytest.mark.parametrize(
    ("resource", "old", "new", "field", "message"),
    [
        *(
            (
                resource,
                {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
                {"spec": {"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}, "template": TEMPLATE}},
                "spec.selector",
                'Invalid value: {"matchExpressions":[{"key":"app","operator":"Exists"}]}: field is immutable',
            )
            for resource in (r.DEPLOYMENTS, r.REPLICA_SETS, r.DAEMON_SETS)
        ),
        (
            r.STATEFUL_SETS,
            {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
            {"spec": {"selector": SELECTOR, "template": TEMPLATE, "serviceName": "s"}},
            "spec",
            "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
            "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ),
        (
            r.JOBS,
            {"spec": {"template": NEVER}},
            {"spec": {"template": NEVER, "completions": 2, "parallelism": 1}},
            "spec.completions",
            "Invalid value: 2: field is immutable",
        ),
        (
            r.SERVICES,
            {"spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]}},
            {"spec": {"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"], "ports": [{"port": 80}]}},
            "spec.clusterIPs[0]",
            'Invalid value: ["10.0.0.2"]: may not change once set',
        ),
        (
            r.CONFIG_MAPS,
            {"immutable": True, "data": {"a": "b"}},
            {"immutable": True, "data": {}},
            "data",
            "Forbidden: field is immutable when `immutable` is set",
        ),
        (r.SECRETS, {}, {"type": "a/b"}, "type", 'Invalid value: "a/b": field is immutable'),
        (
            r.NODES,
            {"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}},
            {"spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}},
            "spec.podCIDRs",
            'Forbidden: node updates may not change podCIDR except from "" to valid',
        ),
        (
            r.ROLE_BINDINGS,
            {"roleRef": {"kind": "Role", "name": "a"}},
            {"roleRef": {"kind": "Role", "name": "b"}},
            "roleRef",
            'Invalid value: {"kind":"Role","name":"b","apiGroup":"rbac.authorization.k8s.io"}: cannot change roleRef',
        ),
        (r.PRIORITY_CLASSES, {"value": 1}, {"value": 2}, "value", "Forbidden: may not be changed in an update."),
        (r.STORAGE_CLASSES, {"provisioner": "a"}, {"provisioner": "b"}, "provisioner", "Forbidden: updates to provisioner are forbidden."),
        (
            r.PERSISTENT_VOLUME_CLAIMS,
            {"spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "v", "resources": {"requests": {"storage": "1Gi"}}}},
            {"spec": {"accessModes": ["ReadWriteMany"], "volumeName": "v", "resources": {"requests": {"storage": "2Gi"}}}},
            "spec",
            "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ),
        (
            r.ENDPOINT_SLICES,
            {"addressType": "IPv4", "endpoints": []},
            {"addressType": "IPv6", "endpoints": []},
            "addressType",
            'Invalid value: "IPv6": field is immutable',
        ),
    ],
)
def test_faults_of_updates(resource: Resource, old: dict[str, Any], new: dict[str, Any], field: str, message: str) -> None:
    assert update_faults(resource, new, old) == [(field, message)]


def test_a_service_may_stop_being_an_address() -> None:
    old = {"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}}
    assert update_faults(r.SERVICES, {"spec": {"type": "ExternalName", "externalName": "a.b"}}, old) == []


def test_a_bound_claim_may_grow() -> None:
    old = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    spec = {"accessModes": ["ReadWriteOnce"], "volumeName": "v", "storageClassName": "fast", "resources": {"requests": {"storage": "2Gi"}}}
    assert update_faults(r.PERSISTENT_VOLUME_CLAIMS, {"spec": spec, "status": {"phase": "Bound"}}, old) == []
    assert [field for field, _ in update_faults(r.PERSISTENT_VOLUME_CLAIMS, {"spec": spec}, old)] == ["spec"]


def test_a_suspended_job_may_be_told_where_its_pods_go() -> None:
    elsewhere = {**NEVER, "spec": {**NEVER["spec"], "nodeSelector": {"a": "b"}}}
    suspended = {"spec": {"template": NEVER, "suspend": True}}
    assert update_faults(r.JOBS, {"spec": {"template": elsewhere}}, suspended) == []
    assert [field for field, _ in update_faults(r.JOBS, {"spec": {"template": elsewhere}}, {"spec": {"template": NEVER}})] == ["spec.template"]


@pytest.mark.parametrize("resource", r.RESOURCES, ids=lambda resource: f"{resource.group_resource}/{resource.version}")
def test_no_validation_stumbles_over_an_empty_object(resource: Resource) -> None:
    empty = made(resource, {})
    validate_create(resource, empty)
    assert isinstance(validate_update(resource, empty, empty), list)
