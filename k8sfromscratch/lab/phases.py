"""What a run of the lab tells while it goes: events, one line of JSON each, from the provisioner to whoever shows them.

    provision (pyinfra, gevent) ──events──► up ──► progress: a line a host and phase
                                               └─► Timings: how long each phase took

A phase is a role's name ("etcd"), or what comes before roles: "Prepare", "Machine", "Look".
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Literal

What = Literal["begin", "step", "done", "failed", "lost"]
THIS_HOST = "this host"


@dataclass(frozen=True)
class Event:
    """`begin`: the host enters the phase; `step`: an operation of it ended; `done`: the host is through with everything it had to do;
    `failed`: an operation did, and the host goes no further; `lost`: the machine itself went away."""

    what: What
    host: str
    phase: str
    operation: str = ""
    changed: bool = False
    place: int = 0
    """How many operations this host has behind it, of `of`."""
    of: int = 0
    cause: str = ""
    remedy: str = ""
    at_s: float = field(default_factory=time.monotonic)

    def line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of_line(cls, line: str) -> "Event":
        return cls(**json.loads(line))


class Teller:
    """Writes events to a stream, each whole and at once."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream
        self._phases: dict[str, str] = {}

    def tell(self, event: Event) -> None:
        if self._stream is not None:
            self._stream.write(event.line() + "\n")
            self._stream.flush()

    def enter(self, host: str, phase: str, place: int = 0, of: int = 0) -> None:
        """`begin`, unless the host is in that phase already."""
        if self._phases.get(host) != phase:
            self._phases[host] = phase
            self.tell(Event("begin", host, phase, place=place, of=of))


@dataclass(frozen=True)
class Span:
    host: str
    phase: str
    from_s: float
    took_s: float


class Timings:
    """When each host was in which phase, from the events; seconds are counted from the first."""

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s
        self._open: dict[str, tuple[str, float]] = {}
        self.spans: list[Span] = []

    def take(self, event: Event) -> Span | None:
        """The span that the event ended, if it did."""
        ended = None
        if event.what == "step":
            return None
        if event.host in self._open:
            phase, since_s = self._open.pop(event.host)
            ended = Span(event.host, phase, since_s - self._began_s, event.at_s - since_s)
            self.spans.append(ended)
        if event.what == "begin":
            self._open[event.host] = event.phase, event.at_s
        return ended

    def phases(self) -> dict[str, tuple[float, float]]:
        """phase → (when its first host began it, when its last ended it), in the order in which they began."""
        found: dict[str, tuple[float, float]] = {}
        for span in sorted(self.spans, key=lambda span: span.from_s):
            first, last = found.get(span.phase, (span.from_s, 0.0))
            found[span.phase] = first, max(last, span.from_s + span.took_s)
        return found

    def save(self, file: Path, took_s: float) -> None:
        file.write_text(json.dumps({"took_s": round(took_s, 3), "spans": [_rounded(span) for span in self.spans]}, indent=1) + "\n")


def _rounded(span: Span) -> dict[str, object]:
    return {"host": span.host, "phase": span.phase, "from_s": round(span.from_s, 3), "took_s": round(span.took_s, 3)}


CONNECT_REMEDY = "look at the machine's console; `python -m k8sfromscratch.lab status` tells which run"
OTHER_KEYS = "it was made with other keys than those in .lab/ssh: put those back, or `make lab-down` and `make lab`"

REMEDIES = (
    ("No space left on device", "free space on its disk (`df -h` tells where), then run it again"),
    ("Disk quota exceeded", "free space on its disk, then run it again"),
    ("Temporary failure resolving", "its name servers do not answer, or it has no way out: look at its /etc/resolv.conf and the host's firewall"),
    ("Unable to locate package", "its package lists lack that package: look at its /etc/apt/sources.list"),
    ("Could not get lock", "another program installs packages there: wait for it, then run it again"),
    ("Address already in use", "another program listens at that address: stop it, then run it again"),
    ("Cannot allocate memory", "give it more memory, or stop what uses it"),
    ("is not healthy", "its log above says why; put that right, then run it again"),
    ("preflight:", "put that right, then run it again"),
    ("Authentication error", OTHER_KEYS),
    ("SSH host key error", OTHER_KEYS),
)


def remedy_for(cause: Iterable[str], otherwise: str = "put that right, then run it again: it goes on from there") -> str:
    text = "\n".join(cause)
    return next((remedy for sign, remedy in REMEDIES if sign in text), otherwise)


def fatal(error: Exception, *, foreseen: bool) -> Event:
    """What ended the run of all machines: something that this host lacks, or a fault of ours."""
    cause = str(error) if foreseen else f"{type(error).__name__}: {error}"
    remedy = remedy_for([cause], "see the log" if foreseen else "this is a fault of the lab itself: the log has where")
    return Event("failed", THIS_HOST, "Deploy", cause=cause, remedy=remedy)
