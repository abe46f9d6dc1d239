"""DefaultStorageClass: a claim that names no class gets the one that is marked as the default.

`storageClassName: ""` is a choice too (no dynamic provisioning) and stays.  Source: plugin/pkg/admission/storage/storageclass/setdefault.
"""

from k8sfromscratch.api.registry import PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES
from k8sfromscratch.core.admission.newest_default import newest_default
from k8sfromscratch.core.admission.types import AdmissionRequest, View

MARKS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


class DefaultStorageClass:
    name = "DefaultStorageClass"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        if not request.creates(PERSISTENT_VOLUME_CLAIMS):
            return
        assert request.obj is not None
        claim, spec = request.obj, request.obj.setdefault("spec", {})
        if spec.get("storageClassName") is not None or CLASS_ANNOTATION in (claim["metadata"].get("annotations") or {}):
            return
        default = newest_default(view.list(STORAGE_CLASSES), MARKS)
        if default is not None:
            spec["storageClassName"] = default["metadata"]["name"]

    def validate(self, request: AdmissionRequest, view: View) -> None:
        return
