"""DELETE of one object and of a collection."""

import asyncio
from functools import partial
from typing import Any

from k8sfromscratch.api import errors
from k8sfromscratch.components.apiserver import deletion, replies
from k8sfromscratch.components.apiserver.admission import Admission, options_of
from k8sfromscratch.components.apiserver.allocation import Allocations
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.deletion import DeleteOptions
from k8sfromscratch.components.apiserver.entries import Entry, Object
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.components.apiserver.negotiation import decode_body
from k8sfromscratch.components.apiserver.reads import Reads
from k8sfromscratch.components.apiserver.selection import selection
from k8sfromscratch.components.apiserver.store import Delete, Outcome, Store, Write
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response

# Of a collection, deleted at the same time: enough to hide the store's latency, few enough to leave room for other writers.
_COLLECTION_PARALLEL = 16

# These answer with the object that was deleted; all others with a Status that names it.
_RETURN_OBJECT = frozenset({"pods", "services", "serviceaccounts", "persistentvolumes", "persistentvolumeclaims", "podtemplates", "resourcequotas"})


class Deletes:
    def __init__(self, store: Store, feed: Feed, admission: Admission, allocations: Allocations, reads: Reads, env: Env) -> None:
        self._store = store
        self._feed = feed
        self._admission = admission
        self._allocations = allocations
        self._reads = reads
        self._env = env

    async def delete(self, call: Call) -> Response:
        outcome = await self.delete_object(call, call.key, parse_options(call.request))
        if not outcome.deleted:
            # Still there, with a deletionTimestamp: 200 as upstream, which answers 202 only to clients of OrphanDependents.
            return self._reads.one(call, outcome.entry)
        if call.served.resource.group_resource in _RETURN_OBJECT:
            return self._reads.one(call, outcome.entry)
        resource = call.served.resource
        details: Object = {"name": call.info.name}
        if resource.group:
            details["group"] = resource.group
        details |= {"kind": resource.plural, "uid": outcome.entry.decode()["metadata"]["uid"]}
        return replies.of(replies.success(details), call.output)

    async def delete_object(self, call: Call, key: str, options: DeleteOptions) -> Outcome:
        """Raises NotFound, Conflict (a precondition), or what admission says."""
        served, resource = call.served, call.served.resource
        name = key.rpartition("/")[2]
        namespace = key.rpartition("/")[0]

        async def step(old: Object | None) -> Write | Delete:
            if old is None:
                raise errors.not_found(resource.plural, name, resource.group)
            metadata = old["metadata"]
            if options.uid and options.uid != metadata["uid"]:
                why = f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']})"
                raise errors.conflict(resource.kind, name, resource.group, f"{why}. The object might have been deleted and then recreated")
            if options.resource_version and options.resource_version != metadata["resourceVersion"]:
                have, wanted = metadata["resourceVersion"], options.resource_version
                why = f"the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({have})"
                raise errors.conflict(resource.kind, name, resource.group, f"{why}. The object might have been modified")
            request = AdmissionRequest("DELETE", served.stored, "", namespace, name, call.user, None, old, call.dry_run, call.warnings)
            request.requested = resource
            request.options = partial(_shown_options, call, options)
            await self._admission.mutate(request)
            await self._admission.validate(request)
            if deletion.plan(served.stored, old, options, self._env.clock.now()):
                return self._allocations.for_delete(served.stored, old)
            return Write(old)

        return await self._store.update(served, key, step, dry_run=call.dry_run)

    async def delete_collection(self, call: Call) -> Response:
        options = parse_options(call.request)
        chosen = selection(call.request, call.served, call.namespace)
        at = await self._feed.caught_up()
        entries = [entry for entry in call.served.cache.entries(chosen.namespace) if chosen.matches(entry)]
        gone: list[Entry] = []
        for start in range(0, len(entries), _COLLECTION_PARALLEL):
            part = entries[start : start + _COLLECTION_PARALLEL]
            results = await asyncio.gather(*(self._delete_one_of_many(call, entry, options) for entry in part))
            gone += [entry for entry in results if entry is not None]
        return self._reads.as_list(call, gone, at)

    async def _delete_one_of_many(self, call: Call, entry: Entry, options: DeleteOptions) -> Entry | None:
        try:
            return (await self.delete_object(call, entry.key, options)).entry
        except errors.NotFound:
            return None  # someone else deleted it meanwhile: that is what was asked for


def _shown_options(call: Call, options: DeleteOptions) -> Object:
    """As admission shows them."""
    stated = {"uid": options.uid, "resourceVersion": options.resource_version}
    preconditions = {key: value for key, value in stated.items() if value}
    return options_of(
        call,
        "DeleteOptions",
        gracePeriodSeconds=options.grace_period_s,
        propagationPolicy=options.propagation_policy,
        preconditions=preconditions or None,
    )


def parse_options(request: Request) -> DeleteOptions:
    """From the body (metav1.DeleteOptions) or, as old clients do, the query."""
    return options_from(decode_body(request) if request.body else {}, request)


def options_from(body: Any, request: Request) -> DeleteOptions:
    """Raises BadRequest."""
    if not isinstance(body, dict):
        raise errors.BadRequest("the body of a DELETE must be a DeleteOptions object")
    kind = body.get("kind")
    if kind not in (None, "", "DeleteOptions"):
        raise errors.BadRequest(f"the body of a DELETE must be a DeleteOptions object, not {kind}")
    grace: Any = body.get("gracePeriodSeconds")
    if grace is None and request.arg("gracePeriodSeconds"):
        grace = request.arg("gracePeriodSeconds")
        if not grace.removeprefix("-").isdigit():
            raise errors.BadRequest(f'strconv.ParseInt: parsing "{grace[:64]}": invalid syntax')
        grace = int(grace)
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int) or abs(grace) >= 1 << 31):
        raise errors.BadRequest("gracePeriodSeconds: Invalid value: must be a number of seconds")
    policy = body.get("propagationPolicy") or request.arg("propagationPolicy")
    orphan = body.get("orphanDependents")
    if orphan is not None:
        if policy:
            shown = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
            raise errors.invalid_options("DeleteOptions", errors.Cause("FieldValueInvalid", shown, "propagationPolicy"))
        policy = "Orphan" if orphan else "Background"
    preconditions = body.get("preconditions") or {}
    if not isinstance(policy, str) or not isinstance(preconditions, dict):
        raise errors.BadRequest("propagationPolicy must be a string and preconditions an object")
    dry_run = body.get("dryRun")
    if dry_run:
        request.query = {**request.query, "dryRun": [str(value) for value in dry_run] if isinstance(dry_run, list) else [str(dry_run)]}
    return DeleteOptions(grace, policy, preconditions.get("uid"), preconditions.get("resourceVersion"))
