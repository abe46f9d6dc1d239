"""DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or not reachable, unless it says otherwise."""

from typing import Any

from k8sfromscratch.api.registry import PODS
from k8sfromscratch.core.admission.types import AdmissionRequest, View

_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SECONDS = 300


class DefaultTolerationSeconds:
    name = "DefaultTolerationSeconds"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        if request.resource != PODS or request.subresource or request.obj is None or request.operation not in ("CREATE", "UPDATE"):
            return
        spec = request.obj["spec"]
        tolerations: list[dict[str, Any]] = list(spec.get("tolerations") or [])
        missing = [taint for taint in _TAINTS if not any(_tolerates(toleration, taint) for toleration in tolerations)]
        if missing:
            added = [{"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _SECONDS} for taint in missing]
            spec["tolerations"] = tolerations + added

    def validate(self, request: AdmissionRequest, view: View) -> None:
        return


def _tolerates(toleration: dict[str, Any], taint: str) -> bool:
    return toleration.get("key", "") in ("", taint) and toleration.get("effect", "") in ("", "NoExecute")
