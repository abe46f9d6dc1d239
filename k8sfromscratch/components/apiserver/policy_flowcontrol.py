"""The flow schemas and priority levels that a new cluster holds, as upstream's (apiserver/pkg/apis/flowcontrol/bootstrap).

They are stored and kept for tools and people that read them; who is served first here is simpler, see `core.fairness`.
"""

from typing import Any

Object = dict[str, Any]

MASTERS, AUTHENTICATED, UNAUTHENTICATED = "system:masters", "system:authenticated", "system:unauthenticated"
CONTROLLER_MANAGER, SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"
_LEASES = "coordination.k8s.io"


def _group(name: str) -> Object:
    return {"kind": "Group", "group": {"name": name}}


def _user(name: str) -> Object:
    return {"kind": "User", "user": {"name": name}}


def _account(name: str) -> Object:
    return {"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": "kube-system"}}


def _resources(verbs: str, group: str, resources: str, *, namespaced: bool = True, cluster: bool = False) -> Object:
    rule: Object = {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split()}
    return rule | ({"clusterScope": True} if cluster else {}) | ({"namespaces": ["*"]} if namespaced else {})


_EVERYTHING: Object = {
    "resourceRules": [_resources("*", "*", "*", cluster=True)],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}


def _schema(name: str, level: str, precedence: int, distinguisher: str, subjects: list[Object], rules: Object) -> tuple[str, Object]:
    spec: Object = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [{"subjects": subjects, **rules}]}
    return name, spec | ({"distinguisherMethod": {"type": distinguisher}} if distinguisher else {})


def _limited(name: str, shares: int, lendable: int, queues: int = 0, hand: int = 0) -> tuple[str, Object]:
    """Without queues, what does not fit is rejected."""
    response: Object = {"type": "Reject"}
    if queues:
        response = {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}}
    return name, {"type": "Limited", "limited": {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}}


_EVERYBODY = [_group(UNAUTHENTICATED), _group(AUTHENTICATED)]
_SYSTEM = [_user(CONTROLLER_MANAGER), _user(SCHEDULER), _account("*")]
_LEASE_RULES: Object = {"resourceRules": [_resources("get create update", _LEASES, "leases")]}

MANDATORY_LEVELS = dict([
    ("exempt", {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
    _limited("catch-all", 5, 0),
])  # fmt: skip
MANDATORY_SCHEMAS = dict([
    _schema("exempt", "exempt", 1, "", [_group(MASTERS)], _EVERYTHING),
    _schema("catch-all", "catch-all", 10000, "ByUser", _EVERYBODY, _EVERYTHING),
])  # fmt: skip
"""Whatever they are changed to, they come back: without them some requests would belong nowhere."""

SUGGESTED_LEVELS = dict([
    _limited("system", 30, 33, 64, 6),
    _limited("node-high", 40, 25, 64, 6),
    _limited("leader-election", 10, 0, 16, 4),
    _limited("workload-high", 40, 50, 128, 6),
    _limited("workload-low", 100, 90, 128, 6),
    _limited("global-default", 20, 50, 128, 6),
])  # fmt: skip
SUGGESTED_SCHEMAS = dict([
    _schema("probes", "exempt", 2, "", _EVERYBODY, {"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}),
    _schema("system-leader-election", "leader-election", 100, "ByUser", _SYSTEM, _LEASE_RULES),
    _schema(
        "endpoint-controller", "workload-high", 150, "ByUser",
        [_user(CONTROLLER_MANAGER), _account("endpoint-controller"), _account("endpointslicemirroring-controller")],
        {"resourceRules": [_resources("get create update", "", "endpoints")]},
    ),
    _schema("workload-leader-election", "leader-election", 200, "ByUser", [_account("*")], _LEASE_RULES),
    _schema(
        "system-node-high", "node-high", 400, "ByUser", [_group("system:nodes")],
        {"resourceRules": [_resources("*", "", "nodes nodes/status", cluster=True), _resources("*", _LEASES, "leases")]},
    ),
    _schema("system-nodes", "system", 500, "ByUser", [_group("system:nodes")], _EVERYTHING),
    _schema("kube-controller-manager", "workload-high", 800, "ByNamespace", [_user(CONTROLLER_MANAGER)], _EVERYTHING),
    _schema("kube-scheduler", "workload-high", 800, "ByNamespace", [_user(SCHEDULER)], _EVERYTHING),
    _schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", [_account("*")], _EVERYTHING),
    _schema("service-accounts", "workload-low", 9000, "ByUser", [_group("system:serviceaccounts")], _EVERYTHING),
    _schema("global-default", "global-default", 9900, "ByUser", _EVERYBODY, _EVERYTHING),
])  # fmt: skip
"""Theirs until a user changes them, see `bootstrap_flowcontrol`."""
