"""Volumes of pods, persistent volumes, claims and storage classes."""

from k8sfromscratch.api.defaults.fill import Object, child, if_absent, if_empty, objects

FILE_MODE = 0o644
TOKEN_LIFETIME_S = 3600


def volume(of: Object) -> None:
    """A volume that names no source is an emptyDir."""
    if not any(key != "name" for key in of):
        of["emptyDir"] = {}
    for key in ("secret", "configMap", "downwardAPI", "projected"):
        if key in of:
            if_absent(of[key], defaultMode=FILE_MODE)
    _field_refs(of.get("downwardAPI") or {})
    for source in objects(of.get("projected") or {}, "sources"):
        _field_refs(source.get("downwardAPI") or {})
        if "serviceAccountToken" in source:
            if_absent(source["serviceAccountToken"], expirationSeconds=TOKEN_LIFETIME_S)
    if "ephemeral" in of and "volumeClaimTemplate" in of["ephemeral"]:
        if_absent(child(of["ephemeral"]["volumeClaimTemplate"], "spec"), volumeMode="Filesystem")
    if "image" in of:
        name = of["image"].get("reference") or ""
        if_empty(of["image"], pullPolicy="Always" if name.endswith(":latest") or ":" not in name.rsplit("/", 1)[-1] else "IfNotPresent")
    _sources(of)


def _field_refs(downward: Object) -> None:
    for item in objects(downward, "items"):
        if "fieldRef" in item:
            if_empty(item["fieldRef"], apiVersion="v1")
        if "resourceFieldRef" in item:
            if_absent(item["resourceFieldRef"], divisor="0")


def _sources(of: Object) -> None:
    """The sources that pods and persistent volumes share."""
    if "hostPath" in of:
        if_absent(of["hostPath"], type="")
    if "iscsi" in of:
        if_empty(of["iscsi"], iscsiInterface="default")
    if "rbd" in of:
        if_empty(of["rbd"], pool="rbd", user="admin", keyring="/etc/ceph/keyring")
    if "azureDisk" in of:
        if_absent(of["azureDisk"], cachingMode="ReadWrite", kind="Shared", fsType="ext4", readOnly=False)
    if "scaleIO" in of:
        if_empty(of["scaleIO"], storageMode="ThinProvisioned", fsType="xfs")


def persistent_volume(obj: Object) -> None:
    spec = child(obj, "spec")
    if_empty(spec, persistentVolumeReclaimPolicy="Retain")
    if_absent(spec, volumeMode="Filesystem")
    if_empty(child(obj, "status"), phase="Pending")
    _sources(spec)


def persistent_volume_claim(obj: Object) -> None:
    if_absent(child(obj, "spec"), volumeMode="Filesystem")
    if_empty(child(obj, "status"), phase="Pending")


def storage_class(obj: Object) -> None:
    if_absent(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def csi_driver(obj: Object) -> None:
    spec = child(obj, "spec")
    if_absent(
        spec,
        attachRequired=True,
        podInfoOnMount=False,
        storageCapacity=False,
        fsGroupPolicy="ReadWriteOnceWithFSType",
        requiresRepublish=False,
        seLinuxMount=False,
    )
    if_empty(spec, volumeLifecycleModes=["Persistent"])
