"""ExtendedResourceToleration: a pod that asks for a special device tolerates the taint that keeps other pods off its nodes.

Off by default.  Source: plugin/pkg/admission/extendedresourcetoleration.
"""

from k8sfromscratch.api.registry import PODS
from k8sfromscratch.core.admission.types import AdmissionRequest, View


class ExtendedResourceToleration:
    name = "ExtendedResourceToleration"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        pod = request.obj
        if request.resource != PODS or request.subresource or pod is None or request.operation not in ("CREATE", "UPDATE"):
            return
        spec = pod["spec"]
        wanted: set[str] = set()
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            wanted |= {name for name in (container.get("resources") or {}).get("requests") or {} if is_extended(name)}
        tolerations = list(spec.get("tolerations") or ())
        for name in sorted(wanted):
            toleration = {"key": name, "operator": "Exists", "effect": "NoSchedule"}
            if toleration not in tolerations:
                tolerations.append(toleration)
        if wanted:
            spec["tolerations"] = tolerations

    def validate(self, request: AdmissionRequest, view: View) -> None:
        return


def is_extended(resource: str) -> bool:
    """`example.com/gpu`: a resource outside of kubernetes.io that nodes advertise."""
    domain, slash, _ = resource.partition("/")
    return bool(slash) and "kubernetes.io" not in domain and not resource.startswith("requests.")
