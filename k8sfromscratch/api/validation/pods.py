"""Pods: their spec on creation, and the little of it that an update may change.

Source: ValidatePodSpec, ValidatePodUpdate in pkg/apis/core/validation.
"""

from typing import Any

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.remembered import Remembered
from k8sfromscratch.api.validation import containers as c
from k8sfromscratch.api.validation import volumes as v
from k8sfromscratch.api.validation.field import (
    Object,
    checked,
    duplicate,
    duplicates,
    forbidden,
    indexed,
    invalid,
    one_of,
    optional_one_of,
    required,
    required_and_checked,
)
from k8sfromscratch.api.validation.metadata import annotations, labels
from k8sfromscratch.api.validation.security import pod_security
from k8sfromscratch.api.validation.selectors import label_selector, node_selector, node_selector_term

DEADLINE_S_MAX = 2**31 - 1
NAMESERVERS_MAX = 3
SEARCHES_MAX = 32
SEARCH_LENGTH_MAX = 2048

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def pod(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = pod_spec(spec, "spec")
    if spec.get("ephemeralContainers"):
        causes.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        causes.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return causes


def pod_template(template: Object, path: str) -> list[Cause]:
    meta = template.get("metadata") or {}
    causes = labels(meta.get("labels"), f"{path}.labels") + annotations(meta.get("annotations"), f"{path}.annotations")
    causes += pod_spec(template.get("spec") or {}, f"{path}.spec")
    if (template.get("spec") or {}).get("ephemeralContainers"):
        causes.append(forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    return causes


def pod_spec(spec: Object, path: str) -> list[Cause]:
    return list(_known_specs(spec, path))


def _pod_spec(spec: Object, path: str) -> list[Cause]:
    volumes = {one.get("name", ""): one for one in spec.get("volumes") or ()}
    causes = v.volumes(spec, path)
    causes += c.containers(spec, path, volumes) + c.init_containers(spec, path, volumes) + c.ephemeral_containers(spec, path, volumes)
    causes += c.names_are_unique(spec, path) + c.host_ports_are_unique(spec, path)
    causes += one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES)
    causes += one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS_POLICIES)
    causes += labels(spec.get("nodeSelector"), f"{path}.nodeSelector")
    causes += c.resources(spec.get("resources") or {}, f"{path}.resources")
    causes += _host(spec, path) + _names(spec, path) + _dns(spec, path)
    causes += affinity(spec.get("affinity") or {}, f"{path}.affinity")
    causes += tolerations(spec, path) + _topology_spread(spec, path)
    return causes


_known_specs = Remembered(_pod_spec, keep=lambda causes: not causes)


def _names(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key, check in (
        ("serviceAccountName", names.dns_subdomain),
        ("nodeName", names.dns_subdomain),
        ("priorityClassName", names.dns_subdomain),
        ("runtimeClassName", names.dns_subdomain),
        ("hostname", names.dns_label),
        ("subdomain", names.dns_label),
    ):
        if spec.get(key):
            causes += checked(f"{path}.{key}", spec[key], check)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= DEADLINE_S_MAX:
        causes.append(invalid(f"{path}.activeDeadlineSeconds", deadline, f"must be between 1 and {DEADLINE_S_MAX}, inclusive"))
    for at, gate in indexed(spec, "readinessGates", path):
        causes += checked(f"{at}.conditionType", gate.get("conditionType", ""), names.qualified_name)
    for at, gate in indexed(spec, "schedulingGates", path):
        causes += checked(f"{at}.name", gate.get("name", ""), names.qualified_name)
    causes += duplicates((f"{at}.name", gate.get("name", "")) for at, gate in indexed(spec, "schedulingGates", path))
    return causes + optional_one_of(f"{path}.preemptionPolicy", spec.get("preemptionPolicy"), ("PreemptLowerPriority", "Never"))


def _host(spec: Object, path: str) -> list[Cause]:
    causes = pod_security(spec, path)
    if spec.get("hostNetwork"):
        causes += [
            invalid(f"{at_port}.hostPort", port.get("hostPort", 0), "must match `containerPort` when `hostNetwork` is true")
            for at, one in indexed(spec, "containers", path)
            for at_port, port in indexed(one, "ports", at)
            if port.get("hostPort", 0) and port.get("hostPort") != port.get("containerPort")
        ]
    for at, alias in indexed(spec, "hostAliases", path):
        causes += checked(f"{at}.ip", alias.get("ip", ""), names.ip_address)
        for name in alias.get("hostnames") or ():
            causes += checked(f"{path}.hostAliases.hostnames", name, names.dns_subdomain)
    return causes


def _dns(spec: Object, path: str) -> list[Cause]:
    config = spec.get("dnsConfig") or {}
    at = f"{path}.dnsConfig"
    servers = config.get("nameservers") or []
    if spec.get("dnsPolicy") == "None" and "dnsConfig" not in spec:
        return [required(at, "must provide `dnsConfig` when `dnsPolicy` is None")]
    if spec.get("dnsPolicy") == "None" and not servers:
        return [required(f"{at}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")]
    causes: list[Cause] = []
    if len(servers) > NAMESERVERS_MAX:
        causes.append(invalid(f"{at}.nameservers", servers, f"must not have more than {NAMESERVERS_MAX} nameservers"))
    for index, server in enumerate(servers):
        causes += checked(f"{at}.nameservers[{index}]", server, names.ip_address)
    searches = config.get("searches") or []
    if len(searches) > SEARCHES_MAX:
        causes.append(invalid(f"{at}.searches", searches, f"must not have more than {SEARCHES_MAX} search paths"))
    if len(" ".join(searches)) > SEARCH_LENGTH_MAX:
        causes.append(invalid(f"{at}.searches", searches, f"must not have more than {SEARCH_LENGTH_MAX} characters (including spaces) in the search list"))
    for index, search in enumerate(searches):
        if search != ".":
            causes += checked(f"{at}.searches[{index}]", search.removesuffix("."), names.dns_subdomain_with_underscores)
    causes += [required(at_option, "must not be empty") for at_option, option in indexed(config, "options", at) if not option.get("name")]
    return causes


def affinity(of: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    node = of.get("nodeAffinity") or {}
    at_node = f"{path}.nodeAffinity"
    if "requiredDuringSchedulingIgnoredDuringExecution" in node:
        at = f"{at_node}.requiredDuringSchedulingIgnoredDuringExecution"
        causes += node_selector(node["requiredDuringSchedulingIgnoredDuringExecution"], at)
    for at, term in indexed(node, "preferredDuringSchedulingIgnoredDuringExecution", at_node):
        causes += _weight(term, at) + node_selector_term(term.get("preference") or {}, f"{at}.preference")
    for key in ("podAffinity", "podAntiAffinity"):
        pod_affinity = of.get(key) or {}
        for at, term in indexed(pod_affinity, "requiredDuringSchedulingIgnoredDuringExecution", f"{path}.{key}"):
            causes += _pod_affinity_term(term, at)
        for at, term in indexed(pod_affinity, "preferredDuringSchedulingIgnoredDuringExecution", f"{path}.{key}"):
            causes += _weight(term, at) + _pod_affinity_term(term.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")
    return causes


def _weight(term: Object, path: str) -> list[Cause]:
    weight = term.get("weight", 0)
    return [] if 1 <= weight <= 100 else [invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _pod_affinity_term(term: Object, path: str) -> list[Cause]:
    causes = label_selector(term.get("labelSelector"), f"{path}.labelSelector")
    causes += label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        causes += checked(f"{path}.namespace", name, names.dns_label)
    key = term.get("topologyKey", "")
    if not key:
        causes.append(required(f"{path}.topologyKey", "can not be empty"))
    return causes + checked(f"{path}.topologyKey", key, names.qualified_name)


def tolerations(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for at, one in indexed(spec, "tolerations", path):
        key, operator, value, effect = (one.get(name) or "" for name in ("key", "operator", "value", "effect"))
        if key:
            causes += checked(f"{at}.key", key, names.qualified_name)
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            causes.append(invalid(f"{at}.operator", operator, detail))
        if "tolerationSeconds" in one and effect != "NoExecute":
            causes.append(invalid(f"{at}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
        match operator:
            case "" | "Equal":
                causes += checked(f"{at}.operator", value, names.label_value)
            case "Exists":
                if value:
                    causes.append(invalid(f"{at}.operator", one, "value must be empty when `operator` is 'Exists'"))
            case _:
                causes += optional_one_of(f"{at}.operator", operator, ("Equal", "Exists"))
        if effect:
            causes += optional_one_of(f"{at}.effect", effect, TAINT_EFFECTS)
    return causes


def _topology_spread(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: dict[tuple[str, str], str] = {}
    for at, one in indexed(spec, "topologySpreadConstraints", path):
        if one.get("maxSkew", 0) <= 0:
            causes.append(invalid(f"{at}.maxSkew", one.get("maxSkew", 0), "must be greater than zero"))
        key, action = one.get("topologyKey", ""), one.get("whenUnsatisfiable", "")
        causes += checked(f"{at}.topologyKey", key, names.qualified_name) if key else [required(f"{at}.topologyKey", "can not be empty")]
        causes += optional_one_of(f"{at}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
        if (key, action) in seen:
            # Told where it stands first.
            causes.append(duplicate(f"{seen[key, action]}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        seen.setdefault((key, action), at)
        causes += label_selector(one.get("labelSelector"), f"{at}.labelSelector")
        least = one.get("minDomains")
        if least is not None and least <= 0:
            causes.append(invalid(f"{at}.minDomains", least, "must be greater than zero"))
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            causes += optional_one_of(f"{at}.{policy}", one.get(policy), ("Honor", "Ignore"))
    return causes


# -- updates

_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod_update(new: Object, old: Object, subresource: str) -> list[Cause]:
    match subresource:
        case "":
            return _spec_update(new.get("spec") or {}, old.get("spec") or {})
        case "ephemeralcontainers":
            return _ephemeral_update(new.get("spec") or {}, old.get("spec") or {})
        case "resize":
            return _resize(new.get("spec") or {}, old.get("spec") or {}, old.get("status") or {})
        case _:
            return []


def _spec_update(new: Object, old: Object) -> list[Cause]:
    causes = pod_spec(new, "spec")
    for key in ("containers", "initContainers"):
        if len(new.get(key) or ()) != len(old.get(key) or ()):
            detail = "pod updates may not add or remove containers"
            return [*causes, forbidden(f"spec.{key}", detail)]
    causes += _deadline_update(new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"))
    causes += _added_tolerations(new.get("tolerations") or [], old.get("tolerations") or [])
    causes += _gates_update(new.get("schedulingGates") or [], old.get("schedulingGates") or [])
    if _fixed(new, old, gated=bool(old.get("schedulingGates"))) != _fixed(old, old, gated=bool(old.get("schedulingGates"))):
        causes.append(forbidden("spec", _MAY_CHANGE))
    return causes


def _fixed(spec: Object, old: Object, *, gated: bool) -> Object:
    """What no update changes."""
    free = {"activeDeadlineSeconds", "tolerations", "ephemeralContainers", "schedulingGates"}
    if gated:
        # What is not yet scheduled may still be told where to go (KEP-3838).
        free |= {"nodeSelector", "affinity"}
    if old.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") in (1, old["terminationGracePeriodSeconds"]):
        free.add("terminationGracePeriodSeconds")
    fixed: Object = {key: value for key, value in spec.items() if key not in free}
    for key in ("containers", "initContainers"):
        if key in fixed:
            fixed[key] = [{name: value for name, value in one.items() if name != "image"} for one in fixed[key]]
    return fixed


def _deadline_update(new: int | None, old: int | None) -> list[Cause]:
    path = "spec.activeDeadlineSeconds"
    if new is not None and new < 0:
        return [invalid(path, new, f"must be between 0 and {DEADLINE_S_MAX}, inclusive")]
    if old is None or new == old:
        return []
    if new is None:
        return [invalid(path, None, "must not update from a positive integer to nil value")]
    return [invalid(path, new, "must be less than or equal to previous value")] if new > old else []


def _added_tolerations(new: list[Object], old: list[Object]) -> list[Cause]:
    def but_seconds(one: Object) -> Object:
        return {key: value for key, value in one.items() if key != "tolerationSeconds"}

    kept = [but_seconds(one) for one in new]
    if all(but_seconds(one) in kept for one in old):
        return []
    return [forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]


def _gates_update(new: list[Object], old: list[Object]) -> list[Cause]:
    added = [one for one in new if one not in old]
    if not added:
        return []
    return [forbidden("spec.schedulingGates", f"only deletion is allowed, but found new scheduling gate '{added[0].get('name', '')}'")]


def _ephemeral_update(new: Object, old: Object) -> list[Cause]:
    causes = pod_spec(new, "spec")
    present = {one.get("name"): one for one in new.get("ephemeralContainers") or ()}
    for one in old.get("ephemeralContainers") or ():
        changed = present.get(one.get("name"))
        if changed is None:
            causes.append(forbidden("spec.ephemeralContainers", f'existing ephemeral containers "{one.get("name", "")}" may not be removed\n'))
        elif changed != one:
            causes.append(forbidden("spec.ephemeralContainers", f'existing ephemeral containers "{one.get("name", "")}" may not be changed\n'))
    return causes


def _resize(new: Object, old: Object, status: Object) -> list[Cause]:
    """`status` tells whether the pod's kubelet resizes: then it reports what running containers have been given."""

    def but_amounts(spec: Object) -> Any:
        return {
            **spec,
            **{
                key: [{name: value for name, value in one.items() if name != "resources"} for one in spec.get(key) or ()]
                for key in ("containers", "initContainers")
            },
        }

    running = next((one for one in status.get("containerStatuses") or () if (one.get("state") or {}).get("running") is not None), None)
    if running is not None and running.get("resources") is None:
        return [forbidden("spec", "Pod running on node without support for resize")]
    causes = pod_spec(new, "spec")
    if but_amounts(new) != but_amounts(old):
        causes.append(forbidden("spec", "only cpu and memory resources are mutable"))
    return causes


# -- nodes share taints with pods' tolerations


def taints(of: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for at, one in indexed(of, "taints", path):
        key, effect = one.get("key", ""), one.get("effect", "")
        causes += required_and_checked(f"{at}.key", key, names.qualified_name)
        causes += checked(f"{at}.value", one.get("value") or "", names.label_value)
        causes += one_of(f"{at}.effect", effect, TAINT_EFFECTS)
        if (key, effect) in seen:
            causes.append(duplicate(at, one))
        seen.add((key, effect))
    return causes
