"""PersistentVolumeClaimResize: a claim grows only when it is bound and its class says that its volumes can grow.

Source: plugin/pkg/admission/storage/persistentvolume/resize.
"""

from k8sfromscratch.api.quantity import parse_quantity
from k8sfromscratch.api.registry import PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES
from k8sfromscratch.core.admission.default_storage_class import CLASS_ANNOTATION
from k8sfromscratch.core.admission.types import AdmissionRequest, Object, View


class PersistentVolumeClaimResize:
    name = "PersistentVolumeClaimResize"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        return

    def validate(self, request: AdmissionRequest, view: View) -> None:
        new, old = request.obj, request.old
        if request.resource != PERSISTENT_VOLUME_CLAIMS or request.operation != "UPDATE" or request.subresource or new is None or old is None:
            return
        if parse_quantity(_size(new)) <= parse_quantity(_size(old)):
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise request.refused("Only bound persistent volume claims can be expanded")
        class_name, old_name = claim_class(new), claim_class(old)
        found = view.get(STORAGE_CLASSES, class_name) if class_name and class_name == old_name else None
        if found is None or not found.get("allowVolumeExpansion"):
            raise request.refused("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")


def claim_class(claim: Object) -> str:
    """The class that a claim names, by annotation or field; empty for none."""
    annotated = (claim["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
    return str(annotated if annotated is not None else (claim.get("spec") or {}).get("storageClassName") or "")


def _size(claim: Object) -> str:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return str(requests.get("storage", "0"))
