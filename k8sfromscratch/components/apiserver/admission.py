"""Admission as the verbs call it: the pure plugins of `core.admission` with what must wait for others around them.

    mutate     pure plugins ──► mutating webhooks                                  (the object they leave is `request.obj`)
    validate   pure plugins ──► policies ──► validating webhooks ──► those that come last

Last come those that keep accounts (ResourceQuota): nothing may be charged that is refused afterwards.  A refusal by a pure plugin may
rest on caches that lag (the namespace was made a moment ago), so it is not believed until they have caught up.  A webhook's is.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from k8sfromscratch.api import errors
from k8sfromscratch.components.apiserver.admission_policies import AdmissionPolicies
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.components.apiserver.webhooks import Webhooks
from k8sfromscratch.core.admission.chain import Chain
from k8sfromscratch.core.admission.types import AdmissionRequest, View


class AsyncValidator(Protocol):
    """A plugin that has to ask or write something before it can say yes.  Raises ApiError to refuse."""

    name: str

    async def validate(self, request: AdmissionRequest, view: View) -> None: ...


class Admission:
    """Without webhooks configured a call never yields to the loop: a create costs no more for the seam than two coroutines."""

    def __init__(
        self,
        chain: Chain,
        view: View,
        feed: Feed,
        webhooks: Webhooks | None = None,
        policies: AdmissionPolicies | None = None,
        *,
        last: Sequence[AsyncValidator] = (),
    ) -> None:
        self._chain, self._view, self._feed = chain, view, feed
        self._webhooks, self._policies, self._last = webhooks, policies, tuple(last)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pure plugins."""
        return self._chain.names

    async def mutate(self, request: AdmissionRequest) -> None:
        """Raises ApiError.  The object to go on with is `request.obj`."""
        await self._pure(self._chain.mutate, request)
        if self._webhooks is not None:
            await self._webhooks.mutate(request, lambda: self._pure(self._chain.mutate, request))

    async def validate(self, request: AdmissionRequest) -> None:
        """Raises ApiError."""
        await self._pure(self._chain.validate, request)
        if self._policies is not None:
            await self._policies.validate(request)
        if self._webhooks is not None:
            await self._webhooks.validate(request)
        for validator in self._last:
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


def options_of(call: Call, kind: str, **given: Any) -> dict[str, Any]:
    """The request's CreateOptions, UpdateOptions, PatchOptions or DeleteOptions, for those who are shown them."""
    options: dict[str, Any] = {"kind": kind, "apiVersion": "meta.k8s.io/v1", **{key: value for key, value in given.items() if value not in (None, "")}}
    if call.dry_run:
        options["dryRun"] = ["All"]
    if kind != "DeleteOptions":
        for key in ("fieldManager", "fieldValidation"):
            if value := call.request.arg(key):
                options[key] = value
        if kind == "PatchOptions" and call.request.arg("force"):
            options["force"] = call.request.arg("force") in ("true", "1")
    return options
