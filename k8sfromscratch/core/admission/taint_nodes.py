"""TaintNodesByCondition: a new node takes no pods until the node lifecycle controller has seen that it is ready.

Source: plugin/pkg/admission/nodetaint.
"""

from k8sfromscratch.api.registry import NODES
from k8sfromscratch.core.admission.types import AdmissionRequest, View

NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


class TaintNodesByCondition:
    name = "TaintNodesByCondition"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        if not request.creates(NODES):
            return
        assert request.obj is not None
        spec = request.obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(taint.get("key") == NOT_READY["key"] and taint.get("effect") == NOT_READY["effect"] for taint in taints):
            spec["taints"] = [*taints, dict(NOT_READY)]

    def validate(self, request: AdmissionRequest, view: View) -> None:
        return
