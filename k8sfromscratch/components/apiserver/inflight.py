"""How many requests may be in service at once: changing ones, reading ones, and long-running ones which are not counted.

A burst beyond the bound is told to come again (429) before it costs anything; system:masters are exempt, so that an
administrator can always look.  Source: apiserver/pkg/server/filters/maxinflight.go.
"""

from k8sfromscratch.api.errors import TooManyRequests
from k8sfromscratch.components.apiserver.metrics import Metrics
from k8sfromscratch.components.apiserver.request_info import RequestInfo
from k8sfromscratch.core.authz.types import UserInfo

_CHANGING = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_STREAMS = frozenset({"exec", "attach", "portforward", "proxy", "log"})
_EXEMPT = "system:masters"


def is_long_running(info: RequestInfo) -> bool:
    return info.verb == "watch" or info.subresource in _STREAMS


class InFlight:
    def __init__(self, reading_max: int, changing_max: int, metrics: Metrics) -> None:
        """0 means no limit."""
        self._limits = {"readOnly": reading_max, "mutating": changing_max}
        self._counts = {"readOnly": 0, "mutating": 0}
        self._metrics = metrics

    def enter(self, info: RequestInfo, user: UserInfo) -> str:
        """For a request that is not long-running; `leave` takes what this returns.  Raises TooManyRequests."""
        kind = "mutating" if info.verb in _CHANGING else "readOnly"
        if 0 < self._limits[kind] <= self._counts[kind] and _EXEMPT not in user.groups:
            self._metrics.rejected(kind)
            raise TooManyRequests("Too many requests, please try again later.", retry_after_s=1)
        self._counts[kind] += 1
        return kind

    def leave(self, kind: str) -> None:
        self._counts[kind] -= 1

    def publish(self) -> None:
        for kind, count in self._counts.items():
            self._metrics.inflight(kind, count)
