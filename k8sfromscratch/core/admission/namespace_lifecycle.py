"""NamespaceLifecycle: nothing is created in a namespace that is not there or is going; the first namespaces stay."""

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import NAMESPACES
from k8sfromscratch.core.admission.types import AdmissionRequest, View

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle:
    name = "NamespaceLifecycle"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        """Refuses: what is missing in a namespace that is not there must not be blamed instead by the plugins behind."""
        resource = request.resource
        if request.operation != "CREATE" or not resource.namespaced:
            return
        namespace = view.get(NAMESPACES, request.namespace)
        if namespace is None:
            raise errors.not_found(NAMESPACES.plural, request.namespace)
        if "deletionTimestamp" in namespace["metadata"]:
            why = f"unable to create new content in namespace {request.namespace} because it is being terminated"
            error = errors.forbidden(resource.plural, request.name, resource.group, why)
            cause = {"reason": "NamespaceTerminating", "message": f"namespace {request.namespace} is being terminated", "field": "metadata.namespace"}
            error.details["causes"] = [cause]
            raise error

    def validate(self, request: AdmissionRequest, view: View) -> None:
        resource = request.resource
        if request.operation == "DELETE" and resource == NAMESPACES and request.name in IMMORTAL:
            raise errors.forbidden(resource.plural, request.name, resource.group, "this namespace may not be deleted")
