"""Which resources are served, and where each one's objects are kept.

Several served versions can share one store (autoscaling v1 and v2): a `Served` is what a path names, its `cache` and
`directory` are those of the stored form, and `conversion` goes between the two.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from k8sfromscratch.api.errors import NotFound
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver import field_labels, keys
from k8sfromscratch.components.apiserver.cache import Cursor, ResourceCache, WindowPassed
from k8sfromscratch.components.apiserver.custom_version import CustomVersion
from k8sfromscratch.components.apiserver.entries import Object
from k8sfromscratch.core.authz.view import Delta


@dataclass(frozen=True, slots=True)
class Served:
    """`stored` is the version objects are stored in, `resource` the one this path speaks.  `custom` is what a CustomResourceDefinition says of it."""

    resource: Resource
    stored: Resource
    directory: str
    cache: ResourceCache
    custom: CustomVersion | None = None

    def key(self, name: str, namespace: str) -> str:
        return keys.object_key(name, namespace if self.resource.namespaced else None)

    def storage_key(self, key: str) -> bytes:
        return keys.ROOT + f"{self.directory}/{key}".encode()


# group/plural → version they are stored in, where more than one is served; and the group itself where two share one store.
STORED_AS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("autoscaling", "horizontalpodautoscalers"): ("autoscaling", "v2"),
    ("events.k8s.io", "events"): ("", "v1"),
}


class Catalog:
    def __init__(self, resources: Iterable[Resource]) -> None:
        self.caches: dict[str, ResourceCache] = {}
        self.changes = 0
        """Counts resources that came or went, so that documents made from them can be kept as long as it stays."""
        self._served: dict[tuple[str, str, str], Served] = {}
        by_gvr = {(r.group, r.version, r.plural): r for r in resources}
        for resource in by_gvr.values():
            group, version = STORED_AS.get((resource.group, resource.plural), (resource.group, resource.version))
            stored = by_gvr.get((group, version, resource.plural), resource)
            self.add(resource, stored, built_in=True)

    def add(self, resource: Resource, stored: Resource, *, built_in: bool) -> None:
        directory = keys.directory(stored, built_in=built_in)
        cache = self.caches.setdefault(directory, ResourceCache(field_labels.fields_of(stored.group_resource)))
        self._served[(resource.group, resource.version, resource.plural)] = Served(resource, stored, directory, cache)
        self.changes += 1

    def put_custom(self, directory: str, cache: ResourceCache, versions: Iterable[CustomVersion]) -> None:
        """All served versions of one CustomResourceDefinition, in place of those it had."""
        self.drop_custom(directory)
        self.caches[directory] = cache
        for version in versions:
            resource = version.resource
            self._served.setdefault((resource.group, resource.version, resource.plural), Served(resource, version.stored, directory, cache, version))
        self.changes += 1

    def drop_custom(self, directory: str) -> None:
        self.caches.pop(directory, None)
        self._served = {key: served for key, served in self._served.items() if served.custom is None or served.directory != directory}
        self.changes += 1

    def find(self, group: str, version: str, plural: str) -> Served:
        """Raises NotFound as upstream words it for a path that names nothing."""
        served = self._served.get((group, version, plural))
        if served is None:
            raise NotFound("the server could not find the requested resource")
        return served

    def knows(self, group: str, version: str, plural: str) -> bool:
        return (group, version, plural) in self._served

    def of(self, resource: Resource) -> Served:
        """Raises NotFound."""
        return self.find(resource.group, resource.version, resource.plural)

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())


class CacheView:
    """`core.admission.types.View` and `core.authz.view.CachedView` over the caches."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        served = self._catalog.of(resource)
        entry = served.cache.get(served.key(name, namespace or ""))
        return None if entry is None else entry.shared()

    def list(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        cache = self._catalog.of(resource).cache
        return [entry.shared() for entry in cache.entries(namespace)] if len(cache) else []

    async def changed(self, resource: Resource, timeout_s: float) -> None:
        """Returns after the next change of the resource's objects, or after the timeout."""
        await self._catalog.of(resource).cache.changed(timeout_s)

    def changes(self, resource: Resource) -> int:
        return self._catalog.of(resource).cache.changes

    def delta(self, resource: Resource, mark: object | None) -> Delta:
        cache = self._catalog.of(resource).cache
        if isinstance(mark, Cursor):
            cursor = Cursor(mark.position, mark.epoch)
            with contextlib.suppress(WindowPassed):
                events = cache.read(cursor)
                return Delta(cursor, False, [(event.entry.key, None if event.type == "DELETED" else event.entry.decode()) for event in events])
        return Delta(cache.cursor_now(), True, [(entry.key, entry.decode()) for entry in cache.entries()])
