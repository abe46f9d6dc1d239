"""What holds for every object's metadata, and what a kind's name may be.

Source: apimachinery's api/validation/objectmeta.go, ValidateObjectMeta in pkg/apis/core/validation.
"""

from collections.abc import Mapping
from typing import Any

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.api.validation.field import Check, Object, checked, forbidden, immutable, invalid, not_negative, required, too_long

ANNOTATIONS_BYTES_MAX = 256 * 1024

_NAMES: Mapping[str, Check] = {
    "namespaces": names.dns_label,
    "services": names.dns_1035_label,
    "roles.rbac.authorization.k8s.io": names.path_segment,
    "rolebindings.rbac.authorization.k8s.io": names.path_segment,
    "clusterroles.rbac.authorization.k8s.io": names.path_segment,
    "clusterrolebindings.rbac.authorization.k8s.io": names.path_segment,
    "apiservices.apiregistration.k8s.io": names.path_segment,
    "flowschemas.flowcontrol.apiserver.k8s.io": names.dns_subdomain,
}
"""All others are DNS subdomains."""

_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def metadata(resource: Resource, obj: Object) -> list[Cause]:
    meta = obj.get("metadata") or {}
    causes = _name(resource, meta)
    if resource.namespaced:
        namespace = meta.get("namespace") or ""
        causes += checked("metadata.namespace", namespace, names.dns_label) if namespace else [required("metadata.namespace")]
    elif meta.get("namespace"):
        causes.append(forbidden("metadata.namespace", "not allowed on this type"))
    causes += not_negative(meta, "metadata", "generation")
    causes += _what_updates_may_change(meta)
    return causes


def metadata_update(new_obj: Object, old_obj: Object) -> list[Cause]:
    new, old = new_obj.get("metadata") or {}, old_obj.get("metadata") or {}
    causes = _what_updates_may_change(new)
    for key in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        causes += immutable(f"metadata.{key}", new.get(key), old.get(key))
    if new.get("generation", 0) < old.get("generation", 0):
        causes.append(invalid("metadata.generation", new.get("generation", 0), "must not be decremented"))
    if old.get("deletionTimestamp"):
        added = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if added:
            listed = ", ".join(f'"{one}"' for one in added)
            detail = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
            causes.append(forbidden("metadata.finalizers", detail))
    return causes


def _name(resource: Resource, meta: Mapping[str, Any]) -> list[Cause]:
    check = _NAMES.get(resource.group_resource, names.dns_subdomain)
    causes: list[Cause] = []
    generate = meta.get("generateName") or ""
    if generate:
        # What will be appended makes a trailing dash good.
        whole = generate[:-2] + "a" if len(generate) > 1 and generate.endswith("-") else generate
        causes += [invalid("metadata.generateName", generate, message) for message in check(whole)]
    name = meta.get("name") or ""
    if not name:
        return [*causes, required("metadata.name", "name or generateName is required")]
    return causes + checked("metadata.name", name, check)


def _what_updates_may_change(meta: Mapping[str, Any]) -> list[Cause]:
    causes = labels(meta.get("labels"), "metadata.labels") + annotations(meta.get("annotations"), "metadata.annotations")
    return causes + _owners(meta.get("ownerReferences") or ()) + _finalizers(meta.get("finalizers") or ())


def labels(of: Mapping[str, str] | None, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in (of or {}).items():
        causes += checked(path, key, names.qualified_name) + checked(path, value, names.label_value)
    return causes


def annotations(of: Mapping[str, str] | None, path: str) -> list[Cause]:
    causes: list[Cause] = []
    size = 0
    for key, value in (of or {}).items():
        causes += [invalid(path, key, message) for message in names.qualified_name(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_BYTES_MAX:
        causes.append(too_long(path, ANNOTATIONS_BYTES_MAX))
    return causes


def _owners(references: Any) -> list[Cause]:
    path = "metadata.ownerReferences"
    causes: list[Cause] = []
    controllers: list[str] = []
    for one in references:
        version = one.get("apiVersion", "").rpartition("/")[2]
        if not version:
            causes.append(invalid(f"{path}.apiVersion", one.get("apiVersion", ""), "version must not be empty"))
        causes += [invalid(f"{path}.{key}", "", "must not be empty") for key in ("kind", "name", "uid") if not one.get(key)]
        if (one.get("apiVersion"), one.get("kind")) == ("v1", "Event"):
            causes.append(invalid(path, one, "/v1, Kind=Event is disallowed from being an owner"))
        if one.get("controller"):
            controllers.append(f"{one.get('kind', '')}/{one.get('name', '')}")
    if len(controllers) > 1:
        detail = f'Only one reference can have Controller set to true. Found "true" in references for {controllers[0]} and {controllers[1]}'
        causes.append(invalid(path, list(references), detail))
    return causes


def _finalizers(finalizers: Any) -> list[Cause]:
    path = "metadata.finalizers"
    causes: list[Cause] = []
    for index, one in enumerate(finalizers):
        causes += checked(path, one, names.qualified_name)
        if "/" not in one and one not in _STANDARD_FINALIZERS:
            causes.append(invalid(f"{path}[{index}]", one, "name is neither a standard finalizer name nor is it fully qualified"))
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        causes.append(invalid(path, list(finalizers), "finalizer orphan and foregroundDeletion cannot be both set"))
    return causes
