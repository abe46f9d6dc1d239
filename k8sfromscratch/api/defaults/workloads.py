"""What makes pods: Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs, ReplicationControllers; and autoscalers."""

from k8sfromscratch.api.defaults import pods, volumes
from k8sfromscratch.api.defaults.fill import Object, child, if_absent, if_empty, objects

REVISION_HISTORY_LIMIT = 10
PROGRESS_DEADLINE_S = 600
BACKOFF_LIMIT = 6
UNLIMITED = 2**31 - 1


def deployment(obj: Object) -> None:
    spec = child(obj, "spec")
    pods.pod_template(spec)
    if_absent(spec, replicas=1, revisionHistoryLimit=REVISION_HISTORY_LIMIT, progressDeadlineSeconds=PROGRESS_DEADLINE_S)
    strategy = child(spec, "strategy")
    if_empty(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        if_absent(child(strategy, "rollingUpdate"), maxUnavailable="25%", maxSurge="25%")


def replica_set(obj: Object) -> None:
    spec = child(obj, "spec")
    pods.pod_template(spec)
    if_absent(spec, replicas=1)


def replication_controller(obj: Object) -> None:
    spec = child(obj, "spec")
    pods.pod_template(spec)
    labels = (spec["template"].get("metadata") or {}).get("labels")
    if labels:
        if_empty(spec, selector=dict(labels))
        if_empty(child(obj, "metadata"), labels=dict(labels))
    if_absent(spec, replicas=1)


def stateful_set(obj: Object) -> None:
    spec = child(obj, "spec")
    pods.pod_template(spec)
    if_empty(spec, podManagementPolicy="OrderedReady")
    strategy = child(spec, "updateStrategy")
    if_empty(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        if_absent(child(strategy, "rollingUpdate"), partition=0, maxUnavailable=1)
    if_empty(child(spec, "persistentVolumeClaimRetentionPolicy"), whenDeleted="Retain", whenScaled="Retain")
    if_absent(spec, replicas=1, revisionHistoryLimit=REVISION_HISTORY_LIMIT)
    for claim in objects(spec, "volumeClaimTemplates"):
        if_empty(claim, apiVersion="v1", kind="PersistentVolumeClaim")
        volumes.persistent_volume_claim(claim)


def daemon_set(obj: Object) -> None:
    spec = child(obj, "spec")
    pods.pod_template(spec)
    strategy = child(spec, "updateStrategy")
    if_empty(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        if_absent(child(strategy, "rollingUpdate"), maxUnavailable=1, maxSurge=0)
    if_absent(spec, revisionHistoryLimit=REVISION_HISTORY_LIMIT)


def job(obj: Object) -> None:
    spec = child(obj, "spec")
    pods.pod_template(spec)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    if_absent(
        spec,
        parallelism=1,
        backoffLimit=UNLIMITED if "backoffLimitPerIndex" in spec else BACKOFF_LIMIT,
        completionMode="NonIndexed",
        suspend=False,
        manualSelector=False,
        podReplacementPolicy="Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
    )
    for rule in objects(spec.get("podFailurePolicy") or {}, "rules"):
        for pattern in objects(rule, "onPodConditions"):
            if_empty(pattern, status="True")
    labels = (spec["template"].get("metadata") or {}).get("labels")
    if labels:
        if_empty(child(obj, "metadata"), labels=dict(labels))


def cron_job(obj: Object) -> None:
    spec = child(obj, "spec")
    pods.pod_template(child(child(spec, "jobTemplate"), "spec"))
    if_empty(spec, concurrencyPolicy="Allow")
    if_absent(spec, suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)


def pod_template(obj: Object) -> None:
    pods.pod_template(obj)


# -- horizontal pod autoscalers

CPU_UTILIZATION_PERCENT = 80


def horizontal_pod_autoscaler(obj: Object) -> None:
    spec = child(obj, "spec")
    if_absent(spec, minReplicas=1)
    target = {"type": "Utilization", "averageUtilization": CPU_UTILIZATION_PERCENT}
    if_empty(spec, metrics=[{"type": "Resource", "resource": {"name": "cpu", "target": target}}])
    behavior = spec.get("behavior") or {}
    if behavior:
        pods_or_percent = [{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]
        if_absent(child(behavior, "scaleUp"), stabilizationWindowSeconds=0, selectPolicy="Max", policies=pods_or_percent)
        if_absent(child(behavior, "scaleDown"), selectPolicy="Max", policies=[{"type": "Percent", "value": 100, "periodSeconds": 15}])


def horizontal_pod_autoscaler_v1(obj: Object) -> None:
    if_absent(child(obj, "spec"), minReplicas=1)
