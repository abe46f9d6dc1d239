"""A request's objects as webhooks and policies see them: in the version that their rules name, however the store keeps them."""

from collections.abc import Sequence

from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver.catalog import Catalog
from k8sfromscratch.components.apiserver.conversion import to_served
from k8sfromscratch.components.apiserver.scale import scale_of
from k8sfromscratch.core.admission.types import AdmissionRequest, Object
from k8sfromscratch.core.admission.webhook_review import Shown, condition_values, kind_of


class Versions:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def equivalents(self, resource: Resource) -> Sequence[Resource]:
        """The served versions of the same objects."""
        cache = self._catalog.of(resource).cache
        return [served.resource for served in self._catalog if served.cache is cache]

    def requested_kind(self, request: AdmissionRequest) -> Object:
        """The kind that the client speaks of."""
        return self._objects(request, request.requested or request.resource)[0]

    def shown(self, request: AdmissionRequest, version: Resource) -> Shown:
        return Shown(version, *self._objects(request, version))

    def values(self, request: AdmissionRequest, version: Resource) -> Object:
        """The variables of CEL expressions about the request."""
        return condition_values(request, self.shown(request, version), self.requested_kind(request))

    def _objects(self, request: AdmissionRequest, version: Resource) -> tuple[Object, Object | None, Object | None]:
        obj, old = request.obj, request.old
        if request.subresource == "scale":
            obj, old = (None if value is None else scale_of(value) for value in (obj, old))
        elif version != request.resource:
            served = self._catalog.of(version)
            obj, old = (None if value is None else to_served(served, value) for value in (obj, old))
        present = obj if obj is not None else old
        assert present is not None
        return kind_of(present), obj, old
