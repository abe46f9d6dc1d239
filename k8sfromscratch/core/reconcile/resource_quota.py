"""ResourceQuota's status: the limits that are in force, and what there is of what they limit.

Admission charges as objects come; here is counted anew what there is, which also gives back what went and what was charged in vain.
Source: pkg/controller/resourcequota.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from k8sfromscratch.api.registry import RESOURCE_QUOTAS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.admission.amounts import parse
from k8sfromscratch.core.admission.quota import recounted
from k8sfromscratch.core.admission.quota_usage import concerns, kind_of
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import Object, Plan, Update

RESYNC_S = 300.0
"""As upstream's --resource-quota-sync-period."""
UNWATCHED_RESYNC_S = 30.0
"""For quotas of kinds that nobody watches here: how long something that was deleted may still count."""


def kinds(quota: Object) -> frozenset[str]:
    """Which kinds must be counted, as PLURAL.GROUP."""
    found = (kind_of(name) for name in objects.spec(quota).get("hard") or {})
    return frozenset(one.group_resource if isinstance(one, Resource) else one for one in found if one is not None)


def plan(quota: Object, present: Mapping[Resource, Sequence[Object]], now: datetime, *, resync_s: float) -> Plan:
    """`present`: the objects of its namespace, by each kind that it limits."""
    if objects.deleting(quota):
        return Plan()
    status, wanted = objects.status(quota), recounted(quota, present, now)
    if all(parse(status.get(part)) == parse(wanted[part]) for part in ("hard", "used")):
        return Plan(requeue_after_s=resync_s)
    return Plan((Update(RESOURCE_QUOTAS, objects.replaced(quota, status=wanted), subresource="status"),), requeue_after_s=resync_s)


def limiting(quotas: Iterable[Object], resource: Resource) -> list[Object]:
    """Those that say something about objects of that kind."""
    return [quota for quota in quotas if concerns(resource, objects.spec(quota).get("hard") or {})]
