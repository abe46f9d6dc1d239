"""A store of objects by key, with indexes; what an informer fills and everyone reads.

key         "namespace/name", or "name" of a cluster-scoped object
index       a named function object -> values; `by_index` answers with the objects that have a value
invariant   the objects are shared with everyone: nobody changes them
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Object = dict[str, Any]
Objects = list[Object]
Keys = list[str]
IndexFunction = Callable[[Object], Iterable[str]]


def object_key(obj: Mapping[str, Any]) -> str:
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    return f"{namespace}/{meta['name']}" if namespace else str(meta["name"])


def split_key(key: str) -> tuple[str | None, str]:
    """(namespace or None, name)."""
    namespace, slash, name = key.partition("/")
    return (namespace, name) if slash else (None, namespace)


class Store:
    def __init__(self, indexers: Mapping[str, IndexFunction] | None = None) -> None:
        self._objects: dict[str, Object] = {}
        self._indexers: dict[str, IndexFunction] = dict(indexers or {})
        self._indexes: dict[str, dict[str, dict[str, None]]] = {name: {} for name in self._indexers}

    def get(self, key: str) -> Object | None:
        return self._objects.get(key)

    def list(self) -> Objects:
        return [*self._objects.values()]

    def keys(self) -> Keys:
        return [*self._objects]

    def by_index(self, index: str, value: str) -> Objects:
        """Raises KeyError for an index that was not asked for."""
        return [self._objects[key] for key in self._indexes[index].get(value, ())]

    def __len__(self) -> int:
        return len(self._objects)

    def set(self, obj: Object) -> Object | None:
        """Puts it in; what was there before, or None."""
        key = object_key(obj)
        old = self._objects.get(key)
        if old is not None:
            self._unindex(key, old)
        self._objects[key] = obj
        for name, function in self._indexers.items():
            for value in function(obj):
                self._indexes[name].setdefault(value, {})[key] = None
        return old

    def remove(self, key: str) -> Object | None:
        old = self._objects.pop(key, None)
        if old is not None:
            self._unindex(key, old)
        return old

    def add_indexers(self, indexers: Mapping[str, IndexFunction]) -> None:
        """New indexes over what is there already; a name that is known stays as it is."""
        for name, function in indexers.items():
            if name in self._indexers:
                continue
            self._indexers[name] = function
            index = self._indexes[name] = {}
            for key, obj in self._objects.items():
                for value in function(obj):
                    index.setdefault(value, {})[key] = None

    def _unindex(self, key: str, old: Object) -> None:
        for name, function in self._indexers.items():
            index = self._indexes[name]
            for value in function(old):
                held = index.get(value)
                if held is not None:
                    held.pop(key, None)
                    if not held:
                        del index[value]
