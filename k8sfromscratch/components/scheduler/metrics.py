"""Upstream's scheduler metrics."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384)


class SchedulerMetrics:
    def __init__(self, registry: CollectorRegistry, profile: str) -> None:
        self._profile = profile
        self._attempts = Counter("scheduler_schedule_attempts", "Attempts to schedule pods, by the result", ["result", "profile"], registry=registry)
        self._duration = Histogram(
            "scheduler_scheduling_attempt_duration_seconds",
            "Scheduling attempt latency with binding",
            ["result", "profile"],
            registry=registry,
            buckets=_BUCKETS_S,
        )
        self._pending = Gauge("scheduler_pending_pods", "Pending pods, by where they wait", ["queue"], registry=registry)

    def attempt(self, result: str, duration_s: float) -> None:
        self._attempts.labels(result, self._profile).inc()
        self._duration.labels(result, self._profile).observe(duration_s)

    def show_pending(self, counts: Mapping[str, int]) -> None:
        for queue, count in counts.items():
            self._pending.labels(queue).set(count)
