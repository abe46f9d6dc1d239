"""APIServices as values: which group version is whose, in which order, and what keeps one from being available.  Pure.

    local      no spec.service: this server answers; registered by itself, always available
    remote     spec.service: another server answers, through the proxy in `aggregation`

Source: kube-aggregator/pkg/controllers/status, kube-apiserver's apiVersionPriorities.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from k8sfromscratch.api.registry import API_SERVICES, ENDPOINT_SLICES, SERVICES
from k8sfromscratch.components.apiserver.service_resolver import addresses
from k8sfromscratch.core.admission.types import View

Object = dict[str, Any]

AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
ON_START, FOR_CRD = "onstart", "true"
"""Of built-in groups, which are made once at start; of custom ones, which come and go with their definitions."""
OWN_GROUP = "apiregistration.k8s.io"
"""The aggregator's own, which upstream lists nowhere."""

_CUSTOM_PRIORITIES = (1000, 100)
_PRIORITIES: Mapping[str, int] = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600, "autoscaling": 17500,
    "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100, "resource.k8s.io": 15900,
}  # fmt: skip
_VERSION_PRIORITIES: Mapping[tuple[str, str], int] = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21}
_VERSION_PRIORITY = 15


@dataclass(frozen=True, slots=True)
class Remote:
    """A group version that another server answers."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    ca_bundle: str
    insecure: bool
    priority: int
    available: bool

    @property
    def server_name(self) -> str:
        return f"{self.service}.{self.namespace}.svc"

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/{self.version}"


def remotes(objects: Iterable[Object]) -> list[Remote]:
    """The most preferred first."""
    found = [_remote(obj) for obj in objects if (obj.get("spec") or {}).get("service")]
    return sorted(found, key=lambda remote: (-remote.priority, remote.name))


def _remote(obj: Object) -> Remote:
    spec = obj["spec"]
    service = spec["service"]
    available = (condition(obj) or {}).get("status") == "True"
    return Remote(
        obj["metadata"]["name"],
        spec.get("group", ""),
        spec.get("version", ""),
        service.get("namespace", ""),
        service.get("name", ""),
        service.get("port") or 443,
        spec.get("caBundle") or "",
        bool(spec.get("insecureSkipTLSVerify")),
        spec.get("groupPriorityMinimum", 0),
        available,
    )


def local(group: str, version: str, *, custom: bool) -> Object:
    """The APIService of a group version that we serve ourselves."""
    group_priority, version_priority = (
        _CUSTOM_PRIORITIES if custom else (_PRIORITIES.get(group, 16000), _VERSION_PRIORITIES.get((group, version), _VERSION_PRIORITY))
    )
    return {
        "apiVersion": API_SERVICES.api_version,
        "kind": API_SERVICES.kind,
        "metadata": {"name": f"{version}.{group}", "labels": {AUTOMANAGED: FOR_CRD if custom else ON_START}},
        "spec": {"group": group, "version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority},
    }


def condition(obj: Object) -> Object | None:
    return next((found for found in (obj.get("status") or {}).get("conditions") or () if found.get("type") == "Available"), None)


def with_condition(obj: Object, status: str, reason: str, message: str, now: str) -> Object | None:
    """The object with that condition Available; None where it has it already."""
    present = condition(obj)
    if present is not None and (present.get("status"), present.get("reason"), present.get("message")) == (status, reason, message):
        return None
    since = present.get("lastTransitionTime", now) if present is not None and present.get("status") == status else now
    made = {"type": "Available", "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
    others = [found for found in (obj.get("status") or {}).get("conditions") or () if found.get("type") != "Available"]
    return {**obj, "status": {**(obj.get("status") or {}), "conditions": [*others, made]}}


LOCAL = ("True", "Local", "Local APIServices are always available")
PASSED = ("True", "Passed", "all checks passed")


def service_fault(remote: Remote, view: View) -> tuple[str, str] | None:
    """(reason, message) of what its Service lacks, before anyone is asked."""
    where = f'service/{remote.service} in "{remote.namespace}"'
    service = view.get(SERVICES, remote.service, remote.namespace)
    if service is None:
        return "ServiceNotFound", f"{where} is not present"
    if service["spec"].get("type") == "ExternalName":
        return None
    port = next((port for port in service["spec"].get("ports") or () if port["port"] == remote.port), None)
    if port is None:
        return "ServicePortError", f"{where} is not listening on port {remote.port}"
    slices = [one for one in view.list(ENDPOINT_SLICES, remote.namespace) if _of(one, remote.service)]
    if not slices:
        return "EndpointsNotFound", f"cannot find endpointslices for {where}"
    name = port.get("name") or ""
    if not any(True for _ in addresses(view, remote.namespace, remote.service, name)):
        return "MissingEndpoints", f'endpointslices for {where} have no addresses with port name "{name}"'
    return None


def _of(obj: Object, service: str) -> bool:
    return (obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service


# -- discovery


def api_group(group: str, found: Iterable[Remote]) -> Object:
    """APIGroup's content, for groups of which we know only whose they are."""
    versions = [{"groupVersion": f"{group}/{remote.version}", "version": remote.version} for remote in found if remote.group == group]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def aggregated_versions(group: str, found: Iterable[Remote], documents: Mapping[str, Object]) -> list[Object]:
    """APIVersionDiscovery of each; one whose server does not answer keeps what it said last, as stale."""
    listed = []
    for remote in found:
        if remote.group == group:
            resources = _aggregated(documents.get(remote.name) or {}, remote)
            listed.append({"version": remote.version, "freshness": "Current" if remote.available and resources else "Stale", "resources": resources})
    return listed


def _aggregated(document: Object, remote: Remote) -> list[Object]:
    """From an APIResourceList, whose subresources stand beside their resources."""
    made: dict[str, Object] = {}
    for entry in document.get("resources") or ():
        kind = {"group": entry.get("group") or remote.group, "version": entry.get("version") or remote.version, "kind": entry.get("kind", "")}
        plural, slash, sub = str(entry.get("name", "")).partition("/")
        scope = "Namespaced" if entry.get("namespaced") else "Cluster"
        if slash:
            parent = made.setdefault(plural, {"resource": plural, "scope": scope, "singularResource": "", "verbs": []})
            parent.setdefault("subresources", []).append({"subresource": sub, "responseKind": kind, "verbs": entry.get("verbs") or []})
            continue
        described = {"resource": plural, "responseKind": kind, "scope": scope, "singularResource": entry.get("singularName", "")}
        made[plural] = {**made.get(plural, {}), **described, "verbs": entry.get("verbs") or []}
        made[plural] |= {key: entry[key] for key in ("shortNames", "categories") if entry.get(key)}
    return list(made.values())
