"""ResourceQuota's admission: charges a namespace's quotas before an object is written, so that parallel creates never exceed them.

A charge is a compare-and-swap of the quota's status.  Many creates at once in one namespace would lose it to one another again and again,
so they stand in line: whoever comes to its head charges for all who wait behind, in one write a quota.

    validate ──► line of the namespace ──► the head: for each quota, one compare-and-swap with the charges of all that fit
                                                     └──► those that do not fit are refused, and what another quota took for them given back

What was charged for an object that was not written after all (a namesake was faster, the client left) is found by the resourcequota
controller, which counts anew.  Two apiservers compete by the same compare-and-swap.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import RESOURCE_QUOTAS
from k8sfromscratch.components.apiserver.catalog import Catalog
from k8sfromscratch.components.apiserver.entries import Object
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.components.apiserver.store import Delete, Store, Write
from k8sfromscratch.core.admission import quota
from k8sfromscratch.core.admission.amounts import ZERO, Amounts, added, parse, subtracted
from k8sfromscratch.core.admission.types import AdmissionRequest, View
from k8sfromscratch.process.clock import Clock


@dataclass(slots=True, eq=False)
class _Ask:
    """One request's charge.  `error` says why it was refused; `charged` are the quotas that hold it."""

    request: AdmissionRequest
    more: Amounts
    quotas: frozenset[str]
    error: errors.ApiError | None = None
    done: bool = False
    charged: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Line:
    """Those of one namespace who want to charge; `users` of them hold or want the lock."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: list[_Ask] = field(default_factory=list)
    users: int = 0


class ResourceQuota:
    name = "ResourceQuota"

    def __init__(self, catalog: Catalog, store: Store, feed: Feed, clock: Clock) -> None:
        self._quotas = catalog.of(RESOURCE_QUOTAS)
        self._store = store
        self._feed = feed
        self._clock = clock
        self._lines: dict[str, _Line] = {}

    async def validate(self, request: AdmissionRequest, view: View) -> None:
        """Raises Forbidden."""
        if not len(self._quotas.cache) or not quota.handles(request) or not view.list(RESOURCE_QUOTAS, request.namespace):
            return
        concerning = await self._concerning(request, view)
        more = quota.delta(request, self._clock.now()) if concerning else {}
        if not more:
            return
        if request.dry_run:
            await self._feed.caught_up()
            for one in quota.concerning(request, view.list(RESOURCE_QUOTAS, request.namespace)):
                quota.charged(request, one, more)
            return
        await self._stand_in_line(_Ask(request, more, frozenset(one["metadata"]["name"] for one in concerning)))

    async def _concerning(self, request: AdmissionRequest, view: View) -> Sequence[Object]:
        try:
            return quota.concerning(request, view.list(RESOURCE_QUOTAS, request.namespace))
        except errors.Forbidden:
            # The quota may have been changed, or counted, a moment ago.
            await self._feed.caught_up()
            return quota.concerning(request, view.list(RESOURCE_QUOTAS, request.namespace))

    async def _stand_in_line(self, ask: _Ask) -> None:
        namespace = ask.request.namespace
        line = self._lines.setdefault(namespace, _Line())
        line.users += 1
        line.waiting.append(ask)
        try:
            async with line.lock:
                if not ask.done:
                    await self._charge_all(namespace, line)
        finally:
            line.users -= 1
            if ask in line.waiting:
                line.waiting.remove(ask)
            if not line.users:
                del self._lines[namespace]
        if ask.error is not None:
            raise ask.error

    async def _charge_all(self, namespace: str, line: _Line) -> None:
        batch, line.waiting = line.waiting, []
        try:
            for name in sorted(set().union(*(ask.quotas for ask in batch))):
                await self._charge(namespace, name, [ask for ask in batch if ask.error is None and name in ask.quotas - ask.charged])
            await self._give_back(namespace, [ask for ask in batch if ask.error is not None])
            for ask in batch:
                ask.done = True
        finally:
            # Where the store failed, or this request was cancelled, those behind it go on by themselves.
            line.waiting = [ask for ask in batch if not ask.done] + line.waiting

    async def _charge(self, namespace: str, name: str, asks: Sequence[_Ask]) -> None:
        refused: dict[_Ask, errors.ApiError] = {}

        async def step(present: Object | None) -> Write | Delete:
            refused.clear()
            if present is None:
                raise errors.not_found(RESOURCE_QUOTAS.plural, name)
            for ask in asks:
                try:
                    present = quota.charged(ask.request, present, ask.more)
                except errors.Forbidden as error:
                    refused[ask] = error
            return Write(present)

        try:
            await self._store.update(self._quotas, self._quotas.key(name, namespace), step)
        except errors.NotFound:
            return  # deleted meanwhile: it limits nobody
        for ask in asks:
            if ask in refused:
                ask.error = refused[ask]
            else:
                ask.charged.add(name)

    async def _give_back(self, namespace: str, asks: Sequence[_Ask]) -> None:
        for name in sorted({name for ask in asks for name in ask.charged}):
            too_much = added(*(ask.more for ask in asks if name in ask.charged))

            async def step(present: Object | None, name: str = name, too_much: Amounts = too_much) -> Write | Delete:
                if present is None:
                    raise errors.not_found(RESOURCE_QUOTAS.plural, name)
                return Write(_without(present, too_much))

            try:
                await self._store.update(self._quotas, self._quotas.key(name, namespace), step)
            except errors.NotFound:
                pass
            for ask in asks:
                ask.charged.discard(name)


def _without(present: Object, too_much: Amounts) -> Object:
    status = present.get("status") or {}
    used = parse(status.get("used"))
    less = subtracted(used, _only(too_much, used))
    return {**present, "status": {**status, "used": {name: str(amount if amount.value > 0 else ZERO) for name, amount in less.items()}}}


def _only(amounts: Amounts, names: Iterable[str]) -> Amounts:
    return {name: amounts[name] for name in names if name in amounts}
