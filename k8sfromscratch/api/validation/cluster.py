"""Configuration, nodes, RBAC, priorities, quotas, certificates, the API's own objects.

Source: pkg/apis/core/validation, rbac/validation, scheduling/validation, coordination/validation, certificates/validation.
"""

from base64 import b64decode
from collections.abc import Mapping

import orjson

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.validation.field import (
    NOT_NEGATIVE,
    Object,
    checked,
    duplicates,
    forbidden,
    immutable,
    indexed,
    invalid,
    not_supported,
    optional_one_of,
    required,
    too_long,
)
from k8sfromscratch.api.validation.pods import taints

DATA_BYTES_MAX = 1024 * 1024
PRIORITY_MAX = 1_000_000_000
RBAC_GROUP = "rbac.authorization.k8s.io"

_SYSTEM_PRIORITIES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


# -- configuration


def config_map(obj: Object) -> list[Cause]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    causes: list[Cause] = []
    for field, values in (("data", data), ("binaryData", binary)):
        for key in values:
            causes += [invalid(f"{field}[{key}]", key, message) for message in names.config_key(key)]
    causes += [invalid(f"data[{key}]", key, "duplicate of key present in binaryData") for key in data if key in binary]
    size = sum(len(value.encode()) for value in data.values()) + sum(_decoded_length(value) for value in binary.values())
    return causes + ([too_long("[]", DATA_BYTES_MAX)] if size > DATA_BYTES_MAX else [])


def _decoded_length(base64: str) -> int:
    return len(base64) * 3 // 4 - base64[-2:].count("=")


def config_map_update(new: Object, old: Object) -> list[Cause]:
    return config_map(new) + _kept_immutable(new, old, "data", "binaryData")


def _kept_immutable(new: Object, old: Object, *fields: str) -> list[Cause]:
    if not old.get("immutable"):
        return []
    detail = "field is immutable when `immutable` is set"
    causes = [] if new.get("immutable") else [forbidden("immutable", detail)]
    return causes + [forbidden(field, detail) for field in fields if (new.get(field) or {}) != (old.get(field) or {})]


# secret type → the keys it must have
_SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def secret(obj: Object) -> list[Cause]:
    data = obj.get("data") or {}
    causes = [invalid(f"data[{key}]", key, message) for key in data for message in names.config_key(key)]
    if sum(_decoded_length(value) for value in data.values()) > DATA_BYTES_MAX:
        causes.append(too_long("data", DATA_BYTES_MAX))
    kind = obj.get("type", "")
    causes += [required(f"data[{key}]") for key in _SECRET_KEYS.get(kind, ()) if key not in data]
    match kind:
        case "kubernetes.io/dockercfg" | "kubernetes.io/dockerconfigjson":
            key = _SECRET_KEYS[kind][0]
            if key in data and not _is_json(data[key]):
                causes.append(invalid(f"data[{key}]", "<secret contents redacted>", "invalid character looking for beginning of value"))
        case "kubernetes.io/basic-auth":
            if "username" not in data and "password" not in data:
                causes += [required("data[username]"), required("data[password]")]
        case "kubernetes.io/service-account-token":
            key = "kubernetes.io/service-account.name"
            if not ((obj.get("metadata") or {}).get("annotations") or {}).get(key):
                causes.append(required(f"metadata.annotations[{key}]"))
    return causes


def _is_json(base64: str) -> bool:
    try:
        orjson.loads(b64decode(base64))
    except ValueError:
        return False
    return True


def secret_update(new: Object, old: Object) -> list[Cause]:
    return immutable("type", new.get("type"), old.get("type")) + _kept_immutable(new, old, "data") + secret(new)


def namespace(obj: Object) -> list[Cause]:
    causes: list[Cause] = []
    for name in (obj.get("spec") or {}).get("finalizers") or ():
        path = "spec.finalizers"
        causes += checked(path, name, names.qualified_name)
        if "/" not in name and name not in ("kubernetes", "orphan", "foregroundDeletion"):
            causes.append(invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified"))
    return causes


def node(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    # The path is upstream's, though taints are in the spec.
    causes = taints(spec, "metadata")
    blocks = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    for index, block in enumerate(blocks):
        causes += checked(f"spec.podCIDRs[{index}]", block, names.cidr)
    families = [":" in block for block in blocks]
    if len(families) != len(set(families)):
        causes.append(invalid("spec.podCIDRs", blocks, "may specify no more than one CIDR for each IP family"))
    return causes + duplicates((f"spec.podCIDRs[{index}]", block) for index, block in enumerate(blocks))


def node_update(new: Object, old: Object) -> list[Cause]:
    causes = node(new)
    now, before = new.get("spec") or {}, old.get("spec") or {}
    for key, path in (("podCIDRs", "spec.podCIDRs"), ("providerID", "spec.providerID")):
        if before.get(key) and now.get(key) != before[key]:
            name = "podCIDR" if key == "podCIDRs" else key
            causes.append(forbidden(path, f'node updates may not change {name} except from "" to valid'))
    return causes


def lease(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    if spec.get("leaseDurationSeconds", 1) <= 0:
        causes.append(invalid("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0"))
    if spec.get("leaseTransitions", 0) < 0:
        causes.append(invalid("spec.leaseTransitions", spec["leaseTransitions"], NOT_NEGATIVE))
    return causes


def event(obj: Object) -> list[Cause]:
    about = (obj.get("involvedObject") or {}).get("namespace") or ""
    own = (obj.get("metadata") or {}).get("namespace") or ""
    # What is about the cluster as a whole is told in the default namespace.
    if about == own or (not about and own in ("", "default", "kube-system")):
        return []
    return [invalid("involvedObject.namespace", about, "does not match event.namespace")]


# -- RBAC


def role(obj: Object) -> list[Cause]:
    return _rules(obj, namespaced=True)


def cluster_role(obj: Object) -> list[Cause]:
    return _rules(obj, namespaced=False)


def _rules(obj: Object, *, namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    for at, rule in indexed(obj, "rules", ""):
        if not rule.get("verbs"):
            causes.append(required(f"{at}.verbs", "verbs must contain at least one value"))
        urls = rule.get("nonResourceURLs")
        if urls:
            if namespaced:
                causes.append(invalid(f"{at}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs"))
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                causes.append(invalid(f"{at}.nonResourceURLs", urls, "rules cannot apply to both regular resources and non-resource URLs"))
            continue
        if not rule.get("apiGroups"):
            causes.append(required(f"{at}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            causes.append(required(f"{at}.resources", "resource rules must supply at least one resource"))
    return causes


def role_binding(obj: Object) -> list[Cause]:
    return _binding(obj, ("Role", "ClusterRole"), namespaced=True)


def cluster_role_binding(obj: Object) -> list[Cause]:
    return _binding(obj, ("ClusterRole",), namespaced=False)


def _binding(obj: Object, roles: tuple[str, ...], *, namespaced: bool) -> list[Cause]:
    ref = obj.get("roleRef") or {}
    causes = optional_one_of("roleRef.apiGroup", ref.get("apiGroup", ""), (RBAC_GROUP,))
    causes += optional_one_of("roleRef.kind", ref.get("kind", ""), roles)
    causes += checked("roleRef.name", ref["name"], names.path_segment) if ref.get("name") else [required("roleRef.name")]
    for at, subject in indexed(obj, "subjects", ""):
        if not subject.get("name"):
            causes.append(required(f"{at}.name"))
        group = subject.get("apiGroup") or ""
        match subject.get("kind", ""):
            case "ServiceAccount":
                if subject.get("name"):
                    causes += checked(f"{at}.name", subject["name"], names.dns_subdomain)
                if group:
                    causes.append(not_supported(f"{at}.apiGroup", group, ("",)))
                # A RoleBinding means the account of its own namespace.
                if not namespaced and not subject.get("namespace"):
                    causes.append(required(f"{at}.namespace"))
            case "User" | "Group":
                if group != RBAC_GROUP:
                    causes.append(not_supported(f"{at}.apiGroup", group, (RBAC_GROUP,)))
            case kind:
                causes.append(not_supported(f"{at}.kind", kind, ("ServiceAccount", "User", "Group")))
    return causes


def role_binding_update(new: Object, old: Object) -> list[Cause]:
    return role_binding(new) + _role_ref_kept(new, old)


def cluster_role_binding_update(new: Object, old: Object) -> list[Cause]:
    return cluster_role_binding(new) + _role_ref_kept(new, old)


def _role_ref_kept(new: Object, old: Object) -> list[Cause]:
    return [] if new.get("roleRef") == old.get("roleRef") else [invalid("roleRef", new.get("roleRef"), "cannot change roleRef")]


# -- priorities


def priority_class(obj: Object) -> list[Cause]:
    name, value = (obj.get("metadata") or {}).get("name", ""), obj.get("value", 0)
    causes: list[Cause] = []
    if name.startswith("system-"):
        if _SYSTEM_PRIORITIES.get(name) != value:
            causes.append(forbidden("metadata.name", "priority class names with 'system-' prefix are reserved for system use only"))
    elif value > PRIORITY_MAX:
        causes.append(forbidden("value", f"maximum allowed value of a user defined priority is {PRIORITY_MAX}"))
    return causes + optional_one_of("preemptionPolicy", obj.get("preemptionPolicy"), ("PreemptLowerPriority", "Never"))


def priority_class_update(new: Object, old: Object) -> list[Cause]:
    causes = [] if new.get("value", 0) == old.get("value", 0) else [forbidden("value", "may not be changed in an update.")]
    return causes + immutable("preemptionPolicy", new.get("preemptionPolicy"), old.get("preemptionPolicy"))


# -- certificates and the API's own objects


def runtime_class(obj: Object) -> list[Cause]:
    return checked("handler", obj.get("handler", ""), names.dns_label)


def runtime_class_update(new: Object, old: Object) -> list[Cause]:
    return immutable("handler", new.get("handler"), old.get("handler"))


def api_service(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    name, wanted = (obj.get("metadata") or {}).get("name", ""), f"{spec.get('version', '')}.{spec.get('group', '')}"
    causes: list[Cause] = []
    if name != wanted:
        causes.append(invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{wanted}"'))
    for key, most in (("groupPriorityMinimum", 20_000), ("versionPriority", 1000)):
        if not 0 < spec.get(key, 0) <= most:
            causes.append(invalid(f"spec.{key}", spec.get(key, 0), f"must be positive and less than {most}"))
    service = spec.get("service")
    if service is not None:
        causes += [required(f"spec.service.{key}") for key in ("namespace", "name") if not service.get(key)]
        if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
            causes.append(invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present"))
    return causes
