"""Whether a pod may be evicted, by its PodDisruptionBudget.  Pure.

Source: pkg/registry/core/pod/storage/eviction.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from k8sfromscratch.api import errors
from k8sfromscratch.core.selectors.labels import matches

Object = dict[str, Any]

# So many evictions can be under way before the disruption controller has counted them: then it must catch up first.
_DISRUPTED_PODS_MAX = 2000

_PROCESSED_AFTER_S = 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """The budget that the eviction must be charged to; None where none need be asked."""

    budget: Object | None = None

    @property
    def budget_name(self) -> str:
        return self.budget["metadata"]["name"] if self.budget else ""


def judge_eviction(pod: Object, budgets: Sequence[Object]) -> Verdict:
    """Raises TooManyRequests when the budget allows no disruption now."""
    status = pod.get("status") or {}
    if is_over(pod) or status.get("phase") == "Pending":
        return Verdict()
    mine = [budget for budget in budgets if matches((budget.get("spec") or {}).get("selector"), pod["metadata"].get("labels") or {})]
    if not mine:
        return Verdict()
    if len(mine) > 1:
        raise errors.InternalError("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
    budget = mine[0]
    if not _is_ready(status) and _unready_may_go(budget):
        return Verdict()
    _charge(budget)
    return Verdict(budget)


def is_over(pod: Object) -> bool:
    """Whatever becomes of it now, it disrupts nothing more."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed") or bool(pod["metadata"].get("deletionTimestamp"))


def with_disruption(budget: Object, pod_name: str, now: str) -> Object:
    """The budget after the eviction; the disruption controller recomputes it when it sees the pod gone."""
    _charge(budget)
    status = budget["status"]
    disrupted = {**(status.get("disruptedPods") or {}), pod_name: now}
    return {**budget, "status": {**status, "disruptionsAllowed": status["disruptionsAllowed"] - 1, "disruptedPods": disrupted}}


def _charge(budget: Object) -> None:
    status, name = budget.get("status") or {}, budget["metadata"]["name"]
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _refused(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            f"The disruption budget {name} is still being processed by the server.",
            retry_after_s=_PROCESSED_AFTER_S,
        )
    if status.get("disruptionsAllowed", 0) <= 0:
        have, need = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        raise _refused(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            f"The disruption budget {name} needs {need} healthy pods and has {have} currently",
        )
    if len(status.get("disruptedPods") or {}) > _DISRUPTED_PODS_MAX:
        raise _refused(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        )


def _refused(message: str, why: str, retry_after_s: int | None = None) -> errors.TooManyRequests:
    """Without a time to retry after, where nobody knows one: client libraries sleep and repeat by themselves what has one, ten times,
    so that `kubectl drain` could neither say why it waits nor keep to its timeout."""
    return errors.TooManyRequests(message, details={"causes": [{"reason": "DisruptionBudget", "message": why}]}, retry_after_s=retry_after_s)


def _is_ready(status: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])


def _unready_may_go(budget: Object) -> bool:
    status = budget.get("status") or {}
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    return bool(status.get("desiredHealthy", 0) > 0 and status.get("currentHealthy", 0) >= status["desiredHealthy"])
