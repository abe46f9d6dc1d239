"""Priority: a pod's class becomes its number, which scheduler and kubelet read."""

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import PODS, PRIORITY_CLASSES
from k8sfromscratch.core.admission.types import AdmissionRequest, Object, View

_DEFAULT_PRIORITY = 0
_DEFAULT_PREEMPTION = "PreemptLowerPriority"


class Priority:
    name = "Priority"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        if request.resource != PODS or request.subresource or request.obj is None or request.operation != "CREATE":
            return
        pod = request.obj
        spec = pod["spec"]
        chosen = self._class_of(request, spec, view)
        value, policy = (chosen["value"], chosen.get("preemptionPolicy") or _DEFAULT_PREEMPTION) if chosen else (_DEFAULT_PRIORITY, _DEFAULT_PREEMPTION)
        if spec.get("priority") not in (None, value):
            raise self._forbidden(
                request,
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name",
            )
        if spec.get("preemptionPolicy") not in (None, policy):
            raise self._forbidden(
                request,
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name",
            )
        spec["priority"], spec["preemptionPolicy"] = value, policy

    def validate(self, request: AdmissionRequest, view: View) -> None:
        """Only one class may be the default."""
        if request.resource != PRIORITY_CLASSES or request.obj is None or not request.obj.get("globalDefault"):
            return
        default = _global_default(view)
        if default is not None and default["metadata"]["name"] != request.name:
            why = f"PriorityClass {default['metadata']['name']} is already marked as default. Only one default can exist"
            raise errors.forbidden(PRIORITY_CLASSES.plural, request.name, PRIORITY_CLASSES.group, why)

    def _class_of(self, request: AdmissionRequest, spec: Object, view: View) -> Object | None:
        name = spec.get("priorityClassName")
        if not name:
            default = _global_default(view)
            if default is not None:
                spec["priorityClassName"] = default["metadata"]["name"]
            return default
        found = view.get(PRIORITY_CLASSES, name)
        if found is None:
            raise self._forbidden(request, f"no PriorityClass with name {name} was found")
        return found

    def _forbidden(self, request: AdmissionRequest, why: str) -> errors.Forbidden:
        return errors.forbidden("pods", request.name, "", why)


def _global_default(view: View) -> Object | None:
    """The lowest of them, where a race has left several."""
    defaults = [item for item in view.list(PRIORITY_CLASSES) if item.get("globalDefault")]
    return min(defaults, key=lambda item: item["value"], default=None)
