"""Subresources that change or show an object in a way of their own: scale, binding, eviction, finalize.

`status`, `ephemeralcontainers`, `resize` and `approval` are plain updates that `strategies` confines to their fields.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import POD_DISRUPTION_BUDGETS, PODS
from k8sfromscratch.components.apiserver import negotiation, patches, replies
from k8sfromscratch.components.apiserver.admission import Admission, options_of
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.catalog import CacheView, Catalog
from k8sfromscratch.components.apiserver.deletes import Deletes, options_from
from k8sfromscratch.components.apiserver.disruption import Verdict, is_over, judge_eviction, with_disruption
from k8sfromscratch.components.apiserver.entries import Entry, Object
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.components.apiserver.scale import ScalePaths, scale_of, with_scale
from k8sfromscratch.components.apiserver.store import Delete, Store, Write
from k8sfromscratch.components.apiserver.transforms import Transformer
from k8sfromscratch.components.apiserver.writes import Writes
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.patch.values import copied_object
from k8sfromscratch.process.clock import Env, rfc3339
from k8sfromscratch.process.http import Response

_EVICTION_ATTEMPTS = 5
"""A pod may change while it is judged, but not for ever."""


class Subresources:
    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        feed: Feed,
        writes: Writes,
        deletes: Deletes,
        admission: Admission,
        view: CacheView,
        transformer: Transformer,
        env: Env,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._feed = feed
        self._writes = writes
        self._deletes = deletes
        self._admission = admission
        self._view = view
        self._transformer = transformer
        self._env = env

    # -- scale

    async def get_scale(self, call: Call) -> Response:
        await self._feed.caught_up()
        return self._scale_reply(call, self._entry(call))

    async def update_scale(self, call: Call) -> Response:
        body = _an_object(negotiation.decode_body(call.request), "Scale")

        async def mutate(old: Object) -> Object:
            return copied_object(with_scale(old, body, _scale_paths(call)))

        outcome = await self._writes.change_object(call, mutate)
        return self._scale_reply(call, outcome.entry)

    async def patch_scale(self, call: Call) -> Response:
        patch = patches.patcher(call)

        async def mutate(old: Object) -> Object:
            scale = scale_of(old, _scale_paths(call))
            del scale["metadata"]["resourceVersion"]
            return copied_object(with_scale(old, patch(scale), _scale_paths(call)))

        outcome = await self._writes.change_object(call, mutate)
        return self._scale_reply(call, outcome.entry)

    def _scale_reply(self, call: Call, entry: Entry) -> Response:
        scale = scale_of(entry.decode(), _scale_paths(call))
        return replies.of(self._transformer.scale(call, scale) if call.output.transform else scale, call.output)

    # -- pods

    async def bind(self, call: Call) -> Response:
        """The scheduler's verdict: the pod goes to that node, once and for all."""
        return await self._bind(call, call.info.name, _an_object(negotiation.decode_body(call.request), "Binding"))

    async def bind_by_body(self, call: Call) -> Response:
        """The older form: POST to `bindings`, where the body names the pod."""
        body = _an_object(negotiation.decode_body(call.request), "Binding")
        metadata = body.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if not isinstance(name, str) or not name:
            raise errors.BadRequest("Binding.metadata.name: the pod's name is needed")
        return await self._bind(call, name, body)

    async def _bind(self, call: Call, name: str, body: Object) -> Response:
        pods = self._catalog.of(PODS)
        _bound_to(name, body)
        node, metadata = _bound_to(name, await self._admit(call, "binding", name, {"apiVersion": "v1", "kind": "Binding", **body}))

        async def step(pod: Object | None) -> Write | Delete:
            if pod is None:
                raise errors.not_found("pods", name)
            if metadata.get("uid") and metadata["uid"] != pod["metadata"]["uid"]:
                raise errors.conflict(
                    "pods/binding", name, "", f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {pod['metadata']['uid']}"
                )
            if pod["metadata"].get("deletionTimestamp"):
                raise errors.conflict("pods/binding", name, "", f"pod {name} is being deleted, cannot be assigned to a host")
            if pod["spec"].get("nodeName"):
                raise errors.conflict("pods/binding", name, "", f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"')
            if pod["spec"].get("schedulingGates"):
                raise errors.conflict("pods/binding", name, "", f"pod {name} has non-empty .spec.schedulingGates")
            pod["spec"]["nodeName"] = node
            if metadata.get("annotations"):
                pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), **metadata["annotations"]}
            conditions = [c for c in pod["status"].get("conditions") or [] if c["type"] != "PodScheduled"]
            now = rfc3339(self._env.clock.now())
            pod["status"]["conditions"] = [*conditions, {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}]
            return Write(pod)

        await self._store.update(pods, pods.key(name, call.namespace), step, dry_run=call.dry_run)
        return replies.of({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, call.output, 201)

    async def evict(self, call: Call) -> Response:
        """A DELETE that asks the pod's disruption budget first."""
        body = _an_object(negotiation.decode_body(call.request), "Eviction")
        metadata = body.get("metadata")
        if isinstance(metadata, dict) and metadata.get("name") not in (None, "", call.info.name):
            raise errors.BadRequest("name in URL does not match name in Eviction object")
        options_from(body.get("deleteOptions") or {}, call.request)
        admitted = await self._admit(call, "eviction", call.info.name, {"apiVersion": "policy/v1", "kind": "Eviction", **body})
        options = options_from(admitted.get("deleteOptions") or {}, call.request)
        await self._feed.caught_up()
        for attempt in range(_EVICTION_ATTEMPTS):
            pod = self._entry(call).shared()
            verdict = judge_eviction(pod, self._view.list(POD_DISRUPTION_BUDGETS, call.namespace))
            if verdict.budget is not None:
                await self._count_disruption(call, verdict)
                await self._deletes.delete_object(call, call.key, options)
                break
            if options.resource_version or is_over(pod):
                await self._deletes.delete_object(call, call.key, options)
                break
            try:
                # No budget is asked for a pod as it is now: not for what it may have become meanwhile, nor for another of its name.
                await self._deletes.delete_object(call, call.key, replace(options, resource_version=pod["metadata"]["resourceVersion"]))
                break
            except errors.Conflict:
                if attempt == _EVICTION_ATTEMPTS - 1 or options.uid not in (None, "", pod["metadata"]["uid"]):
                    raise
                await self._feed.caught_up()
        return replies.of({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, call.output, 201)

    async def _admit(self, call: Call, subresource: str, name: str, body: Object) -> Object:
        """A new object that is not kept: whoever may refuse or change it must know of it all the same.  What they leave of it."""
        request = AdmissionRequest("CREATE", PODS, subresource, call.namespace, name, call.user, body, None, call.dry_run, call.warnings)
        request.options = partial(options_of, call, "CreateOptions")
        await self._admission.mutate(request)
        await self._admission.validate(request)
        assert request.obj is not None
        return request.obj

    async def _count_disruption(self, call: Call, verdict: Verdict) -> None:
        served = self._catalog.of(POD_DISRUPTION_BUDGETS)
        assert verdict.budget is not None
        now = rfc3339(self._env.clock.now())

        async def step(budget: Object | None) -> Write | Delete:
            if budget is None:
                raise errors.not_found("poddisruptionbudgets", verdict.budget_name, "policy")
            return Write(with_disruption(budget, call.info.name, now))

        await self._store.update(served, served.key(verdict.budget_name, call.namespace), step, dry_run=call.dry_run)

    # -- namespaces

    async def finalize(self, call: Call) -> Response:
        """Changes spec.finalizers, and only those; the namespace goes with the last of them."""
        body = _an_object(negotiation.decode_body(call.request), "Namespace")
        spec = body.get("spec") or {}
        finalizers = spec.get("finalizers") or [] if isinstance(spec, dict) else []
        if not isinstance(finalizers, list) or not all(isinstance(name, str) for name in finalizers):
            raise errors.BadRequest("Namespace.spec.finalizers: must be a list of strings")
        stated = body.get("metadata") or {}
        if isinstance(stated, dict) and stated.get("name") not in (None, "", call.info.name):
            raise errors.BadRequest(f"the name of the object ({stated['name']}) does not match the name on the URL ({call.info.name})")

        async def mutate(old: Object) -> Object:
            changed = copied_object(old)
            changed["spec"] = {**(old.get("spec") or {}), "finalizers": list(finalizers)}
            if isinstance(stated, dict) and stated.get("resourceVersion"):
                changed["metadata"]["resourceVersion"] = stated["resourceVersion"]
            return changed

        return await self._writes.change(call, mutate)

    def _entry(self, call: Call) -> Entry:
        entry = call.served.cache.get(call.key)
        if entry is None:
            raise errors.not_found(call.served.resource.plural, call.info.name, call.served.resource.group)
        return entry


def _scale_paths(call: Call) -> ScalePaths | None:
    return None if call.served.custom is None else call.served.custom.scale


def _bound_to(name: str, body: Object) -> tuple[str, Object]:
    """The node, and the Binding's metadata.  Raises BadRequest, Invalid."""
    target, metadata = body.get("target") or {}, body.get("metadata") or {}
    if isinstance(metadata, dict) and metadata.get("name") not in (None, "", name):
        raise errors.BadRequest("name in URL does not match name in Binding object")
    node = target.get("name") if isinstance(target, dict) else None
    if not isinstance(node, str) or not node or not isinstance(metadata, dict):
        cause = errors.Cause("FieldValueRequired", "Required value", "target.name")
        raise errors.invalid("Binding", name, "", [cause])
    if target.get("kind") not in (None, "", "Node"):
        cause = errors.Cause("FieldValueNotSupported", f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"', "target.kind")
        raise errors.invalid("Binding", name, "", [cause])
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise errors.BadRequest("Binding.metadata.annotations: must be texts by name")
    return node, metadata


def _an_object(body: Any, kind: str) -> Object:
    if not isinstance(body, dict):
        raise errors.BadRequest(f"the body must be a {kind} object")
    if body.get("kind") not in (None, "", kind):
        raise errors.BadRequest(f"{body['kind']} cannot be handled as a {kind}")
    return body
