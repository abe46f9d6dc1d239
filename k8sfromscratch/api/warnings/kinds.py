"""Warnings about objects of kinds other than Pods.

Source: WarningsOnCreate and WarningsOnUpdate of upstream's strategies (pkg/registry), pkg/api/service/warnings.go and its like.
"""

from collections.abc import Callable, Iterator

from k8sfromscratch.api import names
from k8sfromscratch.api.warnings.pods import DEPRECATED_NODE_LABELS, Object, fractional, node_selector_terms, pod_spec

_POD_NAMES = "this is used in Pod names and hostnames"
_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"


def pod(obj: Object) -> list[str]:
    return _hostname(obj, "this is used in the Pod's hostname") + pod_spec(obj)


def pod_template(obj: Object) -> list[str]:
    return pod_spec(obj.get("template") or {}, "template")


def workload(obj: Object) -> list[str]:
    """A Deployment, ReplicaSet, ReplicationController or Job, whose pods are called like it."""
    return _hostname(obj, _POD_NAMES) + changed_workload(obj)


def changed_workload(obj: Object) -> list[str]:
    return pod_spec(obj["spec"].get("template") or {}, "spec.template")


def job(obj: Object) -> list[str]:
    return workload(obj) + _ignored_by_jobs(obj["spec"], "spec")


def changed_job(obj: Object) -> list[str]:
    return changed_workload(obj) + _ignored_by_jobs(obj["spec"], "spec")


def stateful_set(obj: Object) -> list[str]:
    found = changed_workload(obj)
    for index, claim in enumerate(obj["spec"].get("volumeClaimTemplates") or ()):
        found += _claimed(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{index}]")
    if obj["spec"].get("revisionHistoryLimit", 0) < 0:
        found.append("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
    return found


def cron_job(obj: Object) -> list[str]:
    return _hostname(obj, _POD_NAMES) + changed_cron_job(obj)


def changed_cron_job(obj: Object) -> list[str]:
    at, spec = "spec.jobTemplate.spec", obj["spec"]["jobTemplate"]["spec"]
    return pod_spec(spec.get("template") or {}, f"{at}.template") + _ignored_by_jobs(spec, at)


def service(obj: Object) -> list[str]:
    spec = obj["spec"]
    headless = spec.get("type") == "ClusterIP" and spec.get("clusterIP") == "None"
    found = []
    if "service.kubernetes.io/topology-aware-hints" in (obj["metadata"].get("annotations") or {}):
        found.append("annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead")
    if headless:
        found += [f"spec.{field} is ignored for headless services" for field in ("loadBalancerIP", "externalIPs") if spec.get(field)]
        if spec.get("sessionAffinity", "None") != "None":
            found.append("spec.SessionAffinity is ignored for headless services")
    if spec.get("type") == "ExternalName" and spec.get("externalIPs"):
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if spec.get("type") != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def ingress(obj: Object) -> list[str]:
    if "kubernetes.io/ingress.class" in (obj["metadata"].get("annotations") or {}):
        return ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"]
    return []


def service_account(obj: Object) -> list[str]:
    key = "kubernetes.io/enforce-mountable-secrets"
    if key in (obj["metadata"].get("annotations") or {}):
        return [f"metadata.annotations[{key}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"]
    return []


def persistent_volume(obj: Object) -> list[str]:
    found = _storage_class(obj)
    if obj["spec"].get("persistentVolumeReclaimPolicy") == "Recycle":
        recycle = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."
        found.append(f"spec.persistentVolumeReclaimPolicy: {recycle}")
    terms = ((obj["spec"].get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    for index, term in enumerate(terms):
        found += node_selector_terms(term.get("matchExpressions") or [], f"spec.nodeAffinity.required.nodeSelectorTerms[{index}].matchExpressions")
    return found


def persistent_volume_claim(obj: Object) -> list[str]:
    return _storage_class(obj) + list(_claimed(obj["spec"], "spec"))


def storage_class(obj: Object) -> list[str]:
    found: list[str] = []
    for index, topology in enumerate(obj.get("allowedTopologies") or ()):
        found += node_selector_terms(topology.get("matchLabelExpressions") or [], f"allowedTopologies[{index}].matchLabelExpressions")
    return found


def runtime_class(obj: Object) -> list[str]:
    selected = (obj.get("scheduling") or {}).get("nodeSelector") or ()
    return [f"scheduling.nodeSelector: {DEPRECATED_NODE_LABELS[label]}" for label in selected if label in DEPRECATED_NODE_LABELS]


def node(obj: Object) -> list[str]:
    if (obj.get("spec") or {}).get("externalID"):
        return ["spec.externalID: this field is deprecated, and is unused by Kubernetes"]
    return []


def validating_admission_policy(obj: Object) -> list[str]:
    return ["spec.auditAnnotations: stored, and written nowhere: there is no audit log"] if obj["spec"].get("auditAnnotations") else []


def validating_admission_policy_binding(obj: Object) -> list[str]:
    if "Audit" in (obj["spec"].get("validationActions") or ()):
        return ["spec.validationActions: Audit is stored, and written nowhere: there is no audit log"]
    return []


def inert(text: str) -> Callable[[Object], list[str]]:
    """Of a kind that is stored and not acted upon here: whoever makes one learns it at once."""
    return lambda obj: [text]


def both(*checks: Callable[[Object], list[str]]) -> Callable[[Object], list[str]]:
    return lambda obj: [text for check in checks for text in check(obj)]


def _hostname(obj: Object, why: str) -> list[str]:
    """Names are subdomains, hostnames labels."""
    faults = names.dns_label(obj["metadata"].get("name", ""))
    return [f"metadata.name: {why}, which can result in surprising behavior; a DNS label is recommended: [{' '.join(faults)}]"] if faults else []


def _ignored_by_jobs(spec: Object, at: str) -> list[str]:
    found = [name for name in ("podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes") if spec.get(name) is not None]
    if spec.get("podReplacementPolicy") == "Failed" and not spec.get("podFailurePolicy"):
        found.append("podReplacementPolicy")
    return [f"{at}.{name}: stored, and ignored by the job controller" for name in found]


def _storage_class(obj: Object) -> list[str]:
    if _STORAGE_CLASS in (obj["metadata"].get("annotations") or {}):
        return [f'metadata.annotations[{_STORAGE_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead']
    return []


def _claimed(spec: Object, at: str) -> Iterator[str]:
    for field, amounts in (spec.get("resources") or {}).items():
        if field in ("limits", "requests"):
            yield from fractional(amounts or {}, ("storage",), f"{at}.resources.{field}")
