"""What the scheduler knows of a pod, read once from its object.

Requests are counted as upstream does (KEP-753): containers add up, restartable init containers (sidecars) stay and add up, each other init
container needs the sidecars before it and itself; the pod needs the larger of the two, plus its overhead.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k8sfromscratch.api.quantity import parse_bytes, parse_cpu_m

Object = dict[str, Any]

NONZERO_CPU_M = 100
NONZERO_MEMORY = 200 * 1024 * 1024
"""What a container without a request counts for in scores, so that many such pods still spread (upstream's defaults)."""


@dataclass(frozen=True, slots=True)
class AffinityTerm:
    """One pod (anti-)affinity term. `selector` None matches no pod; `namespaces` empty with `namespace_selector` None means the pod's own."""

    topology_key: str
    selector: Mapping[str, Any] | None
    namespaces: frozenset[str]
    namespace_selector: Mapping[str, Any] | None
    weight: int
    identity: str
    """Equal for terms that select the same pods over the same topology."""


@dataclass(frozen=True, slots=True)
class SpreadConstraint:
    topology_key: str
    max_skew: int
    hard: bool
    selector: Mapping[str, Any] | None
    min_domains: int
    honor_affinity: bool
    honor_taints: bool


@dataclass(frozen=True, slots=True)
class PodInfo:
    """`requests` holds cpu in milli-units, memory and ephemeral-storage in bytes, anything else in whole units, and always `pods`: 1."""

    key: str
    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    priority: int
    requests: Mapping[str, int]
    nonzero_cpu_m: int
    nonzero_memory: int
    tolerations: Sequence[Mapping[str, Any]]
    node_selector: Mapping[str, str]
    required_node_terms: Sequence[Mapping[str, Any]] | None
    preferred_node_terms: Sequence[Mapping[str, Any]]
    node_name: str
    nominated_node: str
    ports: frozenset[tuple[str, str, int]]
    """(host IP, protocol, host port)."""
    required_affinity: tuple[AffinityTerm, ...]
    required_anti_affinity: tuple[AffinityTerm, ...]
    preferred_affinity: tuple[AffinityTerm, ...]
    """Anti-affinity has negative weights."""
    spread: tuple[SpreadConstraint, ...]
    images: tuple[str, ...]
    gated: bool
    preemption_policy: str
    group: tuple[str, tuple[tuple[str, str], ...]]
    """Namespace and labels: pods of one group are alike to every selector."""


def read_pod(obj: Object) -> PodInfo:
    meta, spec = obj["metadata"], obj.get("spec") or {}
    namespace, name = meta.get("namespace", ""), meta["name"]
    labels = meta.get("labels") or {}
    requests = pod_requests(spec)
    nonzero = pod_requests(spec, defaults=True)
    affinity = spec.get("affinity") or {}
    node_affinity = affinity.get("nodeAffinity") or {}
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    pod_affinity, anti_affinity = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    return PodInfo(
        key=f"{namespace}/{name}",
        uid=meta.get("uid", ""),
        namespace=namespace,
        name=name,
        labels=labels,
        priority=int(spec.get("priority") or 0),
        requests={**requests, "pods": 1},
        nonzero_cpu_m=nonzero.get("cpu", 0),
        nonzero_memory=nonzero.get("memory", 0),
        tolerations=spec.get("tolerations") or (),
        node_selector=spec.get("nodeSelector") or {},
        required_node_terms=required.get("nodeSelectorTerms") or () if required is not None else None,
        preferred_node_terms=node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or (),
        node_name=spec.get("nodeName") or "",
        nominated_node=(obj.get("status") or {}).get("nominatedNodeName") or "",
        ports=frozenset(_host_ports(spec)),
        required_affinity=tuple(_terms(pod_affinity, labels, namespace)),
        required_anti_affinity=tuple(_terms(anti_affinity, labels, namespace)),
        preferred_affinity=(*_weighted_terms(pod_affinity, labels, namespace, 1), *_weighted_terms(anti_affinity, labels, namespace, -1)),
        spread=tuple(_spread(c, labels) for c in spec.get("topologySpreadConstraints") or ()),
        images=tuple(c.get("image", "") for c in spec.get("containers") or ()),
        gated=bool(spec.get("schedulingGates")),
        preemption_policy=spec.get("preemptionPolicy") or "PreemptLowerPriority",
        group=(namespace, tuple(sorted(labels.items()))),
    )


def pod_requests(spec: Mapping[str, Any], *, defaults: bool = False) -> dict[str, int]:
    """The pod's effective requests.  `defaults` counts containers that ask for no cpu or memory with the non-zero defaults."""
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _add(total, _container(container, defaults))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        wanted = _container(container, defaults)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, wanted)
            _add(total, wanted)
            step = dict(sidecars)
        else:
            step = dict(sidecars)
            _add(step, wanted)
        _raise_to(peak, step)
    _raise_to(total, peak)
    for name, amount in ((spec.get("resources") or {}).get("requests") or {}).items():
        total[name] = amount_of(name, amount)  # pod-level resources (KEP-2837) replace the sum
    _add(total, {name: amount_of(name, amount) for name, amount in (spec.get("overhead") or {}).items()})
    return total


def amount_of(resource: str, quantity: Any) -> int:
    return parse_cpu_m(str(quantity)) if resource == "cpu" else parse_bytes(str(quantity))


def _container(container: Mapping[str, Any], defaults: bool) -> dict[str, int]:
    requests = (container.get("resources") or {}).get("requests") or {}
    wanted = {name: amount_of(name, quantity) for name, quantity in requests.items()}
    if defaults:
        wanted.setdefault("cpu", NONZERO_CPU_M)
        wanted.setdefault("memory", NONZERO_MEMORY)
    return wanted


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise_to(total: dict[str, int], floor: Mapping[str, int]) -> None:
    for name, amount in floor.items():
        total[name] = max(total.get(name, 0), amount)


def _host_ports(spec: Mapping[str, Any]) -> Iterable[tuple[str, str, int]]:
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", int(port["hostPort"])


def _terms(affinity: Mapping[str, Any], labels: Mapping[str, str], namespace: str) -> Iterable[AffinityTerm]:
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
        yield _term(term, labels, namespace, 0)


def _weighted_terms(affinity: Mapping[str, Any], labels: Mapping[str, str], namespace: str, sign: int) -> Iterable[AffinityTerm]:
    for weighted in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
        yield _term(weighted.get("podAffinityTerm") or {}, labels, namespace, sign * int(weighted.get("weight") or 0))


def _term(term: Mapping[str, Any], labels: Mapping[str, str], namespace: str, weight: int) -> AffinityTerm:
    selector = _with_label_keys(term.get("labelSelector"), term.get("matchLabelKeys"), term.get("mismatchLabelKeys"), labels)
    namespace_selector = term.get("namespaceSelector")
    namespaces = frozenset(term.get("namespaces") or ())
    if not namespaces and namespace_selector is None:
        namespaces = frozenset({namespace})
    key = term.get("topologyKey") or ""
    return AffinityTerm(key, selector, namespaces, namespace_selector, weight, repr((key, selector, sorted(namespaces), namespace_selector)))


def _spread(constraint: Mapping[str, Any], labels: Mapping[str, str]) -> SpreadConstraint:
    return SpreadConstraint(
        topology_key=constraint.get("topologyKey") or "",
        max_skew=int(constraint.get("maxSkew") or 1),
        hard=constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        selector=_with_label_keys(constraint.get("labelSelector"), constraint.get("matchLabelKeys"), None, labels),
        min_domains=int(constraint.get("minDomains") or 1),
        honor_affinity=constraint.get("nodeAffinityPolicy", "Honor") == "Honor",
        honor_taints=constraint.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


def _with_label_keys(
    selector: Mapping[str, Any] | None, match: Sequence[str] | None, mismatch: Sequence[str] | None, labels: Mapping[str, str]
) -> Mapping[str, Any] | None:
    """matchLabelKeys and mismatchLabelKeys become expressions with the pod's own values (KEP-3243, KEP-3633)."""
    if selector is None or not (match or mismatch):
        return selector
    extra = [{"key": key, "operator": "In", "values": [labels[key]]} for key in match or () if key in labels]
    extra += [{"key": key, "operator": "NotIn", "values": [labels[key]]} for key in mismatch or () if key in labels]
    return {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *extra]}
