"""Admission webhooks: asked one after another to change a request's object, then all at once whether they agree with it.

    mutate     w1 ─► w2 ─► … ─► (changed? the plugins once more) ─► those with reinvocationPolicy IfNeeded that have not seen the changes
    validate   w1, w2, … at the same time; the first refusal in their order is the client's

Which ones are concerned is `core.admission.webhooks`' decision, what is said `core.admission.webhook_review`'s, the call `webhook_client`'s.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver.admission_versions import Versions
from k8sfromscratch.components.apiserver.catalog import CacheView, Catalog
from k8sfromscratch.components.apiserver.conversion import to_served, to_stored
from k8sfromscratch.components.apiserver.scale import with_scale
from k8sfromscratch.components.apiserver.service_resolver import ServiceResolver
from k8sfromscratch.components.apiserver.webhook_client import CallFailed, WebhookClient
from k8sfromscratch.core.admission import webhook_conditions as conditions
from k8sfromscratch.core.admission import webhooks
from k8sfromscratch.core.admission.types import AdmissionRequest, Object
from k8sfromscratch.core.admission.webhook_review import BadAnswer, Verdict, dry_run_unsupported, review, verdict
from k8sfromscratch.core.admission.webhooks import Reinvocation, Webhook
from k8sfromscratch.core.cel import CelEvaluationError
from k8sfromscratch.core.patch.json_patch import apply_json_patch
from k8sfromscratch.core.patch.values import copied_object
from k8sfromscratch.process.clock import Env

log = logging.getLogger(__name__)


class _Configured:
    """The webhooks of one kind of configuration, read anew when one has changed."""

    def __init__(self, resource: Resource, view: CacheView) -> None:
        self._resource, self._view = resource, view
        self._seen = -1
        self._webhooks: list[Webhook] = []

    def __call__(self) -> list[Webhook]:
        changes = self._view.changes(self._resource)
        if changes != self._seen:
            self._webhooks = webhooks.read(self._view.list(self._resource))
            self._seen = changes
        return self._webhooks


class Webhooks:
    def __init__(self, catalog: Catalog, view: CacheView, env: Env, services: ServiceResolver) -> None:
        self._catalog, self._view, self._env = catalog, view, env
        self._client = WebhookClient(services)
        self._versions = Versions(catalog)
        self._mutating = _Configured(MUTATING_WEBHOOK_CONFIGURATIONS, view)
        self._validating = _Configured(VALIDATING_WEBHOOK_CONFIGURATIONS, view)

    async def close(self) -> None:
        await self._client.close()

    async def mutate(self, request: AdmissionRequest, plugins: Callable[[], Awaitable[None]]) -> None:
        """Puts the object they agree on in `request.obj`; `plugins` runs the pure ones again.  Raises ApiError."""
        configured = self._mutating()
        if not configured or not webhooks.asked(request):
            return
        rounds = Reinvocation()
        for webhook in configured:
            await self._mutate_by(webhook, request, rounds)
        if not rounds.changed:
            return
        before = copied_object(request.obj) if request.obj is not None else None
        await plugins()
        if request.obj != before:
            rounds.others_changed()
        for webhook in configured:
            if webhook.key in rounds.again:
                await self._mutate_by(webhook, request, rounds)

    async def validate(self, request: AdmissionRequest) -> None:
        """Raises ApiError."""
        conditions.check(request)
        configured = self._validating()
        if not configured or not webhooks.asked(request):
            return
        concerned = [(webhook, sent) for webhook in configured if (sent := self._match(webhook, request)) is not None]
        if not concerned:
            return
        results = await asyncio.gather(*(self._ask(webhook, request, sent, mutating=False) for webhook, sent in concerned), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
            if result is not None and result.denial is not None:
                raise result.denial

    # -- one webhook

    async def _mutate_by(self, webhook: Webhook, request: AdmissionRequest, rounds: Reinvocation) -> None:
        sent = self._match(webhook, request)
        if sent is None:
            return
        answer = await self._ask(webhook, request, sent, mutating=True)
        if answer is None:
            return
        if answer.denial is not None:
            raise answer.denial
        changed = bool(answer.patch) and self._patch(webhook, request, sent, list(answer.patch))
        rounds.after(webhook, changed=changed)

    def _match(self, webhook: Webhook, request: AdmissionRequest) -> Resource | None:
        """The version to send, where the webhook is concerned.  Raises ApiError."""
        sent = webhooks.match(webhook, request, self._view, lambda: self._versions.equivalents(request.resource))
        if sent is None or not webhook.conditions:
            return sent
        try:
            return sent if conditions.concerned(webhook, self._versions.values(request, sent)) else None
        except CelEvaluationError as error:
            raise request.refused(str(error)) from error

    async def _ask(self, webhook: Webhook, request: AdmissionRequest, sent: Resource, *, mutating: bool) -> Verdict | None:
        """None where it could not be asked and does not insist.  Raises ApiError."""
        if request.dry_run and not webhook.safe_to_dry_run:
            raise dry_run_unsupported(webhook.name)
        uid = self._env.uid()
        asked = review(webhook.review_version, uid, request, self._versions.shown(request, sent), self._versions.requested_kind(request))
        try:
            answer = await self._client.call(webhook, asked)
            result = verdict(answer, webhook.review_version, uid, webhook.name, mutating=mutating)
        except (CallFailed, BadAnswer) as error:
            reason = str(error) if isinstance(error, CallFailed) else f"received invalid webhook response: {error}"
            message = f'failed calling webhook "{webhook.name}": {reason}'
            if not webhook.failure_closed:
                log.warning("%s; its failurePolicy is Ignore: going on without it", message)
                return None
            log.warning("%s", message)
            raise errors.InternalError(f"Internal error occurred: {message}", details={"causes": [{"message": message}]}) from error
        for text in result.warnings:
            request.warn(text)
        return result

    def _patch(self, webhook: Webhook, request: AdmissionRequest, sent: Resource, patch: list[Object]) -> bool:
        """Whether it changed the object.  Raises InternalError."""
        shown = self._versions.shown(request, sent).obj
        if shown is None or request.obj is None:
            why = f'admission webhook "{webhook.name}" attempted to modify the object, which is not supported for this operation'
            raise errors.InternalError(f"Internal error occurred: {why}")
        try:
            patched = apply_json_patch(shown, patch)
            if not isinstance(patched, dict):
                raise errors.BadRequest("the patch leaves no object")
            if patched == shown:
                return False
            changed = self._taken_back(request, sent, patched)
        except errors.ApiError as error:
            raise errors.InternalError(f'Internal error occurred: the patch of admission webhook "{webhook.name}" cannot be used: {error.message}') from error
        _keep_identity(webhook, changed, request.obj)
        request.obj = changed
        return True

    # -- versions

    def _taken_back(self, request: AdmissionRequest, version: Resource, patched: Object) -> Object:
        """The patched object as the verbs go on with it: typed, defaulted, stored.  Raises ApiError."""
        if request.subresource == "scale":
            assert request.obj is not None
            return with_scale(request.obj, patched)
        if request.retyped is None:
            return patched
        if version != (request.requested or request.resource):
            patched = to_stored(self._catalog.of(version), patched)
            patched = to_served(self._catalog.of(request.requested or request.resource), patched)
        return request.retyped(patched)


def _keep_identity(webhook: Webhook, changed: Object, before: Object) -> None:
    """What the request is about is not a webhook's to change.  Raises InternalError."""
    if "metadata" not in before:
        return
    for key in ("name", "namespace", "uid"):
        if changed.get("metadata", {}).get(key) != before["metadata"].get(key):
            raise errors.InternalError(f'Internal error occurred: admission webhook "{webhook.name}" attempted to change metadata.{key}')
