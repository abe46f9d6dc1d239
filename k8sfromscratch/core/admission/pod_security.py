"""PodSecurity: pods meet the standard that their namespace's labels name.

    a pod          violates what is enforced: refused; violates what is warned of: a Warning header
    a workload     its template violates what is warned of: a Warning header, long before its pods are refused
    a namespace    its labels must be right; where more is enforced than before, a Warning header names the pods that would not pass

Nobody is exempt.  There is no audit log, so what `audit` asks for is told nowhere.  Source: k8s.io/pod-security-admission/admission.
"""

from collections.abc import Callable, Mapping

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    POD_TEMPLATES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.admission.pod_security_baseline import Subject
from k8sfromscratch.core.admission.pod_security_policy import ALLOWS_ALL, Policy, Standard, evaluate, policy_of, told
from k8sfromscratch.core.admission.types import AdmissionRequest, Object, View

# A label on a namespace must not take long, however many pods are in it.
_PODS_CHECKED_MAX = 3000

_IGNORED_SUBRESOURCES = frozenset({"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"})


def _in_spec(obj: Object) -> Object | None:
    return (obj.get("spec") or {}).get("template")


def _in_cron_job(obj: Object) -> Object | None:
    return _in_spec((obj.get("spec") or {}).get("jobTemplate") or {})


TEMPLATES: Mapping[Resource, Callable[[Object], Object | None]] = {
    POD_TEMPLATES: lambda obj: obj.get("template"),
    CRON_JOBS: _in_cron_job,
    **dict.fromkeys((REPLICATION_CONTROLLERS, REPLICA_SETS, DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS, JOBS), _in_spec),
}


class PodSecurity:
    name = "PodSecurity"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        return

    def validate(self, request: AdmissionRequest, view: View) -> None:
        obj = request.obj
        if obj is None or request.operation not in ("CREATE", "UPDATE"):
            return
        if request.resource == PODS:
            if request.subresource not in _IGNORED_SUBRESOURCES and (request.old is None or _significant(obj, request.old)):
                self._pod(request, obj, _policy(request, view))
        elif request.resource == NAMESPACES:
            if not request.subresource:
                self._namespace(request, obj, view)
        elif request.resource in TEMPLATES and not request.subresource:
            template = TEMPLATES[request.resource](obj)
            if template is not None:
                _warn(request, _subject(template), _policy(request, view).warn)

    @staticmethod
    def _pod(request: AdmissionRequest, pod: Object, policy: Policy) -> None:
        if policy is ALLOWS_ALL:
            return
        subject = _subject(pod)
        findings = evaluate(subject, policy.enforce)
        if findings:
            raise request.refused(f'violates PodSecurity "{policy.enforce}": {told(findings)}')
        _warn(request, subject, policy.warn)

    @staticmethod
    def _namespace(request: AdmissionRequest, namespace: Object, view: View) -> None:
        policy, causes = policy_of(namespace["metadata"].get("labels"))
        before, old_causes = policy_of(((request.old or {}).get("metadata") or {}).get("labels"))
        if causes and (request.old is None or causes != old_causes):
            raise errors.invalid(NAMESPACES.kind, request.name, NAMESPACES.group, causes)
        new, old = policy.enforce, before.enforce
        if request.old is None or new == old or new.level == "privileged" or (new.minor == old.minor and new.strictness <= old.strictness):
            return
        for text in _existing_pods(request.name, new, view):
            request.warn(text)


def _policy(request: AdmissionRequest, view: View) -> Policy:
    namespace = view.get(NAMESPACES, request.namespace)
    return policy_of((namespace or {}).get("metadata", {}).get("labels"))[0]


def _subject(pod: Object) -> Subject:
    return Subject(pod.get("metadata") or {}, pod.get("spec") or {})


def _warn(request: AdmissionRequest, subject: Subject, standard: Standard) -> None:
    findings = evaluate(subject, standard)
    if findings:
        request.warn(f'would violate PodSecurity "{standard}": {told(findings)}')


def _existing_pods(namespace: str, enforce: Standard, view: View) -> list[str]:
    pods = view.list(PODS, namespace)
    by_reason: dict[str, list[str]] = {}
    for pod in pods[:_PODS_CHECKED_MAX]:
        reasons = ", ".join(finding.reason for finding in evaluate(_subject(pod), enforce))
        if reasons:
            by_reason.setdefault(reasons, []).append(pod["metadata"]["name"])
    warnings = []
    if len(pods) > _PODS_CHECKED_MAX:
        warnings.append(f"new PodSecurity enforce level only checked against the first {_PODS_CHECKED_MAX} of {len(pods)} existing pods")
    if by_reason:
        warnings.append(f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{enforce}"')
    return warnings + sorted(f"{_counted(names)}: {reasons}" for reasons, names in by_reason.items())


def _counted(names: list[str]) -> str:
    """The first by name stands for all."""
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other pod{'' if others == 1 else 's'})"


def _significant(pod: Object, old: Object) -> bool:
    """Of what an update may change, only images, seccomp's old annotations and new ephemeral containers can matter."""
    if _seccomp_annotations(pod) != _seccomp_annotations(old):
        return True
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        before = {container["name"]: container.get("image") for container in old["spec"].get(kind) or ()}
        if any(before.get(container["name"], ...) != container.get("image") for container in pod["spec"].get(kind) or ()):
            return True
    return False


def _seccomp_annotations(pod: Object) -> dict[str, str]:
    return {key: value for key, value in (pod["metadata"].get("annotations") or {}).items() if "seccomp.security.alpha.kubernetes.io/" in key}
