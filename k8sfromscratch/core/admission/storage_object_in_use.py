"""StorageObjectInUseProtection: claims, volumes and their attributes classes are born with a finalizer, so that none goes while it is used.

The controllers pvc-protection, pv-protection and volumeattributesclass-protection take it away (`core.reconcile.storage_protection`).
Source: plugin/pkg/admission/storage/storageobjectinuseprotection.
"""

from k8sfromscratch.api.registry import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES
from k8sfromscratch.core.admission.types import AdmissionRequest, View

PVC_FINALIZER, PV_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
VAC_FINALIZER = "kubernetes.io/vac-protection"
_FINALIZERS = {PERSISTENT_VOLUME_CLAIMS: PVC_FINALIZER, PERSISTENT_VOLUMES: PV_FINALIZER, VOLUME_ATTRIBUTES_CLASSES: VAC_FINALIZER}


class StorageObjectInUseProtection:
    name = "StorageObjectInUseProtection"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        finalizer = _FINALIZERS.get(request.resource)
        if finalizer is None or not request.creates(request.resource):
            return
        assert request.obj is not None
        metadata = request.obj["metadata"]
        finalizers = metadata.get("finalizers") or []
        if finalizer not in finalizers:
            metadata["finalizers"] = [*finalizers, finalizer]

    def validate(self, request: AdmissionRequest, view: View) -> None:
        return
