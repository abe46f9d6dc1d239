"""The Pod Security Standards' restricted level: what a hardened pod must say of itself, on top of the baseline.

Some checks here take the place of a laxer one of the baseline.  Source: k8s.io/pod-security-admission/policy.
"""

from collections.abc import Mapping

from k8sfromscratch.core.admission.pod_security_baseline import (
    Check,
    Finding,
    Subject,
    Versions,
    bad_seccomp,
    named,
    proc_mount,
    quoted,
    security_of,
    setters,
)

_VOLUMES = frozenset({"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"})
_OTHER_VOLUMES = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd", "flexVolume", "cinder", "cephfs", "flocker", "fc",
    "azureFile", "vsphereVolume", "quobyte", "azureDisk", "portworxVolume", "scaleIO", "storageos", "image",
)  # fmt: skip


def allow_privilege_escalation(subject: Subject) -> Finding | None:
    bad = [container["name"] for container in subject.containers if security_of(container).get("allowPrivilegeEscalation") is not False]
    if not bad:
        return None
    return Finding("allowPrivilegeEscalation != false", f"{named('container', bad)} must set securityContext.allowPrivilegeEscalation=false")


def capabilities(subject: Subject) -> Finding | None:
    keeping, adding, added = [], [], set()
    for container in subject.containers:
        own = security_of(container).get("capabilities") or {}
        if "ALL" not in (own.get("drop") or ()):
            keeping.append(container["name"])
        forbidden = set(own.get("add") or ()) - {"NET_BIND_SERVICE"}
        if forbidden:
            adding.append(container["name"])
            added |= forbidden
    details = []
    if keeping:
        details.append(f'{named("container", keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        details.append(f"{named('container', adding)} must not include {quoted(sorted(added))} in securityContext.capabilities.add")
    return Finding("unrestricted capabilities", "; ".join(details)) if details else None


def volumes(subject: Subject) -> Finding | None:
    bad, kinds = [], set()
    for volume in subject.spec.get("volumes") or ():
        if not _VOLUMES & volume.keys():
            bad.append(volume["name"])
            kinds.add(next((kind for kind in _OTHER_VOLUMES if kind in volume), "unknown"))
    if not bad:
        return None
    verb, noun = "uses" if len(bad) == 1 else "use", "restricted volume type" + ("" if len(kinds) == 1 else "s")
    return Finding("restricted volume types", f"{named('volume', bad)} {verb} {noun} {quoted(sorted(kinds))}")


def run_as_non_root(subject: Subject) -> Finding | None:
    found = setters(subject, lambda context: ["false"] if context.get("runAsNonRoot") is False else [])
    if found:
        return Finding("runAsNonRoot != true", f"{found} must not set securityContext.runAsNonRoot=false")
    silent = [container["name"] for container in subject.containers if security_of(container).get("runAsNonRoot") is None]
    if not silent or subject.security.get("runAsNonRoot"):
        return None
    return Finding("runAsNonRoot != true", f"pod or {named('container', silent)} must set securityContext.runAsNonRoot=true")


def run_as_user(subject: Subject) -> Finding | None:
    found = setters(subject, lambda context: ["0"] if context.get("runAsUser") == 0 else [])
    return Finding("runAsUser=0", f"{found} must not set runAsUser=0") if found else None


def seccomp(subject: Subject) -> Finding | None:
    found = setters(subject, bad_seccomp)
    if found:
        return Finding("seccompProfile", f"{found} must not set securityContext.seccompProfile.type to {quoted(sorted(found.values))}")
    silent = [container["name"] for container in subject.containers if security_of(container).get("seccompProfile") is None]
    if not silent or subject.security.get("seccompProfile") is not None:
        return None
    return Finding("seccompProfile", f'pod or {named("container", silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"')


def but_on_windows(check: Check) -> Check:
    """From v1.25 on: these are settings of Linux."""
    return lambda subject: None if subject.windows else check(subject)


RESTRICTED: Mapping[str, Versions] = {
    "allowPrivilegeEscalation": {8: allow_privilege_escalation, 25: but_on_windows(allow_privilege_escalation)},
    "capabilities_restricted": {22: capabilities, 25: but_on_windows(capabilities)},
    "procMount_restricted": {35: proc_mount},
    "restrictedVolumes": {0: volumes},
    "runAsNonRoot": {0: run_as_non_root},
    "runAsUser": {23: run_as_user},
    "seccompProfile_restricted": {19: seccomp, 25: but_on_windows(seccomp)},
}

REPLACES: Mapping[str, str] = {
    "capabilities_restricted": "capabilities_baseline",
    "procMount_restricted": "procMount",
    "restrictedVolumes": "hostPathVolumes",
    "seccompProfile_restricted": "seccompProfile_baseline",
}
"""The check of the baseline that a stricter one stands for."""
