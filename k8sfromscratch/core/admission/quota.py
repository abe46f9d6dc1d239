"""ResourceQuota: what a request would use more, whether each of its namespace's quotas has room for that, and a quota's whole usage.

    request ──delta()──► amounts ──concerning()──► the quotas that are about it ──charged()──► their status with the new usage, or Forbidden

`status.hard` counts, not `spec.hard`: the resourcequota controller copies it once it has counted what is there.  Nothing is charged here;
that is a compare-and-swap of the quota's status in the apiserver (`components.apiserver.quota`), before the object itself is written.
Source: apiserver/pkg/admission/plugin/resourcequota.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from k8sfromscratch.api.registry import PERSISTENT_VOLUME_CLAIMS, PODS, SERVICES
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.admission.amounts import ZERO, Amounts, added, parse, subtracted, texts
from k8sfromscratch.core.admission.quota_scopes import matches
from k8sfromscratch.core.admission.quota_usage import concerns, kind_of, unsaid, usage
from k8sfromscratch.core.admission.types import AdmissionRequest, Object

_CHANGING = frozenset({(SERVICES, ""), (PERSISTENT_VOLUME_CLAIMS, ""), (PODS, "resize")})
"""(kind, subresource) whose updates can use more."""


def handles(request: AdmissionRequest) -> bool:
    if request.obj is None or not request.resource.namespaced:
        return False
    if request.operation == "CREATE":
        return not request.subresource
    return request.operation == "UPDATE" and (request.resource, request.subresource) in _CHANGING


def delta(request: AdmissionRequest, now: datetime) -> Amounts:
    """What it uses more than before; amounts of zero are left out.  Raises Forbidden on a negative use."""
    assert request.obj is not None
    used = usage(request.resource, request.obj, now)
    negative = sorted(name for name, amount in used.items() if amount.value < 0)
    if negative:
        raise request.refused(f"quota usage is negative for resource(s): {','.join(negative)}")
    if request.old is not None:
        used = subtracted(used, usage(request.resource, request.old, now))
    return {name: amount for name, amount in used.items() if amount.value}


def concerning(request: AdmissionRequest, quotas: Iterable[Object]) -> list[Object]:
    """Raises Forbidden where a quota needs the object to say what it does not, or has not been counted yet."""
    assert request.obj is not None
    found = []
    for quota in quotas:
        hard = _hard(quota)
        if not concerns(request.resource, hard) or not matches(quota, request.resource, request.obj):
            continue
        name = quota["metadata"]["name"]
        missing = unsaid(request.obj, hard) if request.resource == PODS else ""
        if missing:
            raise request.refused(f"failed quota: {name}: must specify {missing}")
        uncounted = sorted(one for one in hard if _is_of(request.resource, one) and one not in (quota["status"].get("used") or {}))
        if uncounted:
            raise request.refused(f"status unknown for quota: {name}, resources: {','.join(uncounted)}")
        found.append(quota)
    return found


def charged(request: AdmissionRequest, quota: Object, more: Amounts) -> Object:
    """The quota with `more` used of it.  Raises Forbidden where that is not left."""
    status = quota.get("status") or {}
    hard, used = parse(status.get("hard")), parse(status.get("used"))
    asked = {name: amount for name, amount in more.items() if name in hard}
    exceeded = sorted(name for name, amount in asked.items() if amount.value > 0 and (used.get(name, ZERO) + amount).value > hard[name].value)
    if exceeded:
        parts = (f"{what}: {_listed(amounts, exceeded)}" for what, amounts in (("requested", asked), ("used", used), ("limited", hard)))
        raise request.refused(f"exceeded quota: {quota['metadata']['name']}, {', '.join(parts)}")
    if not asked:
        return quota
    return {**quota, "status": {**status, "used": texts(added(used, asked))}}


def recounted(quota: Object, objects: Mapping[Resource, Sequence[Object]], now: datetime) -> Object:
    """The status that a quota should have: what `spec.hard` says, and what there is of that.  `objects`: those of its namespace, by kind."""
    hard = parse((quota.get("spec") or {}).get("hard"))
    used: Amounts = dict.fromkeys(hard, ZERO)
    for resource, present in objects.items():
        for obj in present:
            if matches(quota, resource, obj):
                used = added(used, {name: amount for name, amount in usage(resource, obj, now).items() if name in hard})
    return {"hard": texts(hard), "used": texts(used)}


def _hard(quota: Object) -> Mapping[str, str]:
    return (quota.get("status") or {}).get("hard") or {}


def _is_of(resource: Resource, name: str) -> bool:
    return kind_of(name) in (resource, resource.group_resource)


def _listed(amounts: Amounts, names: Sequence[str]) -> str:
    return ",".join(f"{name}={amounts.get(name, ZERO)}" for name in names)
