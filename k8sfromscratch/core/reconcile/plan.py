"""The vocabulary of a reconcile plan: what to write, in which order, and what to say about it.

A plan is a value.  A controller's `plan` function sees a snapshot of the cluster and the time, and answers with one; the runner
(`components.controller_manager.runner`) carries it out and, when a step fails, plans the same key again later from what it then sees.
So a plan never waits for its own effects: what must follow a write is left to the next plan, which sees the write in the cache.

    Plan ── steps, in order; the first that fails ends them
     ├── Create Update Patch Delete DeleteCollection    one request each
     ├── Confirm                                        a live read that must find the object, not being deleted
     ├── Emit                                           an event
     └── Together                                       steps that do not depend on each other: all at once, or slow start
    Plan.conclude ── one more list of steps, made from the failures of the first (a status that must say why)
    Plan.requeue_after_s ── when to plan this key again though nothing has changed
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from k8sfromscratch.api.resource import Resource

Object: TypeAlias = dict[str, Any]
"""What `kubectl get -o json` prints.  One that comes from a cache is never changed."""

CREATED_NAME = "{name}"
ERROR_TEXT = "{error}"


@dataclass(frozen=True, slots=True)
class Emit:
    """An event about `about`.  As the note of a step its message may hold `{name}` (the written object's) and `{error}`."""

    about: Object
    type: Literal["Normal", "Warning"]
    reason: str
    message: str

    def filled(self, *, name: str = "", error: str = "") -> "Emit":
        return Emit(self.about, self.type, self.reason, self.message.replace(CREATED_NAME, name).replace(ERROR_TEXT, error))


@dataclass(frozen=True, slots=True)
class Create:
    resource: Resource
    object: Object
    done: Emit | None = None
    failed: Emit | None = None
    ignore: frozenset[str] = frozenset()
    """Status reasons (`AlreadyExists`) that are as good as success."""


@dataclass(frozen=True, slots=True)
class Update:
    """Replaces the object.  Its resourceVersion, where it has one, is the precondition."""

    resource: Resource
    object: Object
    subresource: str | None = None
    done: Emit | None = None
    failed: Emit | None = None
    ignore: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Patch:
    """A merge patch by default.  Put `metadata.uid` into it so that it cannot hit a namesake."""

    resource: Resource
    namespace: str | None
    name: str
    patch: Object
    subresource: str | None = None
    patch_type: Literal["merge", "strategic"] = "merge"
    done: Emit | None = None
    failed: Emit | None = None
    ignore: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Delete:
    """`uid` and `resource_version` are preconditions.  An object that is gone already counts as success."""

    resource: Resource
    namespace: str | None
    name: str
    uid: str | None = None
    resource_version: str | None = None
    grace_period_s: int | None = None
    propagation_policy: Literal["Background", "Foreground", "Orphan"] | None = None
    done: Emit | None = None
    failed: Emit | None = None
    ignore: frozenset[str] = frozenset({"NotFound"})


@dataclass(frozen=True, slots=True)
class DeleteCollection:
    resource: Resource
    namespace: str
    done: Emit | None = None
    failed: Emit | None = None
    ignore: frozenset[str] = frozenset({"NotFound"})


@dataclass(frozen=True, slots=True)
class Confirm:
    """Ends the plan unless a live read finds exactly this object, not being deleted: before adopting in its name, since a cache may lag."""

    resource: Resource
    namespace: str | None
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Together:
    """Independent steps: every one is tried, at once.

    With `slow_start` they go in batches of 1, 2, 4, …, and a batch with a failure is the last one: if a quota or an admission
    rule refuses a pod, it will refuse the other 499 too, and the server should not have to say so 499 times.
    """

    steps: tuple["Write", ...]
    slow_start: bool = False


Write: TypeAlias = Create | Update | Patch | Delete | DeleteCollection
Step: TypeAlias = Write | Confirm | Emit | Together


@dataclass(frozen=True, slots=True)
class Plan:
    steps: tuple[Step, ...] = ()
    conclude: Callable[[tuple[str, ...]], tuple[Step, ...]] | None = None
    """Messages of what failed among `steps` (empty: nothing) -> the steps that end the plan, done in either case."""
    requeue_after_s: float | None = None


NOTHING = Plan()


def earliest(*delays_s: float | None) -> float | None:
    """The soonest of several wishes to be planned again."""
    wishes = [delay for delay in delays_s if delay is not None]
    return min(wishes) if wishes else None
