"""A controller must not plan on a cache that does not show what it has just written itself.

A ReplicaSet that created three pods and looks again before its pod cache has them would create three more.  So after each write the runner
notes what the cache must show, and plans the key again only when it does.  Upstream counts expected events for this
("expectations"); here it is the write itself that is looked for:

    created or changed at version 17    seen once the cache is up to date with version 17 or a later one
    deleted, uid u                      seen once the cache has no u, or has it with a deletionTimestamp

Versions are numbers that grow over all objects of a store (KEP-5504), and a watch shows them in order.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from k8sfromscratch.api.resource import Resource
from k8sfromscratch.client import Informer
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import Delete, DeleteCollection, Object, Write

FORGOTTEN_AFTER_S = 300.0
"""A write not seen for so long will not be (the object came and went while the watch was broken).  Upstream's ExpectationsTimeout."""


@dataclass(frozen=True, slots=True)
class _Expected:
    resource: Resource
    key: str
    uid: str
    version: int | None
    """None: deleted."""
    until: float


class ReadYourWrites:
    """One controller's writes that its caches do not show yet, by key."""

    def __init__(self, informers: Iterable[Informer], monotonic: Callable[[], float]) -> None:
        self._informers = {informer.resource: informer for informer in informers}
        self._expected: dict[str, list[_Expected]] = {}
        self._monotonic = monotonic

    def note(self, key: str, write: Write, answer: Object) -> None:
        """`answer` is the server's: the object as stored, or for a deletion a Status or the object's last state."""
        if write.resource not in self._informers or isinstance(write, DeleteCollection):
            return
        until = self._monotonic() + FORGOTTEN_AFTER_S
        if isinstance(write, Delete):
            if write.uid is not None:
                name = f"{write.namespace}/{write.name}" if write.namespace else write.name
                self._expected.setdefault(key, []).append(_Expected(write.resource, name, write.uid, None, until))
            return
        version = int(answer["metadata"]["resourceVersion"])
        expected = _Expected(write.resource, objects.key(answer), objects.uid(answer), version, until)
        self._expected.setdefault(key, []).append(expected)

    def settled(self, key: str) -> bool:
        """Whether the caches show everything that was written for the key."""
        waiting = self._expected.get(key)
        if not waiting:
            return True
        now = self._monotonic()
        waiting = [one for one in waiting if one.until > now and not self._shows(one)]
        if waiting:
            self._expected[key] = waiting
            return False
        del self._expected[key]
        return True

    def _shows(self, expected: _Expected) -> bool:
        informer = self._informers[expected.resource]
        present = informer.store.get(expected.key)
        if expected.version is None:
            return present is None or objects.uid(present) != expected.uid or objects.deleting(present)
        return int(informer.resource_version or 0) >= expected.version
