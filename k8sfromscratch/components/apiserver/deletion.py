"""What a DELETE does to an object: remove it, or mark it and let its finalizers and its kubelet finish. Pure.

    pods                    a grace period: the mark now, the removal by the kubelet (DELETE with grace 0) when all is stopped
    metadata.finalizers     the mark now, the removal with the update that takes away the last of them
    namespaces              spec.finalizers count too
    definitions             of custom resources get a finalizer, which goes with the last of those
    propagationPolicy       Foreground and Orphan add a finalizer, which the garbage collector takes away

Source: registry/rest/delete.go, registry/generic/registry/store.go.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch.api.errors import Cause, invalid_options
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver import custom_names
from k8sfromscratch.components.apiserver.custom_version import TERMINATING
from k8sfromscratch.process.clock import rfc3339

Object = dict[str, Any]

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
CUSTOM_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_POLICIES = {"": None, "Background": None, "Orphan": ORPHAN, "Foreground": FOREGROUND}


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    grace_period_s: int | None = None
    propagation_policy: str = ""
    uid: str | None = None
    resource_version: str | None = None

    def __post_init__(self) -> None:
        if self.propagation_policy not in _POLICIES:
            shown = f'Unsupported value: "{self.propagation_policy}": supported values: "Foreground", "Background", "Orphan", "nil"'
            raise invalid_options("DeleteOptions", Cause("FieldValueNotSupported", shown, "propagationPolicy"))


def plan(resource: Resource, obj: Object, options: DeleteOptions, now: datetime) -> bool:
    """Changes `obj` to its state after the DELETE; True if it is to be removed now."""
    metadata = obj["metadata"]
    _set_finalizers(metadata, options)
    grace_s = _grace_s(resource, obj, options)
    marked = "deletionTimestamp" in metadata
    if resource.group_resource == "customresourcedefinitions.apiextensions.k8s.io" and not marked:
        _begin_cleanup(obj, now)
    if grace_s is not None and grace_s > 0:
        if not marked:
            _mark(metadata, now, grace_s)
        elif grace_s < (metadata.get("deletionGracePeriodSeconds") or 0):
            # A second DELETE may shorten the wait, never lengthen it: the deadline counts from the first one.
            first = datetime.fromisoformat(metadata["deletionTimestamp"]) - timedelta(seconds=metadata["deletionGracePeriodSeconds"])
            metadata["deletionTimestamp"] = rfc3339(max(now, first + timedelta(seconds=grace_s)))
            metadata["deletionGracePeriodSeconds"] = grace_s
        return False
    if metadata.get("finalizers") or _spec_finalizers(resource, obj):
        if not marked:
            _mark(metadata, now, 0)
            if resource.group_resource == "namespaces":
                obj.setdefault("status", {})["phase"] = "Terminating"
        else:
            metadata["deletionGracePeriodSeconds"] = 0
        return False
    if marked:
        metadata["deletionGracePeriodSeconds"] = 0
    return True


def finished(resource: Resource, obj: Object) -> bool:
    """Whether an update has taken away the last thing that a marked object waited for."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers") or _spec_finalizers(resource, obj):
        return False
    return not metadata.get("deletionGracePeriodSeconds")


def _begin_cleanup(definition: Object, now: datetime) -> None:
    """From here on no object of it is created; `custom_controller` deletes those that are there."""
    finalizers = definition["metadata"].setdefault("finalizers", [])
    if CUSTOM_CLEANUP not in finalizers:
        finalizers.append(CUSTOM_CLEANUP)
    message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    terminating = custom_names.of(TERMINATING, True, "InstanceDeletionPending", message)
    status = definition.setdefault("status", {})
    status["conditions"] = custom_names.merged(status.get("conditions") or [], [terminating], rfc3339(now))


def _grace_s(resource: Resource, obj: Object, options: DeleteOptions) -> int | None:
    """None where the kind knows no graceful deletion."""
    if resource.group_resource != "pods":
        return None
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    # Nobody runs it, or nothing runs any more: nothing to wait for.
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    grace_s = options.grace_period_s
    if grace_s is None:
        grace_s = spec.get("terminationGracePeriodSeconds", 30)
    return max(grace_s, 1) if grace_s < 0 else grace_s


def _set_finalizers(metadata: Object, options: DeleteOptions) -> None:
    if not options.propagation_policy:
        return
    wanted = _POLICIES[options.propagation_policy]
    finalizers = [name for name in metadata.get("finalizers") or [] if name not in (ORPHAN, FOREGROUND)]
    if wanted is not None:
        finalizers.append(wanted)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)


def _mark(metadata: Object, now: datetime, grace_s: int) -> None:
    metadata["deletionTimestamp"] = rfc3339(now + timedelta(seconds=grace_s))
    metadata["deletionGracePeriodSeconds"] = grace_s


def _spec_finalizers(resource: Resource, obj: Object) -> bool:
    return resource.group_resource == "namespaces" and bool((obj.get("spec") or {}).get("finalizers"))
