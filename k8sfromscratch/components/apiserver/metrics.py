"""The apiserver's own figures, under upstream's names.

What every request counts is counted in plain lists, and becomes prometheus_client's families when somebody asks: its own counters lock and
look up, which cost more than the request's authorization.
"""

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from k8sfromscratch.components.apiserver.request_info import RequestInfo

# Upstream's buckets of apiserver_request_duration_seconds, thinned to those that dashboards and SLO rules use.
_DURATION_S = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_LES = (*(str(float(bound)) for bound in _DURATION_S), "+Inf")
_LABELS = ("verb", "group", "version", "resource", "subresource", "scope", "component")
# Combinations are bounded by what is served, but for verbs and codes that clients make up: those beyond are counted together.
_KEPT_MAX = 20_000
_OTHERS = ("", "", "", "", "", "")


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = _Requests()
        self.registry.register(self._requests)
        self._inflight = Gauge("apiserver_current_inflight_requests", "Requests being served now, by kind.", ("request_kind",), registry=self.registry)
        self._long_running = Gauge("apiserver_longrunning_requests", "Watches and streams that are open now.", ("verb", "resource"), registry=self.registry)
        self._objects = Gauge("apiserver_storage_objects", "Objects stored, by resource.", ("resource",), registry=self.registry)
        self._rejected = Counter(
            "apiserver_flowcontrol_rejected_requests", "Requests refused because too many were in flight.", ("request_kind",), registry=self.registry
        )

    def observe(self, info: RequestInfo, served: bool, code: int, duration_s: float | None) -> None:
        """`served` false: what the path names is the client's invention, and does not become a label.  Long-running requests have no
        latency worth the name: None."""
        self._requests.observe((info.verb, info.group, info.version, info.resource, info.subresource, info.scope) if served else _OTHERS, code, duration_s)

    def inflight(self, kind: str, count: int) -> None:
        self._inflight.labels(kind).set(count)

    def rejected(self, kind: str) -> None:
        self._rejected.labels(kind).inc()

    def long_running(self, info: RequestInfo, change: int) -> None:
        self._long_running.labels(info.verb.upper(), info.resource).inc(change)

    def objects(self, resource: str, count: int) -> None:
        self._objects.labels(resource).set(count)


class _Durations:
    """Of one kind of request: how many ended in which bucket, and their sum."""

    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * len(_LES)
        self.sum_s = 0.0


class _Requests(Collector):
    def __init__(self) -> None:
        self._counts: dict[tuple[tuple[str, ...], int], int] = {}
        self._durations: dict[tuple[str, ...], _Durations] = {}

    def observe(self, kind: tuple[str, ...], code: int, duration_s: float | None) -> None:
        counts = self._counts
        key = (kind, code)
        if key not in counts and len(counts) >= _KEPT_MAX:
            kind, key = _OTHERS, (_OTHERS, code)
        counts[key] = counts.get(key, 0) + 1
        if duration_s is None:
            return
        durations = self._durations.get(kind)
        if durations is None:
            durations = self._durations[kind] = _Durations()
        durations.buckets[bisect_left(_DURATION_S, duration_s)] += 1
        durations.sum_s += duration_s

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("apiserver_request", "Requests, by what they were about and how they ended.", labels=(*_LABELS, "code"))
        for (kind, code), count in self._counts.items():
            requests.add_metric([*_labels(kind), str(code)], count)
        yield requests
        durations = HistogramMetricFamily("apiserver_request_duration_seconds", "Time from a request's arrival to its answer.", labels=_LABELS)
        for kind, found in self._durations.items():
            total, buckets = 0, []
            for le, count in zip(_LES, found.buckets, strict=True):
                total += count
                buckets.append((le, float(total)))
            durations.add_metric(_labels(kind), buckets, found.sum_s)
        yield durations


def _labels(kind: tuple[str, ...]) -> list[str]:
    return [kind[0].upper(), *kind[1:], "apiserver"]
