"""Which of several servers a new connection goes to, and what is thought of each.

    answers          │ new connections       │ connections it has
    ready            │ to the least used     │ kept
    not ready (500)  │ to the others         │ kept: it says itself when it is done with them
    nothing, twice   │ to the others         │ cut, if another server answers: whoever waits on them would wait for ever
    refuses (dialled)│ to the others at once │ cut by its own kernel

Where no server is well all are tried: what is thought of them is seconds old, and an error by the server says more than a closed connection.
Which connection goes where and when a server is asked is the caller's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

SILENCES_MAX = 2
"""Checks without an answer until a server counts as gone.  One can be lost on a busy machine, and cutting connections is not taken back."""


class Answer(Enum):
    READY = "ready"
    NOT_READY = "not ready"
    NONE = "no answer"


class State(Enum):
    UNKNOWN = "unknown"
    READY = "ready"
    NOT_READY = "not ready"
    GONE = "gone"


@dataclass(slots=True)
class Backend:
    address: str
    """host:port"""
    state: State = State.UNKNOWN
    connections: int = 0
    silences: int = 0

    @property
    def well(self) -> bool:
        """Not known to be otherwise: before the first check all are."""
        return self.state in (State.READY, State.UNKNOWN)


def order(backends: Sequence[Backend], turn: int) -> list[Backend]:
    """Where to try a new connection, the best first: the well ones before the others, the least used of them first, equals by turns."""
    turned = [backends[(place + turn) % len(backends)] for place in range(len(backends))]
    return sorted(turned, key=lambda backend: (not backend.well, backend.connections))


def checked(backend: Backend, answer: Answer) -> bool:
    """Takes note of a check's answer; whether what is thought of the server has changed."""
    before = backend.state
    if answer is Answer.NONE:
        backend.silences += 1
        if backend.silences >= SILENCES_MAX:
            backend.state = State.GONE
    else:
        backend.silences = 0
        backend.state = State.READY if answer is Answer.READY else State.NOT_READY
    return backend.state is not before


def not_reached(backend: Backend) -> bool:
    """A new connection to it failed; whether what is thought of the server has changed.  The next check that it answers brings it back."""
    before = backend.state
    backend.silences = max(backend.silences, SILENCES_MAX)
    backend.state = State.GONE
    return backend.state is not before


def to_cut(backends: Sequence[Backend]) -> list[Backend]:
    """Those whose connections are worth nothing any more.  None where nobody else would take them: a server whose last answer failed to come may be
    gone as well, as all are when it is this machine's network that broke."""
    if not any(backend.state is State.READY and not backend.silences for backend in backends):
        return []
    return [backend for backend in backends if backend.state is State.GONE and backend.connections]
