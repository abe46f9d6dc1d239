"""From requests and limits to what the kernel understands: cpu shares and quota, a memory limit, an OOM score.

Source: the cgroup documents of the kernel, and upstream's kubelet for the constants.
"""

from k8sfromscratch.api.quantity import parse_bytes, parse_cpu_m

from .qos import qos_class
from .runtime_config import Resources
from .spec import Object

CPU_PERIOD_US = 100_000
CPU_QUOTA_US_MIN = 1000
CPU_SHARES_MIN, CPU_SHARES_MAX = 2, 262_144
SHARES_PER_CPU = 1024

OOM_SCORE_GUARANTEED = -997
OOM_SCORE_BEST_EFFORT = 1000
CRITICAL_PRIORITY = 2_000_000_000
"""From here on a pod is one of the system's own, never to be killed for memory before others."""


def cpu_shares(cpu_m: int) -> int:
    return min(max(cpu_m * SHARES_PER_CPU // 1000, CPU_SHARES_MIN), CPU_SHARES_MAX)


def cpu_quota_us(cpu_m: int) -> int:
    """Zero for no limit."""
    return max(cpu_m * CPU_PERIOD_US // 1000, CPU_QUOTA_US_MIN) if cpu_m > 0 else 0


def container_resources(pod: Object, container: Object, memory_capacity_bytes: int) -> Resources:
    amounts = container.get("resources") or {}
    limits, requests = amounts.get("limits") or {}, amounts.get("requests") or {}
    limit_m = parse_cpu_m(str(limits.get("cpu", "0")))
    request_m = parse_cpu_m(str(requests["cpu"])) if "cpu" in requests else limit_m
    return Resources(
        cpu_shares=cpu_shares(request_m),
        cpu_quota_us=cpu_quota_us(limit_m),
        cpu_period_us=CPU_PERIOD_US,
        memory_limit_bytes=parse_bytes(str(limits.get("memory", "0"))),
        oom_score_adj=oom_score(pod, container, memory_capacity_bytes),
    )


def oom_score(pod: Object, container: Object, memory_capacity_bytes: int) -> int:
    """The more of its machine a burstable container requested, the later it is killed; always between the two other classes."""
    if int(pod["spec"].get("priority") or 0) >= CRITICAL_PRIORITY:
        return OOM_SCORE_GUARANTEED
    match qos_class(pod):
        case "Guaranteed":
            return OOM_SCORE_GUARANTEED
        case "BestEffort":
            return OOM_SCORE_BEST_EFFORT
    amounts = container.get("resources") or {}
    wanted = (amounts.get("requests") or {}).get("memory") or (amounts.get("limits") or {}).get("memory") or "0"
    score = 1000 - 1000 * parse_bytes(str(wanted)) // max(memory_capacity_bytes, 1)
    return min(max(score, 1000 + OOM_SCORE_GUARANTEED), OOM_SCORE_BEST_EFFORT - 1)
