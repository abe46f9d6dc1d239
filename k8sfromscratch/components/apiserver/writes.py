"""CREATE, UPDATE and PATCH: from the client's body to the object that is stored.

    body ──intake──> typed, defaulted object ──> admission (mutating) ──> strategy ──> validation ──> admission (validating) ──> store

An update or patch runs all of it anew for each try, since each step may depend on the object that it replaces.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import NAMESPACES, PODS, SERVICE_ACCOUNTS
from k8sfromscratch.components.apiserver import deletion, negotiation, strategies
from k8sfromscratch.components.apiserver.admission import Admission, options_of
from k8sfromscratch.components.apiserver.allocation import Allocations
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.catalog import CacheView
from k8sfromscratch.components.apiserver.entries import Entry, Object
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.components.apiserver.intake import Intake
from k8sfromscratch.components.apiserver.names import generated
from k8sfromscratch.components.apiserver.ownership import Owners, check_applied, check_manager, check_options
from k8sfromscratch.components.apiserver.patches import APPLY_PATCH, patcher
from k8sfromscratch.components.apiserver.reads import Reads
from k8sfromscratch.components.apiserver.store import Delete, Outcome, Store, Write
from k8sfromscratch.core.admission.serviceaccount import DEFAULT_ACCOUNT, ServiceAccount
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.patch.managed_fields import Ownership
from k8sfromscratch.core.patch.values import copied_object
from k8sfromscratch.process.clock import Env, rfc3339
from k8sfromscratch.process.http import Response

_GENERATE_ATTEMPTS = 8
# As long as upstream's ServiceAccount admission tries again.
_ACCOUNT_WAIT_S = 1.5
_OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}

Mutate = Callable[[Object], Awaitable[Object]]
"""From the present object (in the path's version), which it leaves as it is, to the typed one that the client wants, which shares
nothing with it."""


OwnersAfter = Callable[[], list[Ownership]]


class Writes:
    def __init__(
        self, store: Store, feed: Feed, intake: Intake, admission: Admission, view: CacheView, allocations: Allocations, reads: Reads, env: Env
    ) -> None:
        self._store = store
        self._feed = feed
        self._intake = intake
        self._admission = admission
        self._view = view
        self._allocations = allocations
        self._reads = reads
        self._owners = Owners(env.clock)
        self._env = env

    # -- create

    async def create(self, call: Call) -> Response:
        check_manager(call)
        entry = await self.create_object(call, self._intake.stored(call, self._intake.body(call)))
        return self._reads.one(call, entry, 201)

    async def create_object(self, call: Call, obj: Object) -> Entry:
        """Stores a typed, defaulted object of the stored version."""
        metadata = obj["metadata"]
        generate = metadata.get("generateName") if not metadata.get("name") else None
        if not metadata.get("name") and not generate:
            raise errors.invalid(
                call.served.resource.kind,
                "",
                call.served.resource.group,
                [errors.Cause("FieldValueRequired", "Required value: name or generateName is required", "metadata.name")],
            )
        for attempt in range(_GENERATE_ATTEMPTS):
            if generate:
                metadata["name"] = generated(generate, self._env.rng)
            try:
                return await self._create_named(call, copied_object(obj) if generate else obj)
            except errors.AlreadyExists as error:
                if not generate:
                    raise
                if attempt == _GENERATE_ATTEMPTS - 1:
                    raise errors.AlreadyExists(error.message, details={**error.details, "retryAfterSeconds": 1}) from error
        raise AssertionError("unreachable")

    async def _create_named(self, call: Call, obj: Object) -> Entry:
        served, metadata = call.served, obj["metadata"]
        if metadata.get("resourceVersion") not in (None, "", "0"):
            raise errors.BadRequest("resourceVersion should not be set on objects to be created")
        for key in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
            metadata.pop(key, None)
        metadata["uid"] = self._env.uid()
        metadata["creationTimestamp"] = rfc3339(self._env.clock.now())
        request = AdmissionRequest("CREATE", served.stored, "", call.namespace, metadata["name"], call.user, obj, None, call.dry_run, call.warnings)
        self._complete(request, call)
        if served.stored == PODS:
            await self._await_service_account(call.namespace, obj)
        await self._admission.mutate(request)
        obj = _left_by_admission(request)
        strategies.prepare_for_create(served.stored, obj)
        self._owners.created(call, obj)
        self._intake.validate_new(call, obj)
        await self._admission.validate(request)
        return await self._store.create(
            served, served.key(metadata["name"], call.namespace), lambda: self._allocations.for_create(served.stored, obj), dry_run=call.dry_run
        )

    async def _await_service_account(self, namespace: str, pod: Object) -> None:
        """A namespace that has just been made gets its default account a moment later: a pod that comes in between is held, not refused."""
        if (pod["spec"].get("serviceAccountName") or DEFAULT_ACCOUNT) != DEFAULT_ACCOUNT or ServiceAccount.name not in self._admission.names:
            return
        if self._view.get(NAMESPACES, namespace) is None:
            await self._feed.caught_up()
        end_s = self._env.clock.monotonic() + _ACCOUNT_WAIT_S
        while self._view.get(SERVICE_ACCOUNTS, DEFAULT_ACCOUNT, namespace) is None and (left_s := end_s - self._env.clock.monotonic()) > 0:
            if self._view.get(NAMESPACES, namespace) is None:
                return
            await self._view.changed(SERVICE_ACCOUNTS, left_s)

    def _complete(self, request: AdmissionRequest, call: Call) -> None:
        """With what only those need who show the request to someone else."""
        request.requested = call.served.resource
        request.options = partial(options_of, call, _OPTIONS[call.request.method])
        request.retyped = lambda patched: self._intake.stored(call, self._intake.typed(call, patched))

    # -- update and patch

    async def update(self, call: Call) -> Response:
        check_manager(call)
        body = self._intake.body(call)

        async def replace(_: Object) -> Object:
            return copied_object(body)

        return await self.change(call, replace)

    async def patch(self, call: Call) -> Response:
        kind = negotiation.media_type(call.request)
        check_options(call, applying=kind == APPLY_PATCH)
        if kind == APPLY_PATCH:
            return await self._apply(call)
        patch = patcher(call)

        async def patched(old: Object) -> Object:
            return self._intake.patched(call, patch(old))

        return await self.change(call, patched)

    async def _apply(self, call: Call) -> Response:
        """Server-side apply: creates what is not there."""
        applied = self._intake.stored(call, self._intake.applied(call, negotiation.from_yaml(call.request.body)))
        check_applied(applied)
        owners: list[Ownership] = []

        def fresh() -> Object:
            obj = self._intake.typed(call, copied_object(applied))
            self._owners.write(obj, self._owners.applied_anew(call, applied))
            return obj

        async def merged(old: Object) -> Object:
            nonlocal owners
            result, owners = self._owners.applied(call, old, applied)
            return self._intake.typed(call, result)

        return await self.change(call, merged, create_missing=None if call.info.subresource else fresh, owners=lambda: owners)

    async def change(self, call: Call, mutate: Mutate, *, create_missing: Callable[[], Object] | None = None, owners: OwnersAfter | None = None) -> Response:
        """Applies `mutate` (of an update or any patch).  `create_missing` builds the object where there is none (apply)."""
        outcome = await self.change_object(call, mutate, create_missing=create_missing, owners=owners)
        return self._reads.one(call, outcome.entry, 201 if outcome.created else 200)

    async def change_object(
        self, call: Call, mutate: Mutate, *, create_missing: Callable[[], Object] | None = None, owners: OwnersAfter | None = None
    ) -> Outcome:
        """`owners` gives the fields' owners after `mutate`; without it they follow from what it changed."""
        served = call.served
        key = call.key

        async def step(old: Object | None) -> Write | Delete:
            if old is None:
                raise errors.not_found(served.resource.plural, call.info.name, served.resource.group)
            obj = self._intake.stored(call, await mutate(self._intake.outgoing(call, old)))
            self._check_identity(call, obj, old)
            strategies.prepare_for_update(served.stored, obj, old, call.info.subresource)
            request = AdmissionRequest(
                "UPDATE", served.stored, call.info.subresource, call.namespace, call.info.name, call.user, obj, old, call.dry_run, call.warnings
            )
            self._complete(request, call)
            await self._admission.mutate(request)
            obj = _left_by_admission(request)
            if owners is None:
                self._owners.updated(call, obj, old)
            else:
                self._owners.write(obj, owners())
            self._intake.validate_changed(call, obj, old)
            await self._admission.validate(request)
            obj["metadata"].pop("resourceVersion", None)
            if deletion.finished(served.stored, obj):
                return self._allocations.for_delete(served.stored, obj)
            return self._allocations.for_update(served.stored, obj, old)

        if create_missing is not None and await self._missing(call):
            try:
                return Outcome(await self.create_object(call, create_missing()), created=True)
            except errors.AlreadyExists:
                pass  # someone was faster: then it is an update after all
        return await self._store.update(served, key, step, dry_run=call.dry_run)

    async def _missing(self, call: Call) -> bool:
        return call.served.cache.get(call.key) is None and await self._store.fresh(call.served, call.key) is None

    def _check_identity(self, call: Call, obj: Object, old: Object) -> None:
        """The preconditions that an object carries in its own metadata."""
        sent, kept = obj["metadata"], old["metadata"]
        resource = call.served.resource
        if not sent.get("name"):
            raise errors.BadRequest(f"the name of the object ({kept['name']} based on URL) was undeterminable: name must be provided")
        if sent["name"] != kept["name"]:
            raise errors.BadRequest(f"the name of the object ({sent.get('name')}) does not match the name on the URL ({kept['name']})")
        uid = sent.get("uid")
        # A patch that changes it is no precondition: validation refuses it.
        if uid and uid != kept["uid"] and call.info.verb == "update":
            raise errors.conflict(
                resource.plural, kept["name"], resource.group, f"Precondition failed: UID in precondition: {uid}, UID in object meta: {kept['uid']}"
            )
        version = sent.get("resourceVersion")
        if version and version != "0" and version != kept["resourceVersion"]:
            raise errors.conflict(resource.plural, kept["name"], resource.group)


def _left_by_admission(request: AdmissionRequest) -> Object:
    """The plugins change the object in place, a webhook's patch makes a new one."""
    assert request.obj is not None
    return request.obj
