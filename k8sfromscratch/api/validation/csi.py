"""What CSI drivers register: themselves, their nodes, the volumes they attach.

Source: pkg/apis/storage/validation.
"""

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.validation.field import Object, checked, duplicates, immutable, indexed, not_supported, required

_MODES = ("Ephemeral", "Persistent")
_FIXED_DRIVER_FIELDS = ("attachRequired", "fsGroupPolicy", "volumeLifecycleModes")


def csi_driver(obj: Object) -> list[Cause]:
    modes = (obj.get("spec") or {}).get("volumeLifecycleModes") or ()
    return [not_supported("spec.volumeLifecycleModes", mode, _MODES) for mode in modes if mode not in _MODES]


def csi_driver_update(new: Object, old: Object) -> list[Cause]:
    now, before = new.get("spec") or {}, old.get("spec") or {}
    causes = csi_driver(new)
    for key in _FIXED_DRIVER_FIELDS:
        causes += immutable(f"spec.{key}", now.get(key), before.get(key))
    return causes


def csi_node(obj: Object) -> list[Cause]:
    drivers = list(indexed(obj.get("spec") or {}, "drivers", "spec"))
    causes = [required(f"{at}.{key}") for at, driver in drivers for key in ("name", "nodeID") if not driver.get(key)]
    return causes + duplicates((f"{at}.name", driver.get("name", "")) for at, driver in drivers)


def volume_attachment(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = [] if spec.get("attacher") else [required("spec.attacher")]
    causes += checked("spec.attacher", spec.get("attacher", "").lower(), names.dns_subdomain)
    causes += checked("spec.nodeName", spec.get("nodeName", ""), names.dns_subdomain)
    source = spec.get("source") or {}
    if len([key for key in ("inlineVolumeSpec", "persistentVolumeName") if source.get(key)]) != 1:
        causes.append(required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
    return causes


def volume_attachment_update(new: Object, old: Object) -> list[Cause]:
    return volume_attachment(new) + immutable("spec", new.get("spec"), old.get("spec"))
