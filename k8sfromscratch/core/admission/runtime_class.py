"""RuntimeClass: what a pod's runtime costs and where it can run is written into the pod, and must not be claimed by the pod itself.

Source: plugin/pkg/admission/runtimeclass.
"""

from collections.abc import Sequence

from k8sfromscratch.api.registry import PODS, RUNTIME_CLASSES
from k8sfromscratch.core.admission.types import AdmissionRequest, Object, View


class RuntimeClass:
    name = "RuntimeClass"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        if not request.creates(PODS):
            return
        assert request.obj is not None
        spec, found = request.obj["spec"], _class_of(request, view)
        if found is None:
            return
        overhead = (found.get("overhead") or {}).get("podFixed")
        if overhead is not None:
            if spec.get("overhead") is not None and spec["overhead"] != overhead:
                raise request.refused("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            spec["overhead"] = dict(overhead)
        scheduling = found.get("scheduling") or {}
        _select_nodes(request, spec, scheduling.get("nodeSelector") or {})
        if scheduling.get("tolerations"):
            spec["tolerations"] = merged_tolerations(spec.get("tolerations") or (), scheduling["tolerations"])

    def validate(self, request: AdmissionRequest, view: View) -> None:
        if not request.creates(PODS):
            return
        assert request.obj is not None
        found, overhead = _class_of(request, view), request.obj["spec"].get("overhead")
        defined = (found.get("overhead") or {}).get("podFixed") if found is not None else None
        if defined is not None:
            if overhead != defined:
                raise request.refused("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        elif overhead is not None:
            raise request.refused("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")


def _class_of(request: AdmissionRequest, view: View) -> Object | None:
    assert request.obj is not None
    name = request.obj["spec"].get("runtimeClassName")
    if not name:
        return None
    found = view.get(RUNTIME_CLASSES, name)
    if found is None:
        raise request.refused(f'pod rejected: RuntimeClass "{name}" not found')
    return found


def _select_nodes(request: AdmissionRequest, spec: Object, wanted: dict[str, str]) -> None:
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in wanted.items():
        if selector.get(key, value) != value:
            theirs = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}"
            raise request.refused(f"conflict: {theirs}; pod.spec.nodeSelector[{key}] = {selector[key]}")
        selector[key] = value
    if selector:
        spec["nodeSelector"] = selector


def merged_tolerations(first: Sequence[Object], second: Sequence[Object]) -> list[Object]:
    """Both, without those that another one of them covers."""
    every = [*first, *second]
    merged: list[Object] = []
    for index, one in enumerate(every):
        later = (other for other in every[index + 1 :] if other != one)
        if not any(_covers(other, one) for other in merged) and not any(_covers(other, one) for other in later):
            merged.append(dict(one))
    return merged


def _covers(wide: Object, narrow: Object) -> bool:
    """Whether whatever `narrow` tolerates, `wide` tolerates too."""
    if wide == narrow:
        return True
    if wide.get("key", "") != narrow.get("key", "") and (wide.get("key") or wide.get("operator") != "Exists"):
        return False
    if wide.get("effect") and wide["effect"] != narrow.get("effect"):
        return False
    if wide.get("effect") == "NoExecute" and wide.get("tolerationSeconds") is not None:
        seconds = narrow.get("tolerationSeconds")
        if seconds is None or seconds > wide["tolerationSeconds"]:
            return False
    if wide.get("operator") == "Exists":
        return True
    return narrow.get("operator", "Equal") == "Equal" and narrow.get("value", "") == wide.get("value", "")
