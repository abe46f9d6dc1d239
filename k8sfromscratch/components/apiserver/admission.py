"""Admission as the verbs call it: the pure plugins of `core.admission` with what must wait for others around them.

    mutate     pure plugins ──► mutating webhooks                                  (the object they leave is `request.obj`)
    validate   pure plugins ──► validating webhooks ──► those that come last

Last come those that keep accounts (ResourceQuota): nothing may be charged that is refused afterwards.  A refusal by a pure plugin may
rest on caches that lag (the namespace was made a moment ago), so it is not believed until they have caught up.  A webhook's is.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from k8sfromscratch.api import errors
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.core.admission.chain import Chain
from k8sfromscratch.core.admission.types import AdmissionRequest, View


class AsyncValidator(Protocol):
    """A plugin that has to ask or write something before it can say yes.  Raises ApiError to refuse."""

    name: str

    async def validate(self, request: AdmissionRequest, view: View) -> None: ...


class AsyncMutator(Protocol):
    """May put another object in `request.obj`: typed and defaulted.  Raises ApiError to refuse."""

    name: str

    async def mutate(self, request: AdmissionRequest, view: View) -> None: ...


class Admission:
    """Without webhooks configured a call never yields to the loop: a create costs no more for the seam than two coroutines."""

    def __init__(
        self,
        chain: Chain,
        view: View,
        feed: Feed,
        *,
        mutating: Sequence[AsyncMutator] = (),
        validating: Sequence[AsyncValidator] = (),
        last: Sequence[AsyncValidator] = (),
    ) -> None:
        self._chain, self._view, self._feed = chain, view, feed
        self._mutating = tuple(mutating)
        self._validating = (*validating, *last)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pure plugins."""
        return self._chain.names

    async def mutate(self, request: AdmissionRequest) -> None:
        """Raises ApiError.  The object to go on with is `request.obj`."""
        await self._pure(self._chain.mutate, request)
        for mutator in self._mutating:
            await mutator.mutate(request, self._view)

    async def validate(self, request: AdmissionRequest) -> None:
        """Raises ApiError."""
        await self._pure(self._chain.validate, request)
        for validator in self._validating:
            await validator.validate(request, self._view)

    async def _pure(self, phase: Callable[[AdmissionRequest, View], None], request: AdmissionRequest) -> None:
        seen = self._feed.revision
        try:
            phase(request, self._view)
        except errors.ApiError:
            await self._feed.caught_up()
            if self._feed.revision == seen:
                raise
            phase(request, self._view)
