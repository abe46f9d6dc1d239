"""Warnings about what a pod, or a pod template, asks for: it is accepted, and hardly what its author means.

Source: pkg/api/pod/warnings.go, pkg/api/node/util.go.
"""

from collections.abc import Iterator
from typing import Any

from k8sfromscratch.api.quantity import parse_cpu_m

Object = dict[str, Any]

DEPRECATED_NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}

_DEPRECATED_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"

_DEPRECATED_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_IN_WHOLE_BYTES = ("memory", "ephemeral-storage")
_NO_SELECTOR = "a null labelSelector results in matching no pod"


def pod_spec(template: Object, at: str = "") -> list[str]:
    """Of a Pod, or of the pod template whose path `at` is."""
    prefix = f"{at}." if at else ""
    spec, annotations = template.get("spec") or {}, (template.get("metadata") or {}).get("annotations") or {}
    found = [f"{prefix}{text}" for text in (*_placement(spec), *_annotated(spec, annotations), *_volumes(spec), *_doubled(spec))]
    found += [f"{prefix}{text}" for path, container in _containers(spec) for text in _container(container, path)]
    found += [f"{prefix}{text.format(prefix=prefix)}" for text in _ports(spec)]
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        found.append(f"{prefix}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1")
    return found


def node_selector_terms(expressions: list[Object], at: str) -> Iterator[str]:
    for index, expression in enumerate(expressions):
        if expression["key"] in DEPRECATED_NODE_LABELS:
            yield f"{at}[{index}].key: {expression['key']} is {DEPRECATED_NODE_LABELS[expression['key']]}"


def fractional(amounts: Object, names: tuple[str, ...], at: str) -> Iterator[str]:
    for name in names:
        if name in amounts and parse_cpu_m(amounts[name]) % 1000:
            yield f'{at}[{name}]: fractional byte value "{amounts[name]}" is invalid, must be an integer'


def _placement(spec: Object) -> Iterator[str]:
    for label in spec.get("nodeSelector") or ():
        if label in DEPRECATED_NODE_LABELS:
            yield f"spec.nodeSelector[{label}]: {DEPRECATED_NODE_LABELS[label]}"
    affinity = spec.get("affinity") or {}
    nodes = affinity.get("nodeAffinity") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    for index, term in enumerate((nodes.get(required) or {}).get("nodeSelectorTerms") or ()):
        yield from node_selector_terms(term.get("matchExpressions") or [], f"spec.affinity.nodeAffinity.{required}.nodeSelectorTerms[{index}].matchExpressions")
    for index, term in enumerate(nodes.get(preferred) or ()):
        yield from node_selector_terms(
            term["preference"].get("matchExpressions") or [], f"spec.affinity.nodeAffinity.{preferred}[{index}].preference.matchExpressions"
        )
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        key = constraint["topologyKey"]
        if key in DEPRECATED_NODE_LABELS:
            yield f"spec.topologySpreadConstraints[{index}].topologyKey: {key} is {DEPRECATED_NODE_LABELS[key]}"
        if constraint.get("labelSelector") is None:
            yield f"spec.topologySpreadConstraints[{index}].labelSelector: {_NO_SELECTOR}"
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(kind) or {}
        for index, term in enumerate(pods.get(required) or ()):
            if term.get("labelSelector") is None:
                yield f"spec.affinity.{kind}.{required}[{index}].labelSelector: {_NO_SELECTOR}"
        for index, term in enumerate(pods.get(preferred) or ()):
            if term["podAffinityTerm"].get("labelSelector") is None:
                yield f"spec.affinity.{kind}.{preferred}[{index}].podAffinityTerm.labelSelector: {_NO_SELECTOR}"


def _annotated(spec: Object, annotations: dict[str, str]) -> Iterator[str]:
    if not annotations:
        return
    for key, why in _DEPRECATED_ANNOTATIONS.items():
        if key in annotations:
            yield f"metadata.annotations[{key}]: {why}"
    pod_wide = spec.get("securityContext") or {}
    if _SECCOMP_POD in annotations and not pod_wide.get("seccompProfile"):
        yield f'metadata.annotations[{_SECCOMP_POD}]: non-functional in v1.27+; use the "seccompProfile" field instead'
    for _, container in _containers(spec):
        own = container.get("securityContext") or {}
        key = _SECCOMP_CONTAINER + container["name"]
        if key in annotations and not own.get("seccompProfile"):
            yield f'metadata.annotations[{key}]: non-functional in v1.27+; use the "seccompProfile" field instead'
        key = _APP_ARMOR + container["name"]
        if key in annotations and not own.get("appArmorProfile") and not pod_wide.get("appArmorProfile"):
            yield f'metadata.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead'


def _volumes(spec: Object) -> Iterator[str]:
    for index, volume in enumerate(spec.get("volumes") or ()):
        for kind in _DEPRECATED_VOLUMES.keys() & volume.keys():
            yield f"spec.volumes[{index}].{kind}: {_DEPRECATED_VOLUMES[kind]}"


def _doubled(spec: Object) -> Iterator[str]:
    for field, key in (("hostAliases", "ip"), ("imagePullSecrets", "name")):
        seen: set[str] = set()
        for index, item in enumerate(spec.get(field) or ()):
            value = item.get(key, "")
            if value in seen:
                yield f'spec.{field}[{index}].{key}: duplicate {key} "{value}"'
            seen.add(value)
            if field == "imagePullSecrets" and not value:
                yield f'spec.{field}[{index}].{key}: invalid empty name ""'
    yield from fractional(spec.get("overhead") or {}, _IN_WHOLE_BYTES, "spec.overhead")


def _containers(spec: Object) -> Iterator[tuple[str, Object]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield f"spec.{field}[{index}]", container


def _container(container: Object, at: str) -> Iterator[str]:
    for field, amounts in (container.get("resources") or {}).items():
        if field in ("limits", "requests"):
            yield from fractional(amounts or {}, _IN_WHOLE_BYTES, f"{at}.resources.{field}")
    seen: set[str] = set()
    for index, variable in enumerate(container.get("env") or ()):
        name, value = variable["name"], variable.get("value", "")
        # X="$(X):more" adds to what is there; anything else hides it.
        if name in seen and (variable.get("valueFrom") or value == f"$({name})" or f"$({name})" not in value):
            yield f'{at}.env[{index}]: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)


def _ports(spec: Object) -> Iterator[str]:
    """Ports that two entries state, in whatever containers.  The other entry's path is behind `{prefix}`."""
    seen: dict[tuple[int, str], list[tuple[str, Object]]] = {}
    for path, container in _containers(spec):
        for index, port in enumerate(container.get("ports") or ()):
            at = f"{path}.ports[{index}]"
            others = seen.setdefault((port["containerPort"], port.get("protocol", "TCP")), [])
            for other_at, other in others:
                how = _overlap(port, other)
                if how:
                    yield f"{at}: {how} port definition with {{prefix}}{other_at}"
            others.append((at, port))


def _overlap(port: Object, other: Object) -> str:
    ip, other_ip = port.get("hostIP", ""), other.get("hostIP", "")
    host_port, other_host_port = port.get("hostPort", 0), other.get("hostPort", 0)
    if (ip, host_port) == (other_ip, other_host_port):
        return "duplicate"
    if not host_port or not other_host_port:
        return "overlapping"
    return "dangerously ambiguous" if host_port == other_host_port and bool(ip) != bool(other_ip) else ""
