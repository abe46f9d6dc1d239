"""LimitRanger: a namespace's LimitRanges give containers their default requests and limits, and hold pods and claims to bounds.

Defaults are written before validation, so that they count for everything that comes after (quality of service, quota); what was set
is told in the annotation `kubernetes.io/limit-ranger`.  Source: plugin/pkg/admission/limitranger.
"""

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal

from k8sfromscratch.api.registry import LIMIT_RANGES, PERSISTENT_VOLUME_CLAIMS, PODS
from k8sfromscratch.core.admission.amounts import Amount, Amounts, parse, pod_limits, pod_requests
from k8sfromscratch.core.admission.types import AdmissionRequest, Object, View

ANNOTATION = "kubernetes.io/limit-ranger"
# A ratio up to this is compared in thousandths.
_MILLI_VALUE_MAX = Decimal((2**63 - 1) // 1000)


class LimitRanger:
    name = "LimitRanger"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        if request.resource != PODS or not _concerned(request):
            return
        assert request.obj is not None
        for limit_range in view.list(LIMIT_RANGES, request.namespace):
            _set_defaults(request.obj, limit_range)

    def validate(self, request: AdmissionRequest, view: View) -> None:
        if not _concerned(request):
            return
        assert request.obj is not None
        for limit_range in view.list(LIMIT_RANGES, request.namespace):
            items = (limit_range.get("spec") or {}).get("limits") or ()
            problems = [text for item in items for text in (_of_pod if request.resource == PODS else _of_claim)(request.obj, item)]
            if problems:
                raise request.refused(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")


def _concerned(request: AdmissionRequest) -> bool:
    """New pods and pods that are resized (nothing else changes what a container asks for), and claims."""
    if request.obj is None or (request.old is not None and request.old["metadata"].get("deletionTimestamp")):
        return False
    if request.resource == PODS:
        return (request.operation, request.subresource) in (("CREATE", ""), ("UPDATE", "resize"))
    return request.resource == PERSISTENT_VOLUME_CLAIMS and request.operation in ("CREATE", "UPDATE") and not request.subresource


def _set_defaults(pod: Object, limit_range: Object) -> None:
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for item in (limit_range.get("spec") or {}).get("limits") or ():
        if item.get("type") == "Container":
            requests |= item.get("defaultRequest") or {}
            limits |= item.get("default") or {}
    told = []
    for kind, word in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(kind) or ():
            told += _set(container, "requests", requests, f"request for {word}") + _set(container, "limits", limits, f"limit for {word}")
    if told:
        pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), ANNOTATION: f"LimitRanger plugin set: {'; '.join(told)}"}


def _set(container: Object, part: str, defaults: Mapping[str, str], what: str) -> list[str]:
    resources = container.get("resources") or {}
    missing = {name: amount for name, amount in defaults.items() if name not in (resources.get(part) or {})}
    if not missing:
        return []
    container["resources"] = {**resources, part: {**(resources.get(part) or {}), **missing}}
    # Not validated yet: a container without a name is refused afterwards.
    return [f"{', '.join(sorted(missing))} {what} {container.get('name', '')}"]


def _of_pod(pod: Object, item: Object) -> list[str]:
    kind, spec = item.get("type"), pod["spec"]
    if kind == "Pod":
        return _bounds("Pod", item, pod_requests(pod), pod_limits(pod))
    if kind != "Container":
        return []
    problems = []
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        problems += _bounds("Container", item, parse(resources.get("requests")), parse(resources.get("limits")))
    return problems


def _of_claim(claim: Object, item: Object) -> list[str]:
    """A claim has requests only, and its maximum is one of them."""
    if item.get("type") != "PersistentVolumeClaim":
        return []
    requests = parse((claim["spec"].get("resources") or {}).get("requests"))
    problems = [text for name, least in sorted(parse(item.get("min")).items()) for text in _min("PersistentVolumeClaim", name, least, requests, {})]
    for name, most in sorted(parse(item.get("max")).items()):
        what = f"maximum {name} usage per PersistentVolumeClaim is {most}"
        if name not in requests:
            problems.append(f"{what}.  No request is specified")
        elif requests[name].value > most.value:
            problems.append(f"{what}, but request is {requests[name]}")
    return problems


def _bounds(kind: str, item: Object, requests: Amounts, limits: Amounts) -> list[str]:
    problems = []
    for name, least in sorted(parse(item.get("min")).items()):
        problems += _min(kind, name, least, requests, limits)
    for name, most in sorted(parse(item.get("max")).items()):
        problems += _max(kind, name, most, requests, limits)
    for name, ratio in sorted(parse(item.get("maxLimitRequestRatio")).items()):
        problems += _ratio(kind, name, ratio, requests, limits)
    return problems


def _min(kind: str, name: str, least: Amount, requests: Amounts, limits: Amounts) -> list[str]:
    what = f"minimum {name} usage per {kind} is {least}"
    if name not in requests:
        return [f"{what}.  No request is specified"]
    if requests[name].value < least.value:
        return [f"{what}, but request is {requests[name]}"]
    if name in limits and limits[name].value < least.value:
        return [f"{what}, but limit is {limits[name]}"]
    return []


def _max(kind: str, name: str, most: Amount, requests: Amounts, limits: Amounts) -> list[str]:
    what = f"maximum {name} usage per {kind} is {most}"
    if name not in limits:
        return [f"{what}.  No limit is specified"]
    if limits[name].value > most.value:
        return [f"{what}, but limit is {limits[name]}"]
    if name in requests and requests[name].value > most.value:
        return [f"{what}, but request is {requests[name]}"]
    return []


def _ratio(kind: str, name: str, most: Amount, requests: Amounts, limits: Amounts) -> list[str]:
    what = f"{name} max limit to request ratio per {kind} is {most}"
    if name not in requests or not requests[name].value:
        return [f"{what}, but no request is specified or request is 0"]
    if name not in limits or not limits[name].value:
        return [f"{what}, but no limit is specified or limit is 0"]
    observed = limits[name].value / requests[name].value
    bound = most.value if most.value <= _MILLI_VALUE_MAX else most.value.to_integral_value(ROUND_CEILING)
    return [f"{what}, but provided ratio is {observed:.6f}"] if observed > bound else []
