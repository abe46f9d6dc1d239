"""What authorizers need of the cached cluster: the objects, and what has become of them since the last look.

An authorizer keeps an index of its own (bindings by subject, secrets by node).  It does not rebuild it: before it answers it asks
`changes`, a counter, and only where that moved `delta` for the objects that changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from k8sfromscratch.api.resource import Resource

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delta:
    """`changed`: keys (`namespace/name` or `name`) with the object, or None where it is gone; a key may come twice, the later one counts.
    With `reset` it is everything there is, and what was known before is void.  `mark` is where the next delta begins."""

    mark: object
    reset: bool
    changed: Sequence[tuple[str, Object | None]]


class CachedView(Protocol):
    """An `admission.View` that can tell what changed."""

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None: ...

    def list(self, resource: Resource, namespace: str | None = None) -> Sequence[Object]: ...

    def changes(self, resource: Resource) -> int:
        """Equal counts mean equal contents."""
        ...

    def delta(self, resource: Resource, mark: object | None) -> Delta:
        """What changed since `mark`; everything with None, or where that is too long ago."""
        ...
