"""RBAC objects from short lines: how the default policy is written down so that it can be read.

rule("get list watch", "apps", "deployments deployments/scale")        urls("get", "/healthz /livez")
"""

from typing import Any

from k8sfromscratch.api.registry import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from k8sfromscratch.api.resource import Resource

Object = dict[str, Any]
Item = tuple[Resource, Object]

RBAC_GROUP = "rbac.authorization.k8s.io"
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"

READ = "get list watch"
WRITE = "create delete deletecollection patch update"
OWN = f"{READ} {WRITE}"


def rule(verbs: str, groups: str, resources: str, names: str = "") -> Object:
    """Words separated by spaces; the core group is `core` among others, or "" alone."""
    listed = ["" if group == "core" else group for group in groups.split()] or [""]
    made: Object = {"verbs": verbs.split(), "apiGroups": listed, "resources": resources.split()}
    return {**made, "resourceNames": names.split()} if names else made


def urls(verbs: str, paths: str) -> Object:
    return {"verbs": verbs.split(), "nonResourceURLs": paths.split()}


def events() -> Object:
    return rule("create patch update", "core events.k8s.io", "events")


def cluster_role(name: str, *rules: Object, joins: str = "") -> Item:
    """`joins`: the aggregated role (`view`, `edit`, `admin`) that these rules go into."""
    labels = {f"{AGGREGATE}{joins}": "true"} if joins else {}
    return CLUSTER_ROLES, {**_object(CLUSTER_ROLES, name, labels=labels), "rules": list(rules)}


def aggregated_role(name: str, *, joins: str = "") -> Item:
    """Its rules are filled in by the clusterrole-aggregation controller."""
    labels = {f"{AGGREGATE}{joins}": "true"} if joins else {}
    selector = {"matchLabels": {f"{AGGREGATE}{name}": "true"}}
    return CLUSTER_ROLES, {**_object(CLUSTER_ROLES, name, labels=labels), "aggregationRule": {"clusterRoleSelectors": [selector]}}


def role(namespace: str, name: str, *rules: Object) -> Item:
    return ROLES, {**_object(ROLES, name, namespace), "rules": list(rules)}


def cluster_binding(role_name: str, *subjects: Object, name: str = "") -> Item:
    """Named as its role, if not otherwise."""
    return CLUSTER_ROLE_BINDINGS, {**_object(CLUSTER_ROLE_BINDINGS, name or role_name), "roleRef": _ref("ClusterRole", role_name), "subjects": list(subjects)}


def binding(namespace: str, role_name: str, *subjects: Object, name: str = "") -> Item:
    return ROLE_BINDINGS, {**_object(ROLE_BINDINGS, name or role_name, namespace), "roleRef": _ref("Role", role_name), "subjects": list(subjects)}


def user(name: str) -> Object:
    return {"kind": "User", "apiGroup": RBAC_GROUP, "name": name}


def group(name: str) -> Object:
    return {"kind": "Group", "apiGroup": RBAC_GROUP, "name": name}


def account(namespace: str, name: str) -> Object:
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


def _ref(kind: str, name: str) -> Object:
    return {"apiGroup": RBAC_GROUP, "kind": kind, "name": name}


def _object(resource: Resource, name: str, namespace: str = "", *, labels: dict[str, str] | None = None) -> Object:
    metadata: Object = {"name": name, **({"namespace": namespace} if namespace else {})}
    metadata["labels"] = {"kubernetes.io/bootstrapping": "rbac-defaults", **(labels or {})}
    metadata["annotations"] = {AUTOUPDATE: "true"}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
