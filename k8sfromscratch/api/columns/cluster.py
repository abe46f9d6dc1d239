"""Rows of nodes, namespaces, configuration, events, RBAC and the API's own objects."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from k8sfromscratch.api.columns.text import NONE, UNKNOWN, UNSET, Object, age, condition, duration, since

_ROLE_LABEL = "node-role.kubernetes.io/"
_OLD_ROLE_LABEL = "kubernetes.io/role"


def name_and_age(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], age(obj, now)]


def name_and_creation(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp") or UNKNOWN]


def node(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    addresses = {one.get("type"): one.get("address", NONE) for one in reversed(status.get("addresses") or ())}
    return [
        obj["metadata"]["name"],
        _node_status(obj),
        ",".join(_roles(obj["metadata"].get("labels") or {})) or NONE,
        age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _node_status(obj: Object) -> str:
    ready = condition(obj, "Ready")
    text = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return text + (",SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else "")


def _roles(labels: Mapping[str, str]) -> list[str]:
    found = {key.removeprefix(_ROLE_LABEL) for key in labels if key.startswith(_ROLE_LABEL)} | {labels.get(_OLD_ROLE_LABEL, "")}
    return sorted(found - {""})


def namespace(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], (obj.get("status") or {}).get("phase", ""), age(obj, now)]


def config_map(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age(obj, now)]


def secret(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("type", ""), len(obj.get("data") or ()), age(obj, now)]


def service_account(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], len(obj.get("secrets") or ()), age(obj, now)]


def lease(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], (obj.get("spec") or {}).get("holderIdentity", ""), age(obj, now)]


def priority_class(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("value", 0), bool(obj.get("globalDefault")), age(obj, now), obj.get("preemptionPolicy", "")]


def resource_quota(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    texts = {name: f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)}
    limits = [text for name, text in texts.items() if name.startswith("limits.")]
    requests = [text for name, text in texts.items() if not name.startswith("limits.")]
    return [obj["metadata"]["name"], ", ".join(requests), ", ".join(limits), age(obj, now)]


def component_status(obj: Object, now: datetime) -> list[Any]:
    healthy: Mapping[str, str] = next((one for one in obj.get("conditions") or () if one.get("type") == "Healthy"), {})
    text = {"True": "Healthy", "False": "Unhealthy"}.get(healthy.get("status", ""), "Unknown")
    return [obj["metadata"]["name"], text, healthy.get("message", ""), healthy.get("error", "")]


# -- events


def event(obj: Object, now: datetime) -> list[Any]:
    first = since(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = since(obj["lastTimestamp"], now) if obj.get("lastTimestamp") else first
    count = obj.get("count") or 1
    series = obj.get("series")
    if series:
        last, count = since(series.get("lastObservedTime"), now), series.get("count", 0)
    about, source = obj.get("involvedObject") or {}, obj.get("source") or {}
    kind = about.get("kind", "").lower()
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{kind}/{about['name']}" if about.get("name") else kind,
        about.get("fieldPath", ""),
        _event_source(source, obj),
        obj.get("message", "").strip(),
        first,
        count,
        obj["metadata"]["name"],
    ]


def _event_source(source: Mapping[str, Any], obj: Object) -> str:
    component = source.get("component") or obj.get("reportingComponent") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


_OLD_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}


def event_v1(obj: Object, now: datetime) -> list[Any]:
    """events.k8s.io has other names for the same fields."""
    return event({_OLD_NAMES.get(key, key): value for key, value in obj.items()}, now)


# -- RBAC and certificates


def role_binding(obj: Object, now: datetime) -> list[Any]:
    ref = obj.get("roleRef") or {}
    subjects = obj.get("subjects") or ()
    users = [one.get("name", "") for one in subjects if one.get("kind") == "User"]
    groups = [one.get("name", "") for one in subjects if one.get("kind") == "Group"]
    accounts = [f"{one.get('namespace', '')}/{one.get('name', '')}" for one in subjects if one.get("kind") == "ServiceAccount"]
    return [obj["metadata"]["name"], f"{ref.get('kind', '')}/{ref.get('name', '')}", age(obj, now), ", ".join(users), ", ".join(groups), ", ".join(accounts)]


def certificate_signing_request(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    kinds = {one.get("type") for one in status.get("conditions") or ()}
    text = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    text += ",Failed" if "Failed" in kinds else ""
    text += ",Issued" if status.get("certificate") else ""
    wanted = spec.get("expirationSeconds")
    return [
        obj["metadata"]["name"],
        age(obj, now),
        spec.get("signerName") or NONE,
        spec.get("username", ""),
        NONE if wanted is None else duration(wanted),
        text,
    ]


# -- the API's own objects


def webhook_configuration(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], len(obj.get("webhooks") or ()), age(obj, now)]


def validating_admission_policy(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    kind = spec.get("paramKind")
    return [
        obj["metadata"]["name"],
        len(spec.get("validations") or ()),
        f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET,
        age(obj, now),
    ]


def validating_admission_policy_binding(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    ref = spec.get("paramRef")
    parameters = UNSET
    if ref:
        parameters = f"{ref['namespace']}/{ref.get('name') or '*'}" if ref.get("namespace") else ref.get("name") or "*"
    return [obj["metadata"]["name"], spec.get("policyName", ""), parameters, age(obj, now)]


def api_service(obj: Object, now: datetime) -> list[Any]:
    service = (obj.get("spec") or {}).get("service")
    available = condition(obj, "Available")
    text = "Unknown"
    if available is not None:
        text = "True" if available.get("status") == "True" else f"{available.get('status')} ({available.get('reason', '')})"
    return [obj["metadata"]["name"], f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local", text, age(obj, now)]


def runtime_class(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("handler", ""), age(obj, now)]


def flow_schema(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    dangling = condition(obj, "Dangling")
    return [
        obj["metadata"]["name"],
        (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
        spec.get("matchingPrecedence", 0),
        (spec.get("distinguisherMethod") or {}).get("type") or NONE,
        age(obj, now),
        "?" if dangling is None else dangling.get("status", "?"),
    ]


def priority_level_configuration(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    of = spec.get("limited") or spec.get("exempt") or {}
    queuing = (of.get("limitResponse") or {}).get("queuing") or {}
    counts = [str(queuing.get(key, NONE)) for key in ("queues", "handSize", "queueLengthLimit")]
    return [obj["metadata"]["name"], spec.get("type", ""), str(of.get("nominalConcurrencyShares", NONE)), *counts, age(obj, now)]


def resource_claim(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    states = [
        *(["deleted"] if obj["metadata"].get("deletionTimestamp") else []),
        *(["allocated"] if status.get("allocation") else []),
        *(["reserved"] if status.get("reservedFor") else []),
    ]
    return [obj["metadata"]["name"], ",".join(states) or "pending", age(obj, now)]


def resource_slice(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    return [obj["metadata"]["name"], spec.get("nodeName") or UNSET, spec.get("driver", ""), (spec.get("pool") or {}).get("name", ""), age(obj, now)]
