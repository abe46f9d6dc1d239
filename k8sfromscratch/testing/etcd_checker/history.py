"""What was seen: operations with their times, what watches said, the lives of leases.  Times are seconds of one monotonic clock, the checker's."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Outcome(Enum):
    OK = "ok"
    FAILED = "failed"
    """An error that says that nothing was done."""
    UNKNOWN = "unknown"
    """No answer, or an error that leaves it open: it may have been done, may be later, or never."""


@dataclass(slots=True)
class Operation:
    """Between `called` and `returned` it took effect, if it is OK.  Each value that is put is unique, and so tells whose it is."""

    client: str
    method: str
    """`Range`, `Put`, `DeleteRange` or `Txn`."""
    request: Any
    called: float
    returned: float = 0.0
    outcome: Outcome = Outcome.UNKNOWN
    answer: Any = None
    linearizable: bool = True
    """What was promised to the client: a serializable read promises only a state that was there once."""
    member: int = 0

    def __str__(self) -> str:
        request = " ".join(str(self.request).split())
        answer = " ".join(str(self.answer).split()) if self.answer is not None else self.outcome.value
        return f"{self.client} at m{self.member} [{self.called:.4f}..{self.returned:.4f}] {self.method}({request}) -> {answer}"


@dataclass(frozen=True, slots=True)
class Resumed:
    """A watch was asked for again, from here on."""

    start_revision: int
    member: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One answer with events."""

    revision: int
    """The header's."""
    events: tuple[Any, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Progress:
    """A bookmark: everything up to here was told."""

    revision: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """The watch was refused, as what it asked for was compacted; it may go on at this revision."""

    revision: int


@dataclass(slots=True)
class Watch:
    name: str
    key: bytes
    range_end: bytes
    prev_kv: bool = True
    no_puts: bool = False
    bookmarks: bool = True
    """Whether what it says of progress is to be believed."""
    log: list[Resumed | Batch | Progress | Compacted] = field(default_factory=list)
    position: int = 0
    """All up to this revision has been told: where it resumes behind."""
    whole: bool = False
    """It follows every key, so that its events are a history of the store."""


@dataclass(slots=True)
class LeaseLife:
    """`alive_from`: when the calls began that granted it, or renewed it; each answered well."""

    id: int
    ttl: int
    keys: list[bytes] = field(default_factory=list)
    alive_from: list[float] = field(default_factory=list)
    revoked: bool = False
    """By its client, which may have been the end of it."""


@dataclass(slots=True)
class History:
    operations: list[Operation] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    leases: list[LeaseLife] = field(default_factory=list)
    end_revision: int = 0
    """Of the last write of the run, which every watch has been given."""
