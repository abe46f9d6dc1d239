"""Which pod is next: upstream's three places for a pod that waits.

    active          a heap by priority (higher first), then by time of arrival: popped one by one
    backoff         failed, and something has changed that may help: comes back when its time is over (1 s doubling to 10 s)
    unschedulable   failed, and nothing has changed: waits for an event that one of the refusing plugins cares about, 5 minutes at most

    invariant: a pod's key is in exactly one place, or in flight (popped, not yet done).

An event that arrives while a pod is in flight must not be lost: `move` counts its cycle, and a failure that was popped
before the last move goes to backoff instead of unschedulable.
"""

import heapq
from dataclasses import dataclass, field
from typing import Literal

from k8sfromscratch.core.scheduling.pod import PodInfo

INITIAL_BACKOFF_S = 1.0
MAX_BACKOFF_S = 10.0
MAX_UNSCHEDULABLE_S = 300.0

Change = Literal["node", "node-freed", "pod-assigned", "pod-updated", "all"]

HELPS: dict[Change, frozenset[str]] = {
    "node": frozenset(
        {"NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit", "PodTopologySpread", "InterPodAffinity"}
    ),
    "node-freed": frozenset({"NodePorts", "NodeResourcesFit", "PodTopologySpread", "InterPodAffinity"}),
    "pod-assigned": frozenset({"PodTopologySpread", "InterPodAffinity"}),
}
"""Which plugins' refusals a change may undo (upstream's queueing hints)."""


@dataclass(slots=True)
class Waiting:
    pod: PodInfo
    attempts: int = 0
    since: float = 0.0
    """When it came to where it is now."""
    plugins: frozenset[str] = frozenset()
    token: int = 0
    """Of its entry in the active heap; an entry with another token is stale."""
    popped_in: int = 0
    """The cycle of its last pop."""


@dataclass(slots=True)
class Queue:
    """All times are of one monotonic clock, in seconds."""

    waiting: dict[str, Waiting] = field(default_factory=dict)
    active: list[tuple[int, float, int, str]] = field(default_factory=list)
    backoff: dict[str, float] = field(default_factory=dict)
    """key -> when it may come back."""
    unschedulable: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    in_flight: set[str] = field(default_factory=set)
    _token: int = 0
    _cycle: int = 0
    _moved_in_cycle: int = -1

    def add(self, pod: PodInfo, now: float) -> None:
        """A new or changed pod without a node.  A change of the pod itself is worth a try at once; in flight it only replaces what is known."""
        known = self.waiting.get(pod.key)
        if known is None or known.pod.uid != pod.uid:
            self.remove(pod.key)
            known = self.waiting[pod.key] = Waiting(pod)
        known.pod = pod
        if pod.key in self.in_flight:
            return
        self._forget_place(pod.key)
        if pod.gated:
            self.gated.add(pod.key)
        else:
            self._activate(known, now)

    def remove(self, key: str) -> None:
        self.waiting.pop(key, None)
        self.in_flight.discard(key)
        self._forget_place(key)

    def pop(self, now: float) -> Waiting | None:
        """The next pod to try, or None."""
        self._flush(now)
        while self.active:
            _, _, token, key = heapq.heappop(self.active)
            known = self.waiting.get(key)
            if known is None or known.token != token:
                continue  # left behind by a removal or a later activation
            self._cycle += 1
            known.token, known.popped_in = 0, self._cycle
            known.attempts += 1
            self.in_flight.add(key)
            return known
        return None

    def failed(self, key: str, plugins: frozenset[str], now: float) -> None:
        """A popped pod found no place.  No `plugins` means the attempt itself broke: try again after the backoff."""
        known = self.waiting.get(key)
        self.in_flight.discard(key)
        if known is None:
            return
        known.since, known.plugins = now, plugins
        if known.pod.gated:
            self.gated.add(key)
        elif not plugins or self._moved_in_cycle >= known.popped_in:
            self.backoff[key] = now + backoff_s(known.attempts)
        else:
            self.unschedulable.add(key)

    def move(self, change: Change, now: float) -> None:
        """Something changed: pods that it may help leave the unschedulable ones, by way of the rest of their backoff."""
        self._moved_in_cycle = self._cycle
        helped = HELPS.get(change)
        for key in [k for k in self.unschedulable if helped is None or self.waiting[k].plugins & helped]:
            self._release(key, now)

    def next_wake(self) -> float | None:
        """When `pop` could give something that it does not give now; None if only an event can change that."""
        times: list[float] = list(self.backoff.values())
        times += [self.waiting[key].since + MAX_UNSCHEDULABLE_S for key in self.unschedulable]
        return min(times, default=None)

    def pending(self) -> dict[str, int]:
        """For the metric scheduler_pending_pods."""
        listed = len(self.waiting) - len(self.backoff) - len(self.unschedulable) - len(self.gated) - len(self.in_flight)
        return {"active": listed, "backoff": len(self.backoff), "unschedulable": len(self.unschedulable), "gated": len(self.gated)}

    def _flush(self, now: float) -> None:
        for key in [k for k, at in self.backoff.items() if at <= now]:
            del self.backoff[key]
            self._activate(self.waiting[key], now)
        for key in [k for k in self.unschedulable if self.waiting[k].since + MAX_UNSCHEDULABLE_S <= now]:
            self._release(key, now)

    def _release(self, key: str, now: float) -> None:
        self.unschedulable.discard(key)
        known = self.waiting[key]
        until = known.since + backoff_s(known.attempts)
        if until <= now:
            self._activate(known, now)
        else:
            self.backoff[key] = until

    def _activate(self, known: Waiting, now: float) -> None:
        self._token += 1
        known.since, known.token = now, self._token
        heapq.heappush(self.active, (-known.pod.priority, now, self._token, known.pod.key))

    def _forget_place(self, key: str) -> None:
        self.backoff.pop(key, None)
        self.unschedulable.discard(key)
        self.gated.discard(key)
        known = self.waiting.get(key)
        if known is not None:
            known.token = 0


def backoff_s(attempts: int) -> float:
    return float(min(INITIAL_BACKOFF_S * 2 ** (max(attempts, 1) - 1), MAX_BACKOFF_S))
