"""Volumes of a pod, and the sources that persistent volumes share with them.

Source: ValidateVolumes in pkg/apis/core/validation.
"""

from collections.abc import Mapping
from typing import Any

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.quantity import parse_quantity
from k8sfromscratch.api.validation.containers import descending_path, field_reference, resource_field_reference
from k8sfromscratch.api.validation.field import (
    Object,
    checked,
    duplicates,
    forbidden,
    immutable,
    indexed,
    invalid,
    not_supported,
    one_of,
    optional_one_of,
    required,
    required_and_checked,
)
from k8sfromscratch.api.validation.selectors import label_selector, node_selector

FILE_MODE_MAX = 0o777

_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_FILE_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_PROJECTED = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate")

# source → the fields of it that may not be empty
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "hostPath": ("path",),
    "secret": ("secretName",),
    "configMap": ("name",),
    "persistentVolumeClaim": ("claimName",),
    "nfs": ("server", "path"),
    "csi": ("driver",),
    "iscsi": ("targetPortal", "iqn"),
    "cephfs": ("monitors",),
    "rbd": ("monitors", "image"),
    "glusterfs": ("endpoints", "path"),
    "gcePersistentDisk": ("pdName",),
    "awsElasticBlockStore": ("volumeID",),
    "azureFile": ("secretName", "shareName"),
    "azureDisk": ("diskName", "diskURI"),
    "cinder": ("volumeID",),
    "flexVolume": ("driver",),
    "local": ("path",),
    "image": ("reference",),
    "ephemeral": ("volumeClaimTemplate",),
}


def volumes(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for at, one in indexed(spec, "volumes", path):
        causes += required_and_checked(f"{at}.name", one.get("name"), names.dns_label)
        causes += source({key: value for key, value in one.items() if key != "name"}, at)
    return causes + duplicates((f"{at}.name", one.get("name", "")) for at, one in indexed(spec, "volumes", path))


def source(of: Mapping[str, Any], path: str) -> list[Cause]:
    """Exactly one source, with what it needs."""
    given = list(of)
    if not given:
        return [required(path, "must specify a volume type")]
    causes = [forbidden(f"{path}.{key}", "may not specify more than 1 volume type") for key in given[1:]]
    key = given[0]
    at, value = f"{path}.{key}", of[key]
    causes += [required(f"{at}.{field}") for field in _NEEDED.get(key, ()) if not value.get(field)]
    match key:
        case "hostPath":
            if ".." in value.get("path", "").split("/"):
                causes.append(invalid(f"{at}.path", value["path"], "must not contain '..'"))
            causes += optional_one_of(f"{at}.type", value.get("type"), _HOST_PATH_TYPES)
        case "emptyDir":
            size = value.get("sizeLimit")
            if size is not None and parse_quantity(size) < 0:
                causes.append(forbidden(f"{at}.sizeLimit", "SizeLimit field must be a valid resource quantity"))
        case "nfs" if not value.get("path", "").startswith("/"):
            causes.append(invalid(f"{at}.path", value.get("path", ""), "must be an absolute path"))
        case "csi":
            causes += checked(f"{at}.driver", value.get("driver", "").lower(), names.dns_subdomain)
        case "secret" | "configMap":
            causes += _mode(value, f"{at}.defaultMode", "defaultMode") + _keys(value, at)
        case "downwardAPI":
            causes += _mode(value, f"{at}.defaultMode", "defaultMode") + _downward(value, at)
        case "projected":
            causes += _mode(value, f"{at}.defaultMode", "defaultMode") + _projected(value, at)
        case "image":
            causes += one_of(f"{at}.pullPolicy", value.get("pullPolicy"), ("Always", "IfNotPresent", "Never"))
    return causes


def _mode(of: Mapping[str, Any], path: str, key: str) -> list[Cause]:
    mode = of.get(key)
    if mode is None or 0 <= mode <= FILE_MODE_MAX:
        return []
    return [invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive")]


def _keys(of: Mapping[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for at, item in indexed(of, "items", path):
        causes += [required(f"{at}.{key}") for key in ("key", "path") if not item.get(key)]
        causes += descending_path(f"{at}.path", item.get("path", "")) + _mode(item, f"{at}.mode", "mode")
    return causes


def _downward(of: Mapping[str, Any], path: str) -> list[Cause]:
    """The causes name the source and not the item, as clients have come to know them."""
    causes: list[Cause] = []
    for item in of.get("items") or ():
        causes += [] if item.get("path") else [required(f"{path}.path")]
        causes += descending_path(f"{path}.path", item.get("path", "")) + _mode(item, f"{path}.mode", "mode")
        if "fieldRef" in item:
            causes += field_reference(item["fieldRef"], f"{path}.fieldRef", _FILE_FIELDS)
            if "resourceFieldRef" in item:
                causes.append(invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
        elif "resourceFieldRef" in item:
            causes += resource_field_reference(item["resourceFieldRef"], f"{path}.resourceFieldRef", named=True)
        else:
            causes.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return causes


def _projected(of: Mapping[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    taken: set[str] = set()
    for at, one in indexed(of, "sources", path):
        given = [key for key in _PROJECTED if key in one]
        if not given:
            causes.append(required(at, "must specify a volume type"))
        causes += [forbidden(at, "may not specify more than 1 volume type") for _ in given[1:]]
        for key in given[:1]:
            value, inner = one[key], f"{at}.{key}"
            match key:
                case "secret" | "configMap":
                    causes += [] if value.get("name") else [required(f"{inner}.name")]
                    causes += _keys(value, inner)
                case "downwardAPI":
                    causes += _downward(value, inner)
                case "serviceAccountToken":
                    causes += _token(value, path, inner)
            for file in _files(key, value):
                if file in taken:
                    causes.append(invalid(path, value.get("name", ""), "conflicting duplicate paths"))
                taken.add(file)
    return causes


def _token(of: Mapping[str, Any], path: str, inner: str) -> list[Cause]:
    causes = [] if of.get("path") else [required(f"{path}.path")]
    causes += descending_path(f"{path}.path", of.get("path", ""))
    if of.get("expirationSeconds", 600) < 600:
        causes.append(invalid(f"{inner}.expirationSeconds", of["expirationSeconds"], "may not specify a duration less than 10 minutes"))
    return causes


def _files(key: str, of: Mapping[str, Any]) -> list[str]:
    """Where a source will write, as far as it says so."""
    listed = [of] if key == "serviceAccountToken" else of.get("items") or []
    return [one["path"] for one in listed if one.get("path")]


# -- persistent volumes, claims, classes

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_PV_FIELDS = frozenset(
    {"capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions", "volumeMode", "nodeAffinity"}
    | {"volumeAttributesClassName"}
)


def _access_modes(spec: Object, path: str, when_none: str) -> list[Cause]:
    modes = spec.get("accessModes") or []
    if not modes:
        return [required(f"{path}.accessModes", when_none)]
    causes = [cause for mode in modes for cause in optional_one_of(f"{path}.accessModes", mode, ACCESS_MODES)]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        causes.append(forbidden(f"{path}.accessModes", "may not use ReadWriteOncePod with other access modes"))
    return causes


def _positive_storage(amount: str | None, path: str) -> list[Cause]:
    if amount is None:
        return [required(path)]
    return [] if parse_quantity(amount) > 0 else [invalid(path, amount, "must be greater than zero")]


def persistent_volume(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _access_modes(spec, "spec", "")
    capacity = spec.get("capacity") or {}
    if not capacity:
        causes += [required("spec.capacity"), not_supported("spec.capacity", None, ("storage",))]
    elif set(capacity) != {"storage"}:
        causes += optional_one_of("spec.capacity", next(key for key in capacity if key != "storage"), ("storage",))
    else:
        causes += _positive_storage(capacity["storage"], "spec.capacity[storage]")
    causes += source({key: value for key, value in spec.items() if key not in _PV_FIELDS}, "spec")
    causes += optional_one_of("spec.persistentVolumeReclaimPolicy", spec.get("persistentVolumeReclaimPolicy"), ("Delete", "Recycle", "Retain"))
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle" and (spec.get("hostPath") or {}).get("path", "").rstrip("/") == "" and "hostPath" in spec:
        causes.append(forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'"))
    if spec.get("storageClassName"):
        causes += checked("spec.storageClassName", spec["storageClassName"], names.dns_subdomain)
    if "required" in (spec.get("nodeAffinity") or {}):
        causes += node_selector(spec["nodeAffinity"]["required"], "spec.nodeAffinity.required")
    if "local" in spec and not spec.get("nodeAffinity"):
        causes.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    return causes + optional_one_of("spec.volumeMode", spec.get("volumeMode"), ("Block", "Filesystem"))


def persistent_volume_update(new: Object, old: Object) -> list[Cause]:
    def of_source(obj: Object) -> Object:
        return {key: value for key, value in (obj.get("spec") or {}).items() if key not in _PV_FIELDS}

    causes = persistent_volume(new)
    if of_source(new) != of_source(old):
        causes.append(forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"))
    return causes + immutable("volumeMode", (new.get("spec") or {}).get("volumeMode"), (old.get("spec") or {}).get("volumeMode"))


def persistent_volume_claim(obj: Object) -> list[Cause]:
    return claim_spec(obj.get("spec") or {}, "spec")


def claim_spec(spec: Object, path: str) -> list[Cause]:
    causes = _access_modes(spec, path, "at least 1 access mode is required")
    causes += _positive_storage(((spec.get("resources") or {}).get("requests") or {}).get("storage"), f"{path}.resources[storage]")
    if spec.get("storageClassName"):
        causes += checked(f"{path}.storageClassName", spec["storageClassName"], names.dns_subdomain)
    causes += label_selector(spec.get("selector"), f"{path}.selector")
    for key in ("dataSource", "dataSourceRef"):
        if key in spec:
            causes += [required(f"{path}.{key}.{field}") for field in ("name", "kind") if not spec[key].get(field)]
    return causes + optional_one_of(f"{path}.volumeMode", spec.get("volumeMode"), ("Block", "Filesystem"))


def persistent_volume_claim_update(new: Object, old: Object) -> list[Cause]:
    causes = persistent_volume_claim(new)

    bound = (new.get("status") or {}).get("phase") == "Bound"

    def fixed(obj: Object) -> Object:
        spec = dict(obj.get("spec") or {})
        if bound:
            spec["resources"] = {key: value for key, value in (spec.get("resources") or {}).items() if key != "requests"}
            spec.pop("volumeAttributesClassName", None)
        if not (old.get("spec") or {}).get("volumeName"):
            spec.pop("volumeName", None)
        if not (old.get("spec") or {}).get("storageClassName"):
            # A default class may still be given to a claim that named none (KEP-3333).
            spec.pop("storageClassName", None)
        return spec

    if fixed(new) != fixed(old):
        detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        causes.append(forbidden("spec", detail))
    requested, present = (((obj.get("spec") or {}).get("resources") or {}).get("requests", {}).get("storage") for obj in (new, old))
    if requested and present and parse_quantity(requested) < parse_quantity(present):
        capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage", present)
        if parse_quantity(requested) < parse_quantity(capacity):
            causes.append(forbidden("spec.resources.requests.storage", "field can not be less than status.capacity"))
    return causes


def storage_class(obj: Object) -> list[Cause]:
    causes = required_and_checked("provisioner", obj.get("provisioner"), lambda value: names.qualified_name(value.lower()))
    causes += [invalid("parameters", "", "field can not be empty.") for key in obj.get("parameters") or () if not key]
    causes += optional_one_of("reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain"))
    return causes + one_of("volumeBindingMode", obj.get("volumeBindingMode"), ("Immediate", "WaitForFirstConsumer"))


def storage_class_update(new: Object, old: Object) -> list[Cause]:
    fixed = ("parameters", "provisioner", "reclaimPolicy")
    causes = [forbidden(key, f"updates to {key} are forbidden.") for key in fixed if new.get(key) != old.get(key)]
    return storage_class(new) + causes + immutable("volumeBindingMode", new.get("volumeBindingMode"), old.get("volumeBindingMode"))
