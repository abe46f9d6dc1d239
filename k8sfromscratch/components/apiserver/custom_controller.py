"""Writes the conditions of CustomResourceDefinitions, and empties those that are being deleted.

One loop in each apiserver, level-triggered by its watch cache.  Several do the same work: what one has written the others find done, for a status that
is already so is not written again.

    a new definition     NamesAccepted, Established (`custom_names`)
    a marked one         Terminating; all its objects are deleted; then its finalizer goes, and it with that
"""

import logging
from typing import Any

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import CUSTOM_RESOURCE_DEFINITIONS
from k8sfromscratch.components.apiserver import custom_names
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.catalog import Catalog, Served
from k8sfromscratch.components.apiserver.custom_definitions import CustomDefinitions
from k8sfromscratch.components.apiserver.custom_version import TERMINATING, condition
from k8sfromscratch.components.apiserver.deletes import Deletes
from k8sfromscratch.components.apiserver.deletion import CUSTOM_CLEANUP, DeleteOptions
from k8sfromscratch.components.apiserver.entries import Entry
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.components.apiserver.negotiation import Output
from k8sfromscratch.components.apiserver.request_info import parse
from k8sfromscratch.components.apiserver.store import Delete, Store, Write
from k8sfromscratch.core.authz.types import LOOPBACK
from k8sfromscratch.process.clock import Env, rfc3339
from k8sfromscratch.process.http import Request

log = logging.getLogger(__name__)

Object = dict[str, Any]

# While a definition is being emptied it is looked at this often, besides at every change: its objects may wait for their own finalizers.
_CLEANUP_PERIOD_S = 5.0
_RETRY_S = 1.0
_QUIET_S = 60.0


class CustomController:
    def __init__(self, catalog: Catalog, store: Store, feed: Feed, deletes: Deletes, definitions: CustomDefinitions, env: Env) -> None:
        self._served = catalog.of(CUSTOM_RESOURCE_DEFINITIONS)
        self._store = store
        self._feed = feed
        self._deletes = deletes
        self._definitions = definitions
        self._env = env

    async def run(self) -> None:
        """Until cancelled."""
        cache = self._served.cache
        while True:
            seen, rest_s = cache.changes, _QUIET_S
            for entry in list(cache.entries()):
                try:
                    if not await self._reconcile(entry):
                        rest_s = _CLEANUP_PERIOD_S
                except errors.ApiError as error:
                    log.warning("CustomResourceDefinition %s: %s", entry.key, error.message)
                    rest_s = _RETRY_S
            if cache.changes == seen:
                await cache.changed(rest_s)

    async def _reconcile(self, entry: Entry) -> bool:
        """False where it must be looked at again soon."""
        definition = entry.shared()
        if not definition["metadata"].get("deletionTimestamp"):
            await self._name(entry.key, definition)
            return True
        if CUSTOM_CLEANUP not in (definition["metadata"].get("finalizers") or ()):
            return True
        return await self._clean_up(entry.key)

    async def _name(self, name: str, definition: Object) -> None:
        now = rfc3339(self._env.clock.now())
        others = [one.shared() for one in self._served.cache.entries() if one.key != name]
        if custom_names.status_of(definition, others, now) == definition.get("status"):
            return

        async def step(old: Object | None) -> Write | Delete:
            if old is None:
                raise errors.not_found("customresourcedefinitions", name, "apiextensions.k8s.io")
            return Write({**old, "status": custom_names.status_of(old, others, now)})

        await self._ignore_missing(self._store.update(self._served, name, step))

    # -- deletion

    async def _clean_up(self, name: str) -> bool:
        storage = self._definitions.storage_of(name)
        if storage is not None:
            await self._condition(name, custom_names.of(TERMINATING, True, "InstanceDeletionInProgress", "CustomResource deletion is in progress"))
            # What was created before every apiserver knew of the condition is in the cache after this.
            await self._feed.caught_up()
            await self._feed.filled(storage.directory)
            storage = self._definitions.storage_of(name) or storage
            for one in list(storage.cache.entries()):
                await self._delete(storage, one)
            await self._feed.caught_up()
            if len(storage.cache):
                return False
        await self._condition(name, custom_names.of(TERMINATING, False, "InstanceDeletionCompleted", "removed all instances"), done=True)
        return True

    async def _delete(self, storage: Served, entry: Entry) -> None:
        if entry.shared()["metadata"].get("deletionTimestamp"):
            return
        namespace, _, name = entry.key.rpartition("/")
        request = Request("DELETE", storage.resource.path(namespace, name))
        call = Call(request, parse(request), LOOPBACK, storage, Output())
        await self._ignore_missing(self._deletes.delete_object(call, entry.key, DeleteOptions(uid=entry.shared()["metadata"]["uid"])))

    async def _condition(self, name: str, wanted: Object, *, done: bool = False) -> None:
        """`done`: and take the finalizer away."""

        async def step(old: Object | None) -> Write | Delete:
            if old is None:
                raise errors.not_found("customresourcedefinitions", name, "apiextensions.k8s.io")
            before = condition(old, TERMINATING) or {}
            if not done and all(before.get(key) == value for key, value in wanted.items()):
                return Write(old)
            status = old.get("status") or {}
            conditions = custom_names.merged(status.get("conditions") or [], [wanted], rfc3339(self._env.clock.now()))
            new = {**old, "status": {**status, "conditions": conditions}}
            if done:
                finalizers = [one for one in old["metadata"].get("finalizers") or () if one != CUSTOM_CLEANUP]
                if not finalizers:
                    return Delete()
                new["metadata"] = {**old["metadata"], "finalizers": finalizers}
            return Write(new)

        await self._ignore_missing(self._store.update(self._served, name, step))

    @staticmethod
    async def _ignore_missing(write: Any) -> None:
        try:
            await write
        except errors.NotFound:
            pass  # someone else was faster
