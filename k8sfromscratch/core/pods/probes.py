"""Probes: what to ask, how often, and what the answers mean.

`ProbeTally` counts: a result holds once it was seen `successThreshold` or `failureThreshold` times in a row.  `HealthTally` joins the three
probes of one container: until the startup probe has succeeded, the others are not asked; a liveness or startup probe that has
failed for good asks for a restart; readiness only says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .runtime_state import Health
from .spec import Object

Kind = Literal["startup", "liveness", "readiness"]
KINDS: tuple[Kind, ...] = ("startup", "liveness", "readiness")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
SUPPORTED_HANDLERS = ("exec", "httpGet", "tcpSocket")


class UnsupportedProbe(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Probe:
    """`action` is the handler's body (`{"path": "/", "port": 80}`), `handler` its name."""

    kind: Kind
    handler: str
    action: Mapping[str, Any]
    initial_delay_s: int = 0
    period_s: int = 10
    timeout_s: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    grace_s: int | None = None


def probes_of(container: Object) -> dict[Kind, Probe]:
    """Raises UnsupportedProbe for a handler that cannot be asked."""
    found: dict[Kind, Probe] = {}
    for kind in KINDS:
        body = container.get(f"{kind}Probe")
        if not body:
            continue
        handler = next((h for h in HANDLERS if body.get(h) is not None), "")
        if handler not in SUPPORTED_HANDLERS:
            raise UnsupportedProbe(f"{kind} probe of container {container['name']}: a handler of type {handler or 'none'} is not supported")
        found[kind] = Probe(
            kind=kind,
            handler=handler,
            action=body[handler],
            initial_delay_s=int(body.get("initialDelaySeconds") or 0),
            period_s=int(body.get("periodSeconds") or 10),
            timeout_s=int(body.get("timeoutSeconds") or 1),
            success_threshold=int(body.get("successThreshold") or 1),
            failure_threshold=int(body.get("failureThreshold") or 3),
            grace_s=body.get("terminationGracePeriodSeconds"),
        )
    return found


def port_number(container: Object, port: int | str) -> int:
    """A probe's port by number or by the name of one of the container's.  Raises ValueError."""
    if isinstance(port, int):
        return port
    for entry in container.get("ports") or []:
        if entry.get("name") == port:
            return int(entry["containerPort"])
    if port.isdigit():
        return int(port)
    raise ValueError(f"container {container['name']} has no port named {port!r}")


@dataclass(slots=True)
class ProbeTally:
    """`verdict` starts as what counts before the first answer: alive, but not ready and not started."""

    probe: Probe
    verdict: bool = field(init=False)
    message: str = ""
    _last: bool | None = None
    _run: int = 0

    def __post_init__(self) -> None:
        self.verdict = self.probe.kind == "liveness"

    def note(self, success: bool, message: str) -> None:
        self._run = self._run + 1 if success == self._last else 1
        self._last = success
        if not success:
            self.message = message
        if self._run >= (self.probe.success_threshold if success else self.probe.failure_threshold):
            self.verdict = success

    @property
    def failed_for_good(self) -> bool:
        return self._last is False and self._run >= self.probe.failure_threshold


@dataclass(slots=True)
class HealthTally:
    """Of one running container."""

    name: str
    tallies: dict[Kind, ProbeTally]

    @classmethod
    def of(cls, container: Object, known: Health | None = None) -> "HealthTally":
        """`known`: what the API says of this very container, so that a kubelet that restarts does not make it unready meanwhile."""
        tally = cls(container["name"], {kind: ProbeTally(probe) for kind, probe in probes_of(container).items()})
        if known is not None:
            for kind, verdict in (("startup", known.started), ("readiness", known.ready)):
                if kind in tally.tallies:
                    tally.tallies[kind].verdict = verdict
        return tally

    def asks(self, kind: Kind) -> bool:
        """Whether that probe is to be asked now."""
        started = self._started()
        return not started if kind == "startup" else started

    def note(self, kind: Kind, success: bool, message: str) -> None:
        self.tallies[kind].note(success, message)

    def health(self) -> Health:
        started = self._started()
        readiness = self.tallies.get("readiness")
        for kind in ("startup", "liveness"):
            tally = self.tallies.get(kind)
            if tally is not None and tally.failed_for_good:
                return Health(started, False, f"Container {self.name} failed {kind} probe, will be restarted", tally.probe.grace_s)
        return Health(started, started and (readiness is None or readiness.verdict))

    def _started(self) -> bool:
        startup = self.tallies.get("startup")
        return startup is None or startup.verdict
