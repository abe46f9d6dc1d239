"""DefaultIngressClass: an Ingress that names no class gets the one that is marked as the default.

Source: plugin/pkg/admission/network/defaultingressclass.
"""

from k8sfromscratch.api.registry import INGRESS_CLASSES, INGRESSES
from k8sfromscratch.core.admission.newest_default import newest_default
from k8sfromscratch.core.admission.types import AdmissionRequest, View

MARK = "ingressclass.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
"""The older way to name a class, which must not be combined with the field."""


class DefaultIngressClass:
    name = "DefaultIngressClass"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        if not request.creates(INGRESSES):
            return
        assert request.obj is not None
        ingress, spec = request.obj, request.obj.setdefault("spec", {})
        if spec.get("ingressClassName") is not None or CLASS_ANNOTATION in (ingress["metadata"].get("annotations") or {}):
            return
        default = newest_default(view.list(INGRESS_CLASSES), (MARK,))
        if default is not None:
            spec["ingressClassName"] = default["metadata"]["name"]

    def validate(self, request: AdmissionRequest, view: View) -> None:
        return
