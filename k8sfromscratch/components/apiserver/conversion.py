"""Between the served versions of a resource that share one store (see `catalog.STORED_AS`).

Two built-in kinds have more than one: Event (v1 and events.k8s.io/v1) and HorizontalPodAutoscaler (autoscaling/v1 and v2).  Each is a pair of
pure functions on dicts; what one version cannot say is carried the way upstream carries it.  Versions of a custom resource differ in their
apiVersion and in what their schemas prune and default; the store may still have them in a version that was stored before.
"""

from collections.abc import Callable
from typing import Any

import orjson

from k8sfromscratch.components.apiserver.catalog import Served
from k8sfromscratch.core.patch.values import copied_object

Object = dict[str, Any]


def as_served(served: Served, raw: bytes) -> bytes:
    """Stored form to the form of the path."""
    if served.resource is served.stored:
        return raw
    return orjson.dumps(to_served(served, orjson.loads(raw)))


def to_served(served: Served, obj: Object) -> Object:
    if served.resource is served.stored and (served.custom is None or obj["apiVersion"] == served.resource.api_version):
        return obj
    if served.custom is not None:
        # A copy: the caller goes on to compare with the object as it was.
        return served.custom.from_stored(copied_object(obj))
    converted = _TO_SERVED[served.resource.group_resource](obj)
    return {**converted, "apiVersion": served.resource.api_version, "kind": served.resource.kind}


def to_stored(served: Served, obj: Object) -> Object:
    if served.resource is served.stored:
        return obj
    if served.custom is not None:
        return {**obj, "apiVersion": served.stored.api_version}
    converted = _TO_STORED[served.resource.group_resource](obj)
    return {**converted, "apiVersion": served.stored.api_version, "kind": served.stored.kind}


_EVENT_FIELDS = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}


def _renamed(obj: Object, names: dict[str, str]) -> Object:
    return {names.get(key, key): value for key, value in obj.items()}


def _event_to_events_k8s_io(obj: Object) -> Object:
    return _renamed(obj, _EVENT_FIELDS)


def _event_to_core(obj: Object) -> Object:
    return _renamed(obj, {new: old for old, new in _EVENT_FIELDS.items()})


_METRICS = "autoscaling.alpha.kubernetes.io/metrics"


def _hpa_to_v1(obj: Object) -> Object:
    """The CPU target has a field of its own in v1; other metrics travel as an annotation."""
    spec = dict(obj.get("spec") or {})
    metadata = dict(obj["metadata"])
    others = []
    for metric in spec.pop("metrics", None) or []:
        utilization = (metric.get("resource") or {}).get("target", {}).get("averageUtilization")
        if metric.get("type") == "Resource" and metric["resource"].get("name") == "cpu" and utilization is not None:
            spec["targetCPUUtilizationPercentage"] = utilization
        else:
            others.append(metric)
    if others:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), _METRICS: orjson.dumps(others).decode()}
    spec.pop("behavior", None)
    status = dict(obj.get("status") or {})
    for metric in status.pop("currentMetrics", None) or []:
        current = (metric.get("resource") or {}).get("current", {}).get("averageUtilization")
        if current is not None and metric["resource"].get("name") == "cpu":
            status["currentCPUUtilizationPercentage"] = current
    status.pop("conditions", None)
    return {**obj, "metadata": metadata, "spec": spec, "status": status}


def _hpa_to_v2(obj: Object) -> Object:
    spec = dict(obj.get("spec") or {})
    metadata = dict(obj["metadata"])
    metrics = []
    utilization = spec.pop("targetCPUUtilizationPercentage", None)
    if utilization is not None:
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": utilization}}})
    annotations = dict(metadata.get("annotations") or {})
    carried = annotations.pop(_METRICS, None)
    if carried is not None:
        try:
            others = orjson.loads(carried)
        except orjson.JSONDecodeError:
            others = []
        metrics += [metric for metric in others if isinstance(metric, dict)] if isinstance(others, list) else []
        metadata["annotations"] = annotations
    if metrics:
        spec["metrics"] = metrics
    status = dict(obj.get("status") or {})
    status.pop("currentCPUUtilizationPercentage", None)
    return {**obj, "metadata": metadata, "spec": spec, "status": status}


_TO_SERVED: dict[str, Callable[[Object], Object]] = {
    "events.events.k8s.io": _event_to_events_k8s_io,
    "horizontalpodautoscalers.autoscaling": _hpa_to_v1,
}
_TO_STORED: dict[str, Callable[[Object], Object]] = {
    "events.events.k8s.io": _event_to_core,
    "horizontalpodautoscalers.autoscaling": _hpa_to_v2,
}
