"""Upstream's workqueue metrics, one set for all controllers of the process, told apart by `name`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = tuple(10.0**exponent for exponent in range(-8, 2))


class WorkQueueMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, ["name"], registry=registry, buckets=_SECONDS)

        self.adds = Counter("workqueue_adds", "Keys that were added", ["name"], registry=registry)
        self.retries = Counter("workqueue_retries", "Keys that were added again after a failure", ["name"], registry=registry)
        self.depth = Gauge("workqueue_depth", "Keys that wait", ["name"], registry=registry)
        self.queue_duration = histogram("workqueue_queue_duration_seconds", "How long keys wait before they are worked on")
        self.work_duration = histogram("workqueue_work_duration_seconds", "How long work on a key takes")
        self.unfinished = Gauge("workqueue_unfinished_work_seconds", "Work under way that the work duration does not show yet", ["name"], registry=registry)
        self.longest = Gauge("workqueue_longest_running_processor_seconds", "The longest work under way", ["name"], registry=registry)
