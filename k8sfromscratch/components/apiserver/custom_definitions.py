"""From CustomResourceDefinitions to served resources, while the server runs.

    feed ── a definition changed ──► follow() ──► catalog (routes, discovery, OpenAPI) and a cache that the feed fills

Every apiserver follows the definitions in its own watch of the store; who writes their conditions is `custom_controller`'s.  A definition is served
from the moment at which it is Established.  When its spec changes it gets a new cache, for what was read by the old schema may be wrong by the new one:
watches end, and their clients list again, as upstream does.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from k8sfromscratch.api.registry import CUSTOM_RESOURCE_DEFINITIONS
from k8sfromscratch.components.apiserver import keys
from k8sfromscratch.components.apiserver.cache import ResourceCache
from k8sfromscratch.components.apiserver.catalog import Catalog, Served
from k8sfromscratch.components.apiserver.custom_version import ESTABLISHED, TERMINATING, CustomVersion, fields_of, holds, versions_of
from k8sfromscratch.components.apiserver.feed import Feed

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Followed:
    """`storage` tells definitions apart whose objects are read differently, `all` those that are served differently at all."""

    storage: bytes
    all: bytes
    directory: str
    cache: ResourceCache
    stored: CustomVersion


class CustomDefinitions:
    def __init__(self, catalog: Catalog, feed: Feed) -> None:
        self._catalog = catalog
        self._feed = feed
        self._definitions = catalog.of(CUSTOM_RESOURCE_DEFINITIONS).cache
        self._followed: dict[str, _Followed] = {}
        self._revisions: dict[str, int] = {}
        feed.on_definitions = self.follow

    def follow(self) -> None:
        """Makes the catalog what the definitions in the cache say."""
        found = {entry.key: entry for entry in self._definitions.entries()}
        for name in [name for name in self._revisions if name not in found]:
            del self._revisions[name]
            self._drop(name)
        for name, entry in found.items():
            if self._revisions.get(name) != entry.revision:
                self._revisions[name] = entry.revision
                definition = entry.shared()
                if holds(definition, ESTABLISHED):
                    self._put(name, definition)
                else:
                    self._drop(name)

    def storage_of(self, name: str) -> Served | None:
        """Where the objects of an established definition are kept, whether or not that version is served."""
        followed = self._followed.get(name)
        if followed is None:
            return None
        stored = followed.stored
        return Served(stored.resource, stored.resource, followed.directory, followed.cache, stored)

    def _put(self, name: str, definition: Object) -> None:
        spec, status = definition["spec"], definition["status"]
        storage = orjson.dumps([definition["metadata"]["uid"], spec])
        everything = orjson.dumps([status.get("acceptedNames"), holds(definition, TERMINATING)])
        before = self._followed.get(name)
        if before is not None and (before.storage, before.all) == (storage, everything):
            return
        versions, stored = versions_of(definition)
        if before is not None and before.storage == storage:
            self._followed[name] = _Followed(storage, everything, before.directory, before.cache, stored)
            self._catalog.put_custom(before.directory, before.cache, versions)
            return
        self._drop(name)
        directory = keys.directory(stored.resource, built_in=False)
        cache = ResourceCache(fields_of(definition), read_stored=stored.read_stored)
        self._followed[name] = _Followed(storage, everything, directory, cache, stored)
        self._catalog.put_custom(directory, cache, versions)
        self._feed.adopt(directory)

    def _drop(self, name: str) -> None:
        followed = self._followed.pop(name, None)
        if followed is not None:
            self._feed.abandon(followed.directory)
            self._catalog.drop_custom(followed.directory)
            followed.cache.end()
