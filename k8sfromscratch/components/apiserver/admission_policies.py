"""ValidatingAdmissionPolicies applied: those configured, the parameters that their bindings name, and what follows from a failure.

What a policy says of a request is `core.admission.policies`' decision.  Policies and parameters are read from the caches: one that was written a
moment ago may not hold yet, as upstream's.
"""

from collections.abc import Awaitable, Callable, Sequence

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import NAMESPACES, VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver.admission_versions import Versions
from k8sfromscratch.components.apiserver.catalog import CacheView, Catalog, Served
from k8sfromscratch.components.apiserver.conversion import to_served
from k8sfromscratch.core.admission import policies, webhooks
from k8sfromscratch.core.admission.policies import Binding, Constraints, Failure, Policy
from k8sfromscratch.core.admission.types import AdmissionRequest, Object
from k8sfromscratch.core.selectors.labels import matches


class _NoParams(Exception):
    """The message says why a binding's parameters cannot be had."""


class AdmissionPolicies:
    def __init__(self, catalog: Catalog, view: CacheView, filled: Callable[[str], Awaitable[None]]) -> None:
        """`filled` waits until the cache of a directory is complete: a custom resource's may be young."""
        self._catalog, self._view, self._filled = catalog, view, filled
        self._versions = Versions(catalog)
        self._seen = (-1, -1)
        self._policies: list[Policy] = []

    async def validate(self, request: AdmissionRequest) -> None:
        """Raises ApiError: the first denial, when all policies were asked."""
        policies.check(request)
        configured = self._configured()
        if not configured or not webhooks.asked(request):
            return
        denial: errors.ApiError | None = None
        for policy in configured:
            for binding, failure in await self._failures(policy, request):
                if "Warn" in binding.actions:
                    request.warn(policies.warning(policy, binding, failure))
                if "Deny" in binding.actions and denial is None:
                    denial = policies.denial(request, policy, binding, failure)
        if denial is not None:
            raise denial

    def _configured(self) -> list[Policy]:
        """Read anew when one has changed."""
        changes = self._view.changes(VALIDATING_ADMISSION_POLICIES), self._view.changes(VALIDATING_ADMISSION_POLICY_BINDINGS)
        if changes != self._seen:
            self._policies = policies.read(*(self._view.list(kind) for kind in (VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS)))
            self._seen = changes
        return self._policies

    async def _failures(self, policy: Policy, request: AdmissionRequest) -> list[tuple[Binding, Failure]]:
        version = self._match(policy.constraints, request)
        if version is None:
            return []
        bindings = [one for one in policy.bindings if one.constraints is None or self._match(one.constraints, request) is not None]
        if not bindings:
            return []
        values = {**self._versions.values(request, version), "namespaceObject": self._namespace(request)}
        found: list[tuple[Binding, Failure]] = []
        for binding in bindings:
            try:
                params = await self._params(policy, binding, request)
            except _NoParams as error:
                found += [(binding, failure) for failure in policies.misconfigured(policy, str(error))]
                continue
            found += [(binding, failure) for one in params for failure in policies.failures(policy, {**values, "params": one})]
        return found

    def _match(self, constraints: Constraints, request: AdmissionRequest) -> Resource | None:
        """The version to look at, where the request is concerned."""
        own = request.requested or request.resource
        versions = [own, *(self._versions.equivalents(request.resource) if constraints.equivalent and constraints.excluded else ())]
        if any(rule.matches(request, version) for rule in constraints.excluded for version in versions):
            return None
        return webhooks.match(constraints, request, self._view, lambda: self._versions.equivalents(request.resource))

    def _namespace(self, request: AdmissionRequest) -> Object | None:
        return self._view.get(NAMESPACES, request.namespace) if request.namespace and request.resource != NAMESPACES else None

    async def _params(self, policy: Policy, binding: Binding, request: AdmissionRequest) -> Sequence[Object | None]:
        """The objects to hold the request to, one after the other; None for a policy that has no parameters.  Raises _NoParams."""
        reference = binding.param_ref
        if policy.param_kind is None or reference is None:
            return [None]
        served = next((one for one in self._catalog if (one.resource.api_version, one.resource.kind) == policy.param_kind), None)
        if served is None:
            version, kind = policy.param_kind
            raise _NoParams(f"failed to find resource referenced by paramKind: '{version}, Kind={kind}'")
        if served.custom is not None:
            await self._filled(served.directory)
        namespace = self._namespace_of_params(served, reference, request)
        if reference.get("name"):
            one = self._view.get(served.resource, reference["name"], namespace)
            found = [] if one is None else [one]
        else:
            found = [one for one in self._view.list(served.resource, namespace) if matches(reference.get("selector"), one["metadata"].get("labels"))]
        if not found and reference.get("parameterNotFoundAction") != "Allow":
            raise _NoParams("no params found for policy binding with `Deny` parameterNotFoundAction")
        return [to_served(served, one) for one in found]

    @staticmethod
    def _namespace_of_params(served: Served, reference: Object, request: AdmissionRequest) -> str | None:
        stated = reference.get("namespace") or ""
        if not served.resource.namespaced:
            if stated:
                raise _NoParams("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
            return None
        if not stated and not request.namespace:
            raise _NoParams("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
        return stated or request.namespace
