"""Informers: one list and watch of a resource keeps one store up to date, and tells handlers what changed.

    list ─► store replaced ─► watch from that resourceVersion ─► events ─► store ─► handlers(old, new)
      ▲                            │ ends by itself: watch on from the last version seen (bookmarks move it, too)
      └──── Gone, or it cannot be read ◄┘

Handlers are level-triggered: they get (old, new) and must cope with steps left out, since after a new list only the difference is told.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import aclosing

from k8sfromscratch.api.errors import ApiError, Gone
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.client.rest import Client
from k8sfromscratch.client.store import IndexFunction, Object, Store, object_key
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.process.clock import Env

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 15.0
WATCH_MIN_S = 300
"""A watch is asked to last between this and twice this, at random, so that watches do not all start again at once."""

WATCH_GRACE_S = 30.0
"""A watch that its server has not ended by then hangs: its connection may be up and the server stuck."""

WATCH_SHORT_S = 1.0
"""A watch that ends sooner without an event counts as failed, so that a server that closes at once is not asked in a tight loop."""

WATCH_LONG_S = 30.0
"""A watch that breaks after this had been established: longer than any attempt to connect takes."""

Handler = Callable[[Object | None, Object | None], None]


class Informer:
    def __init__(
        self,
        client: Client,
        res: Resource,
        env: Env,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        indexers: Mapping[str, IndexFunction] | None = None,
    ) -> None:
        self.resource = res
        self.store = Store(indexers)
        self._client, self._env, self._namespace = client, env, namespace
        self._labels, self._fields = label_selector, field_selector
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self.resource_version = ""
        """Everything up to here is in the store."""

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def add_handler(self, on_change: Handler) -> None:
        """Called with (None, new), (old, new) or (old, None).  What is there already is told at once."""
        self._handlers.append(on_change)
        for obj in self.store.list():
            on_change(None, obj)

    async def run(self) -> None:
        """Until cancelled.  Failures are logged and tried again with backoff; they never end it."""
        failures = 0
        while True:
            seen, watching_since = self.resource_version, math.inf
            try:
                if not self.resource_version:
                    await self._list()
                watching_since = self._env.clock.monotonic()
                await self._watch()
                problem: Exception | None = None
            except Gone:
                log.debug("%s: the watch's version is too old, listing again", self.resource.group_resource)
                self.resource_version = ""
                problem = None
            except (ApiError, TransportError) as error:
                problem = error
            lasted_s = self._env.clock.monotonic() - watching_since
            worked = self.resource_version not in ("", seen) or lasted_s > (WATCH_SHORT_S if problem is None else WATCH_LONG_S)
            failures = 0 if worked and problem is None else 1 if worked else failures + 1
            if problem is not None:
                log.log(logging.INFO if failures <= 3 else logging.WARNING, "watching %s: %s", self.resource.group_resource, problem)
            if failures:
                await asyncio.sleep(self._backoff_s(failures))

    async def _list(self) -> None:
        listed = await self._client.list(self.resource, self._namespace, label_selector=self._labels, field_selector=self._fields)
        kind, version = self.resource.kind, self.resource.api_version
        fresh = set()
        for item in listed["items"]:
            item.setdefault("kind", kind)
            item.setdefault("apiVersion", version)
            fresh.add(object_key(item))
            self._put(item)
        for key in [k for k in self.store.keys() if k not in fresh]:  # noqa: SIM118
            self._tell(self.store.remove(key), None)
        self.resource_version = listed["metadata"]["resourceVersion"]
        self._synced.set()

    async def _watch(self) -> None:
        timeout_s = WATCH_MIN_S + self._env.rng.randrange(WATCH_MIN_S)
        events = self._client.watch(
            self.resource,
            self._namespace,
            resource_version=self.resource_version,
            label_selector=self._labels,
            field_selector=self._fields,
            timeout_s=timeout_s,
        )
        try:
            async with asyncio.timeout(timeout_s + WATCH_GRACE_S), aclosing(events):
                async for event in events:
                    if event.type in ("ADDED", "MODIFIED"):
                        self._put(event.object)
                    elif event.type == "DELETED":
                        self._tell(self.store.remove(object_key(event.object)), None)
                    self.resource_version = event.object["metadata"]["resourceVersion"]
        except TimeoutError as error:
            raise TransportError(f"the watch was to end after {timeout_s} s and did not") from error

    def _put(self, obj: Object) -> None:
        old = self.store.get(object_key(obj))
        if old is None or old["metadata"].get("resourceVersion") != obj["metadata"].get("resourceVersion"):
            self.store.set(obj)
            if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
                self._tell(old, None)  # deleted and made again while we did not look
                old = None
            self._tell(old, obj)

    def _tell(self, old: Object | None, new: Object | None) -> None:
        if old is None and new is None:
            return
        for handler in self._handlers:
            handler(old, new)

    def _backoff_s(self, failures: int) -> float:
        return float(min(BACKOFF_FIRST_S * 2 ** min(failures, 10), BACKOFF_MAX_S) * (0.5 + self._env.rng.random() / 2))


class Informers:
    """Shared informers: one a resource and selection, however many ask.  It owns their tasks while `run` runs."""

    def __init__(self, client: Client, env: Env) -> None:
        self._client, self._env = client, env
        self._known: dict[tuple[Resource, str | None, str, str], Informer] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def get(
        self,
        res: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        indexers: Mapping[str, IndexFunction] | None = None,
    ) -> Informer:
        key = (res, namespace, label_selector, field_selector)
        informer = self._known.get(key)
        if informer is None:
            informer = self._known[key] = Informer(
                self._client, res, self._env, namespace=namespace, label_selector=label_selector, field_selector=field_selector, indexers=indexers
            )
            if self._tasks is not None:
                self._start(informer)
        elif indexers:
            informer.store.add_indexers(indexers)
        return informer

    async def run(self) -> None:
        """Runs all, those asked for later too, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for informer in list(self._known.values()):
                self._start(informer)
            try:
                await asyncio.get_running_loop().create_future()  # the group lives until it is cancelled
            finally:
                self._tasks = None

    async def wait_synced(self) -> None:
        for informer in list(self._known.values()):
            await informer.wait_synced()

    def _start(self, informer: Informer) -> None:
        assert self._tasks is not None
        self._tasks.create_task(informer.run(), name=f"informer {informer.resource.group_resource}")
