"""What makes pods: selectors that must match their template, update strategies, what may not change.

Source: pkg/apis/apps/validation, batch/validation, autoscaling/validation, policy/validation.
"""

from collections.abc import Mapping
from typing import Any

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.validation import cron
from k8sfromscratch.api.validation.field import (
    IMMUTABLE,
    NOT_NEGATIVE,
    Object,
    checked,
    forbidden,
    immutable,
    indexed,
    invalid,
    not_negative,
    not_supported,
    one_of,
    optional_one_of,
    required,
)
from k8sfromscratch.api.validation.metadata import labels
from k8sfromscratch.api.validation.pods import pod_template
from k8sfromscratch.api.validation.selectors import is_empty, label_selector, selects
from k8sfromscratch.api.validation.volumes import claim_spec

CRON_JOB_NAME_LENGTH_MAX = 52
"""A Job's name may have 63 characters; 11 are for the time of its run."""


def _selected_template(spec: Object, kind: str) -> list[Cause]:
    """The part that Deployment, ReplicaSet, DaemonSet and StatefulSet share."""
    causes: list[Cause] = []
    selector = spec.get("selector")
    template_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if selector is None:
        # Which selects nothing, hence not the template either.
        causes.append(required("spec.selector"))
        causes.append(invalid("spec.template.metadata.labels", template_labels, "`selector` does not match template `labels`"))
    else:
        faults = label_selector(selector, "spec.selector")
        if is_empty(selector):
            faults.append(invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
        if any(fault.field.endswith(".operator") for fault in faults):
            faults.append(invalid("spec.selector", selector, "invalid label selector"))
        causes += faults
        if not faults and not selects(selector, template_labels):
            causes.append(invalid("spec.template.metadata.labels", template_labels, "`selector` does not match template `labels`"))
    return causes + _always_restarting(spec, kind)


def _always_restarting(spec: Object, kind: str) -> list[Cause]:
    template = spec.get("template") or {}
    pod_spec = template.get("spec") or {}
    causes = pod_template(template, "spec.template")
    if pod_spec.get("restartPolicy", "Always") != "Always":
        causes.append(not_supported("spec.template.spec.restartPolicy", pod_spec["restartPolicy"], ("Always",)))
    if "activeDeadlineSeconds" in pod_spec:
        causes.append(forbidden("spec.template.spec.activeDeadlineSeconds", f"activeDeadlineSeconds in {kind} is not Supported"))
    return causes


def deployment(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    causes += _selected_template(spec, "deployment")
    strategy = spec.get("strategy") or {}
    match strategy.get("type"):
        case "Recreate":
            if "rollingUpdate" in strategy:
                causes.append(forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"))
        case "RollingUpdate":
            rolling = strategy.get("rollingUpdate") or {}
            at = "spec.strategy.rollingUpdate"
            causes += _amount(rolling, "maxUnavailable", at, percent_max=100) + _amount(rolling, "maxSurge", at)
            if _is_zero(rolling.get("maxUnavailable", 0)) and _is_zero(rolling.get("maxSurge", 0)):
                causes.append(invalid(f"{at}.maxUnavailable", rolling.get("maxUnavailable", 0), "may not be 0 when `maxSurge` is 0"))
        case kind:
            causes += [not_supported("spec.strategy", strategy, ("Recreate", "RollingUpdate"))] if kind else [required("spec.strategy.type")]
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        causes.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return causes


def _amount(of: Mapping[str, Any], key: str, path: str, *, percent_max: int | None = None) -> list[Cause]:
    """A count, or a share in percent."""
    value = of.get(key, 0)
    if isinstance(value, int):
        return not_negative(of, path, key)
    causes = checked(f"{path}.{key}", value, names.percent)
    if not causes and percent_max is not None and int(value[:-1]) > percent_max:
        causes.append(invalid(f"{path}.{key}", value, f"must not be greater than {percent_max}%"))
    return causes


def _is_zero(value: int | str) -> bool:
    return value in (0, "0%")


def selector_update(new: Object, old: Object) -> list[Cause]:
    return immutable("spec.selector", (new.get("spec") or {}).get("selector"), (old.get("spec") or {}).get("selector"))


def deployment_update(new: Object, old: Object) -> list[Cause]:
    return deployment(new) + selector_update(new, old)


def replica_set(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    return not_negative(spec, "spec", "replicas", "minReadySeconds") + _selected_template(spec, "replicaset")


def replica_set_update(new: Object, old: Object) -> list[Cause]:
    return replica_set(new) + selector_update(new, old)


def replication_controller(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = not_negative(spec, "spec", "replicas", "minReadySeconds")
    selector = spec.get("selector") or {}
    template_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selector:
        causes.append(required("spec.selector"))
    elif "template" not in spec:
        causes.append(required("spec.template"))
    elif not selects({"matchLabels": selector}, template_labels):
        causes.append(invalid("spec.template.metadata.labels", template_labels, "`selector` does not match template `labels`"))
    causes += labels(selector, "spec.selector")
    return causes + (_always_restarting(spec, "ReplicationController") if "template" in spec else [])


def daemon_set(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _selected_template(spec, "daemonset") + not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit")
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") != "RollingUpdate":
        if not strategy.get("type"):
            return [*causes, required("spec.updateStrategy.type")]
        return causes if strategy["type"] == "OnDelete" else [*causes, not_supported("spec.updateStrategy", strategy, ("RollingUpdate", "OnDelete"))]
    rolling = strategy.get("rollingUpdate") or {}
    at = "spec.updateStrategy.rollingUpdate"
    causes += _amount(rolling, "maxUnavailable", at, percent_max=100) + _amount(rolling, "maxSurge", at, percent_max=100)
    unavailable, surge = not _is_zero(rolling.get("maxUnavailable", 0)), not _is_zero(rolling.get("maxSurge", 0))
    if unavailable and surge:
        causes.append(invalid(f"{at}.maxSurge", rolling["maxSurge"], "may not be set when maxUnavailable is non-zero"))
    elif not unavailable and not surge:
        causes.append(required(f"{at}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return causes


def daemon_set_update(new: Object, old: Object) -> list[Cause]:
    return daemon_set(new) + selector_update(new, old)


def stateful_set(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit")
    policy = spec.get("podManagementPolicy")
    if not policy:
        causes.append(required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        causes.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    strategy = spec.get("updateStrategy") or {}
    match strategy.get("type"):
        case "RollingUpdate":
            rolling = strategy.get("rollingUpdate") or {}
            causes += not_negative(rolling, "spec.updateStrategy.rollingUpdate", "partition")
            causes += _amount(rolling, "maxUnavailable", "spec.updateStrategy.rollingUpdate", percent_max=100)
        case "OnDelete":
            if "rollingUpdate" in strategy:
                causes.append(invalid("spec.updateStrategy.rollingUpdate", strategy["rollingUpdate"], "only allowed for updateStrategy 'RollingUpdate'"))
        case None | "":
            causes.append(required("spec.updateStrategy"))
        case _:
            causes.append(invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'"))
    # Mounts may name the claims that each pod will get.
    template = spec.get("template") or {}
    claims = [{"name": (one.get("metadata") or {}).get("name", ""), "emptyDir": {}} for one in spec.get("volumeClaimTemplates") or ()]
    if claims:
        pod_spec = template.get("spec") or {}
        own = {one["name"] for one in claims}
        volumes = [one for one in pod_spec.get("volumes") or () if one.get("name") not in own]
        template = {**template, "spec": {**pod_spec, "volumes": [*volumes, *claims]}}
    causes += _selected_template({**spec, "template": template}, "statefulset")
    for at, claim in indexed(spec, "volumeClaimTemplates", "spec"):
        causes += claim_spec(claim.get("spec") or {}, f"{at}.spec")
    return causes


_STATEFUL_SET_MAY_CHANGE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def stateful_set_update(new: Object, old: Object) -> list[Cause]:
    fixed = [{key: value for key, value in (obj.get("spec") or {}).items() if key not in _STATEFUL_SET_MAY_CHANGE} for obj in (new, old)]
    causes = stateful_set(new)
    if fixed[0] != fixed[1]:
        listed = ", ".join(f"'{key}'" for key in _STATEFUL_SET_MAY_CHANGE[:-1])
        detail = f"updates to statefulset spec for fields other than {listed} and '{_STATEFUL_SET_MAY_CHANGE[-1]}' are forbidden"
        causes.append(forbidden("spec", detail))
    return causes


# -- jobs


def job(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = job_spec(spec, "spec")
    selector = spec.get("selector")
    if selector is None:
        if spec.get("manualSelector"):
            causes.append(required("spec.selector"))
        return causes
    causes += label_selector(selector, "spec.selector")
    template_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selects(selector, template_labels):
        causes.append(invalid("spec.template.metadata.labels", template_labels, "`selector` does not match template `labels`"))
    return causes


def job_spec(spec: Object, path: str) -> list[Cause]:
    counts = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes")
    causes = not_negative(spec, path, *counts)
    mode = spec.get("completionMode")
    causes += optional_one_of(f"{path}.completionMode", mode, ("NonIndexed", "Indexed"))
    if mode == "Indexed" and "completions" not in spec:
        causes.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if mode != "Indexed" and "backoffLimitPerIndex" in spec:
        causes.append(invalid(f"{path}.backoffLimitPerIndex", spec["backoffLimitPerIndex"], "requires indexed completion mode"))
    causes += pod_template(spec.get("template") or {}, f"{path}.template")
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy", "Always")
    if policy == "Always":
        causes.append(required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    return causes


def job_update(new: Object, old: Object) -> list[Cause]:
    causes = job(new)
    now, before = new.get("spec") or {}, old.get("spec") or {}
    for key in ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        causes += immutable(f"spec.{key}", now.get(key), before.get(key))
    elastic = now.get("completionMode") == "Indexed" and now.get("completions") == now.get("parallelism")
    if not elastic:
        causes += immutable("spec.completions", now.get("completions"), before.get("completions"))
    # Before its first start a suspended job may still be told where its pods go (KEP-2926).
    not_started = bool(before.get("suspend")) and "startTime" not in (old.get("status") or {})
    if _template_but_place(now, not_started) != _template_but_place(before, not_started):
        causes.append(invalid("spec.template", now.get("template"), IMMUTABLE))
    return causes


_PLACE = frozenset({"nodeSelector", "affinity", "tolerations", "schedulingGates"})


def _template_but_place(spec: Object, place_is_free: bool) -> Any:
    template = spec.get("template") or {}
    if not place_is_free:
        return template
    pod_spec = {key: value for key, value in (template.get("spec") or {}).items() if key not in _PLACE}
    meta = {key: value for key, value in (template.get("metadata") or {}).items() if key not in ("labels", "annotations")}
    return {**template, "metadata": meta, "spec": pod_spec}


def cron_job(obj: Object) -> list[Cause]:
    name = (obj.get("metadata") or {}).get("name") or ""
    causes: list[Cause] = []
    if len(name) > CRON_JOB_NAME_LENGTH_MAX:
        causes.append(invalid("metadata.name", name, f"must be no more than {CRON_JOB_NAME_LENGTH_MAX} characters"))
    spec = obj.get("spec") or {}
    schedule = spec.get("schedule", "")
    if not schedule:
        causes.append(required("spec.schedule"))
    elif "TZ" in schedule:
        causes.append(invalid("spec.schedule", schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
    elif (why := cron.fault(schedule)) is not None:
        causes.append(invalid("spec.schedule", schedule, why))
    zone = spec.get("timeZone")
    if zone is not None and (why := cron.zone_fault(zone)) is not None:
        causes.append(invalid("spec.timeZone", zone, why))
    causes += one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace"))
    causes += not_negative(spec, "spec", "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    causes += job_spec(inner, "spec.jobTemplate.spec")
    if "selector" in inner:
        causes.append(invalid("spec.jobTemplate.spec.selector", inner["selector"], "`selector` will be auto-generated"))
    if inner.get("manualSelector"):
        causes += optional_one_of("spec.jobTemplate.spec.manualSelector", "true", ("nil", "false"))
    return causes


# -- sizes and disruptions


def horizontal_pod_autoscaler(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None and least < 1:
        causes.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        causes.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        causes.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = spec.get("scaleTargetRef") or {}
    causes += [required(f"spec.scaleTargetRef.{key}") for key in ("kind", "name") if not target.get(key)]
    for at, metric in indexed(spec, "metrics", "spec"):
        if not metric.get("type"):
            causes.append(required(f"{at}.type", "must specify a metric source type"))
    return causes


def pod_disruption_budget(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    if "minAvailable" in spec and "maxUnavailable" in spec:
        causes.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for key in ("minAvailable", "maxUnavailable"):
        if key in spec:
            causes += _amount(spec, key, "spec", percent_max=100)
    causes += label_selector(spec.get("selector"), "spec.selector")
    return causes + optional_one_of("spec.unhealthyPodEvictionPolicy", spec.get("unhealthyPodEvictionPolicy"), ("AlwaysAllow", "IfHealthyBudget"))


def controller_revision(obj: Object) -> list[Cause]:
    causes = [] if obj.get("data") is not None else [required("data", "data is mandatory")]
    return causes + ([invalid("revision", obj["revision"], NOT_NEGATIVE)] if obj.get("revision", 0) < 0 else [])


def controller_revision_update(new: Object, old: Object) -> list[Cause]:
    return controller_revision(new) + immutable("data", new.get("data"), old.get("data"))


def pod_template_object(obj: Object) -> list[Cause]:
    return pod_template(obj.get("template") or {}, "template")
