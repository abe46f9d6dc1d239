"""The apiserver's own figures, under upstream's names.

Children of a labelled metric are looked up once for each combination and kept: the lookup costs more than the count.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from k8sfromscratch.components.apiserver.request_info import RequestInfo

# Upstream's buckets of apiserver_request_duration_seconds, thinned to those that dashboards and SLO rules use.
_DURATION_S = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
# Combinations are bounded by what is served, but for verbs and codes that clients make up.
_KEPT_MAX = 20_000


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("verb", "group", "version", "resource", "subresource", "scope", "component")
        self._requests = Counter("apiserver_request", "Requests, by what they were about and how they ended.", (*labels, "code"), registry=self.registry)
        self._durations = Histogram(
            "apiserver_request_duration_seconds", "Time from a request's arrival to its answer.", labels, registry=self.registry, buckets=_DURATION_S
        )
        self._inflight = Gauge("apiserver_current_inflight_requests", "Requests being served now, by kind.", ("request_kind",), registry=self.registry)
        self._long_running = Gauge("apiserver_longrunning_requests", "Watches and streams that are open now.", ("verb", "resource"), registry=self.registry)
        self._objects = Gauge("apiserver_storage_objects", "Objects stored, by resource.", ("resource",), registry=self.registry)
        self._rejected = Counter(
            "apiserver_flowcontrol_rejected_requests", "Requests refused because too many were in flight.", ("request_kind",), registry=self.registry
        )
        self._kept: dict[tuple[str, ...], tuple[Counter, Histogram | None]] = {}

    def observe(self, info: RequestInfo, served: bool, code: int, duration_s: float | None) -> None:
        """`served` false: what the path names is the client's invention, and does not become a label."""
        key = (
            (info.verb.upper(), info.group, info.version, info.resource, info.subresource, info.scope, str(code))
            if served
            else ("", "", "", "", "", "", str(code))
        )
        children = self._kept.get(key)
        if children is None:
            labels = (*key[:6], "apiserver")
            # Long-running requests have no latency worth the name.
            children = (self._requests.labels(*labels, key[6]), self._durations.labels(*labels) if duration_s is not None else None)
            if len(self._kept) < _KEPT_MAX:
                self._kept[key] = children
        children[0].inc()
        if children[1] is not None and duration_s is not None:
            children[1].observe(duration_s)

    def inflight(self, kind: str, count: int) -> None:
        self._inflight.labels(kind).set(count)

    def rejected(self, kind: str) -> None:
        self._rejected.labels(kind).inc()

    def long_running(self, info: RequestInfo, change: int) -> None:
        self._long_running.labels(info.verb.upper(), info.resource).inc(change)

    def objects(self, resource: str, count: int) -> None:
        self._objects.labels(resource).set(count)
