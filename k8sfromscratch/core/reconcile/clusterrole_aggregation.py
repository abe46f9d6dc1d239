"""A ClusterRole with an `aggregationRule` holds the rules of all ClusterRoles that its selectors match, each rule once."""

from collections.abc import Sequence

from k8sfromscratch.api.registry import CLUSTER_ROLES
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import NOTHING, Object, Patch, Plan
from k8sfromscratch.core.selectors.labels import matches


def plan(role: Object | None, roles: Sequence[Object]) -> Plan:
    """`roles`: every ClusterRole."""
    if role is None or not role.get("aggregationRule") or objects.deleting(role):
        return NOTHING
    rules: list[Object] = []
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        for other in sorted(roles, key=objects.name):
            if objects.uid(other) != objects.uid(role) and matches(selector, objects.labels(other)):
                rules += [rule for rule in other.get("rules") or () if rule not in rules]
    if rules == (role.get("rules") or []):
        return NOTHING
    return Plan((Patch(CLUSTER_ROLES, None, objects.name(role), {"metadata": {"uid": objects.uid(role)}, "rules": rules}),))
