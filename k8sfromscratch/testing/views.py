"""A cached cluster that a test writes by hand: the View of admission and authorization, without a server."""

from collections.abc import Sequence
from typing import Any

from k8sfromscratch.api.registry import find_kind
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.authz.view import Delta

Object = dict[str, Any]


class MemoryView:
    """Objects are put as `kubectl get -o json` prints them; their resource is found by apiVersion and kind."""

    def __init__(self, *objects: Object) -> None:
        self._objects: dict[Resource, dict[str, Object]] = {}
        self._log: dict[Resource, list[tuple[str, Object | None]]] = {}
        self._epoch = 0
        self.put(*objects)

    def put(self, *objects: Object) -> None:
        for obj in objects:
            resource, key = _resource(obj), _key(obj["metadata"]["name"], obj["metadata"].get("namespace"))
            self._objects.setdefault(resource, {})[key] = obj
            self._log.setdefault(resource, []).append((key, obj))

    def remove(self, obj: Object) -> None:
        resource, key = _resource(obj), _key(obj["metadata"]["name"], obj["metadata"].get("namespace"))
        del self._objects[resource][key]
        self._log[resource].append((key, None))

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        return self._objects.get(resource, {}).get(_key(name, namespace))

    def list(self, resource: Resource, namespace: str | None = None) -> Sequence[Object]:
        objects = self._objects.get(resource, {}).values()
        return [obj for obj in objects if namespace is None or obj["metadata"].get("namespace") == namespace]

    def changes(self, resource: Resource) -> int:
        return len(self._log.get(resource, ())) + self._epoch

    def delta(self, resource: Resource, mark: object | None) -> Delta:
        log = self._log.get(resource, [])
        new_mark = (self._epoch, len(log))
        if isinstance(mark, tuple) and mark[0] == self._epoch:
            return Delta(new_mark, False, log[mark[1] :])
        return Delta(new_mark, True, list(self._objects.get(resource, {}).items()))

    def lose_marks(self) -> None:
        """As after a lost watch: what was asked before can no longer be continued, so every delta is a reset."""
        self._epoch += 1


def _resource(obj: Object) -> Resource:
    resource = find_kind(obj["apiVersion"], obj["kind"])
    if resource is None:
        raise ValueError(f"no such kind: {obj['apiVersion']} {obj['kind']}")
    return resource


def _key(name: str, namespace: str | None) -> str:
    return f"{namespace}/{name}" if namespace else name
