"""Rows of what makes pods."""

from datetime import datetime
from typing import Any

from k8sfromscratch.api.columns.text import NONE, UNSET, Object, age, containers, duration, has_condition, labels, moment, selector, since, truth


def _template_spec(obj: Object) -> Object:
    spec: Object = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
    return spec


def deployment(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        obj["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(obj, now),
        *containers(_template_spec(obj)),
        selector(spec.get("selector")),
    ]


def replica_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [obj["metadata"]["name"], *counts, age(obj, now), *containers(_template_spec(obj)), selector(spec.get("selector"))]


def replication_controller(obj: Object, now: datetime) -> list[Any]:
    return [*replica_set({**obj, "spec": {**(obj.get("spec") or {}), "selector": {}}}, now)[:-1], labels((obj.get("spec") or {}).get("selector"))]


def daemon_set(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    counted = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
    return [
        obj["metadata"]["name"],
        *(status.get(key, 0) for key in counted),
        labels(_template_spec(obj).get("nodeSelector")),
        age(obj, now),
        *containers(_template_spec(obj)),
        selector((obj.get("spec") or {}).get("selector")),
    ]


def stateful_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [obj["metadata"]["name"], ready, age(obj, now), *containers(_template_spec(obj))]


def job(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    succeeded, parallelism = status.get("succeeded", 0), spec.get("parallelism", 0)
    if "completions" in spec:
        completions = f"{succeeded}/{spec['completions']}"
    else:
        completions = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    took = ""
    if status.get("startTime"):
        end = moment(status["completionTime"]) if status.get("completionTime") else now
        took = duration((end - moment(status["startTime"])).total_seconds())
    return [
        obj["metadata"]["name"],
        _job_status(obj),
        completions,
        took,
        age(obj, now),
        *containers(_template_spec(obj)),
        selector(spec.get("selector")),
    ]


def _job_status(obj: Object) -> str:
    for kind in ("Complete", "Failed"):
        if has_condition(obj, kind):
            return kind
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((kind for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if has_condition(obj, kind)), "Running")


def cron_job(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    job_spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    last = status.get("lastScheduleTime")
    return [
        obj["metadata"]["name"],
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        truth(spec.get("suspend")),
        len(status.get("active") or ()),
        since(last, now) if last else NONE,
        age(obj, now),
        *containers((job_spec.get("template") or {}).get("spec") or {}),
        selector(job_spec.get("selector")),
    ]


def controller_revision(obj: Object, now: datetime) -> list[Any]:
    owner = next((one for one in obj["metadata"].get("ownerReferences") or () if one.get("controller")), None)
    controller = NONE
    if owner is not None:
        group, _, version = owner.get("apiVersion", "").rpartition("/")
        controller = f"{owner.get('kind', '').lower()}{'.' + group if group else ''}/{owner.get('name', '')}" if version else NONE
    return [obj["metadata"]["name"], controller, obj.get("revision", 0), age(obj, now)]


def pod_template(obj: Object, now: datetime) -> list[Any]:
    template = obj.get("template") or {}
    return [obj["metadata"]["name"], *containers(template.get("spec") or {}), labels((template.get("metadata") or {}).get("labels"))]


def scale(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], (obj.get("spec") or {}).get("replicas", 0), (obj.get("status") or {}).get("replicas", 0), age(obj, now)]


def pod_disruption_budget(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    bounds = [str(spec.get(key, "N/A")) for key in ("minAvailable", "maxUnavailable")]
    return [obj["metadata"]["name"], *bounds, status.get("disruptionsAllowed", 0), age(obj, now)]


# -- autoscalers

_METRICS_SHOWN_MAX = 2


def horizontal_pod_autoscaler(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    current = status.get("currentMetrics") or []
    targets = [_target(metric, current[i] if i < len(current) else {}) for i, metric in enumerate(spec.get("metrics") or ())]
    return [*_autoscaler(obj, cut_metrics(targets)), status.get("currentReplicas", 0), age(obj, now)]


def horizontal_pod_autoscaler_v1(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    wanted, found = spec.get("targetCPUUtilizationPercentage"), status.get("currentCPUUtilizationPercentage")
    target = f"cpu: {_percent(found)}/{wanted}%" if wanted is not None else NONE
    return [*_autoscaler(obj, target), status.get("currentReplicas", 0), age(obj, now)]


def _autoscaler(obj: Object, targets: str) -> list[Any]:
    spec = obj.get("spec") or {}
    ref = spec.get("scaleTargetRef") or {}
    return [obj["metadata"]["name"], f"{ref.get('kind', '')}/{ref.get('name', '')}", targets, str(spec.get("minReplicas", UNSET)), spec.get("maxReplicas", 0)]


def cut_metrics(targets: list[str]) -> str:
    if not targets:
        return NONE
    shown = ", ".join(targets[:_METRICS_SHOWN_MAX])
    return f"{shown} + {len(targets) - _METRICS_SHOWN_MAX} more..." if len(targets) > _METRICS_SHOWN_MAX else shown


_SOURCES = {"Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object", "External": "external"}


def _target(metric: Object, found: Object) -> str:
    key = _SOURCES.get(metric.get("type", ""))
    if key is None:
        return "<unknown type>"
    wanted = (metric.get(key) or {}).get("target") or {}
    have = (found.get(key) or {}).get("current") or {}
    name = f"{(metric.get(key) or {}).get('name', '')}: " if key in ("resource", "containerResource") else ""
    if "averageUtilization" in wanted:
        return f"{name}{_percent(have.get('averageUtilization'))}/{wanted['averageUtilization']}%"
    if "averageValue" in wanted:
        average = "" if key in ("resource", "containerResource", "pods") else " (avg)"
        return f"{name}{have.get('averageValue', '<unknown>')}/{wanted['averageValue']}{average}"
    return f"{name}{have.get('value', '<unknown>')}/{wanted.get('value', '<auto>')}"


def _percent(value: int | None) -> str:
    return "<unknown>" if value is None else f"{value}%"
