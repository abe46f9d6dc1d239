"""The Pod Security Standards' baseline level: what would give a pod hold of its node.  A check gives what it found, or None.

The wording is upstream's (k8s.io/pod-security-admission/policy), which people search for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from k8sfromscratch.core.admission.types import Object


@dataclass(frozen=True, slots=True)
class Finding:
    """`reason (detail)`."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A pod, or the template of one."""

    metadata: Object
    spec: Object

    @property
    def containers(self) -> list[Object]:
        kinds = ("initContainers", "containers", "ephemeralContainers")
        return [container for kind in kinds for container in self.spec.get(kind) or ()]

    @property
    def security(self) -> Object:
        found: Object = self.spec.get("securityContext") or {}
        return found

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.metadata.get("annotations") or {}

    @property
    def windows(self) -> bool:
        return (self.spec.get("os") or {}).get("name") == "windows"

    @property
    def in_user_namespace(self) -> bool:
        return self.spec.get("hostUsers") is False


Check = Callable[[Subject], Finding | None]

_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
_SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
})  # fmt: skip
_SYSCTLS_27 = _SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27 | {"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"}
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
_SECCOMP_POD, _SECCOMP_CONTAINER = "seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/"
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


# -- wording


def security_of(container: Object) -> Object:
    return container.get("securityContext") or {}


def quoted(items: Iterable[Any]) -> str:
    """`"a", "b"`."""
    return ", ".join(f'"{item}"' for item in items)


def named(what: str, items: Sequence[Any]) -> str:
    """`container "a"`, `containers "a", "b"`."""
    return f"{what}{'' if len(items) == 1 else 's'} {quoted(items)}"


@dataclass(slots=True)
class Setters:
    """Who sets a forbidden value, the pod itself or containers of it, and which values."""

    pod: bool = False
    containers: list[str] = field(default_factory=list)
    values: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return self.pod or bool(self.containers)

    def __str__(self) -> str:
        return " and ".join([*(["pod"] if self.pod else []), *([named("container", self.containers)] if self.containers else [])])


def setters(subject: Subject, bad_values: Callable[[Object], Iterable[str]]) -> Setters:
    """`bad_values`: what is forbidden in a securityContext, the pod's or a container's."""
    found = Setters()
    values = list(bad_values(subject.security))
    found.pod = bool(values)
    found.values |= set(values)
    for container in subject.containers:
        values = list(bad_values(security_of(container)))
        if values:
            found.containers.append(container["name"])
            found.values |= set(values)
    return found


# -- the checks


def app_armor(subject: Subject) -> Finding | None:
    def bad(context: Object) -> Iterable[str]:
        kind = (context.get("appArmorProfile") or {}).get("type")
        return [kind] if kind not in (None, "RuntimeDefault", "Localhost") else []

    found = setters(subject, bad)
    annotated = sorted(
        f'{key}="{value}"'
        for key, value in subject.annotations.items()
        if key.startswith(_APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )
    if not found and not annotated:
        return None
    values = [*sorted(found.values), *annotated]
    who = [str(found)] if found else []
    if annotated:
        who.append("annotation" if len(annotated) == 1 else "annotations")
    reason = "forbidden AppArmor profile" + ("" if len(values) == 1 else "s")
    return Finding(reason, f"{' and '.join(who)} must not set AppArmor profile type to {quoted(values)}")


def capabilities(subject: Subject) -> Finding | None:
    added = {c["name"]: set((security_of(c).get("capabilities") or {}).get("add") or ()) - _CAPABILITIES for c in subject.containers}
    bad = [name for name, names in added.items() if names]
    if not bad:
        return None
    which = quoted(sorted(set().union(*added.values())))
    return Finding("non-default capabilities", f"{named('container', bad)} must not include {which} in securityContext.capabilities.add")


def host_namespaces(subject: Subject) -> Finding | None:
    used = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if subject.spec.get(name)]
    return Finding("host namespaces", ", ".join(used)) if used else None


def host_path_volumes(subject: Subject) -> Finding | None:
    volumes = [volume["name"] for volume in subject.spec.get("volumes") or () if "hostPath" in volume]
    return Finding("hostPath volumes", named("volume", volumes)) if volumes else None


def host_ports(subject: Subject) -> Finding | None:
    used = {c["name"]: {str(port["hostPort"]) for port in c.get("ports") or () if port.get("hostPort")} for c in subject.containers}
    bad = [name for name, ports in used.items() if ports]
    if not bad:
        return None
    ports = sorted(set().union(*used.values()))
    verb, noun = "uses" if len(bad) == 1 else "use", "hostPort" if len(ports) == 1 else "hostPorts"
    return Finding("hostPort", f"{named('container', bad)} {verb} {noun} {', '.join(ports)}")


def host_probes(subject: Subject) -> Finding | None:
    """A probe of another machine would make the kubelet ask it in the pod's name."""
    used: dict[str, set[str]] = {}
    for container in subject.containers:
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(kind) for kind in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [lifecycle.get(kind) for kind in ("postStart", "preStop")]
        hosts = {((handler or {}).get(how) or {}).get("host") or "" for handler in handlers for how in ("httpGet", "tcpSocket")} - {""}
        if hosts:
            used[container["name"]] = hosts
    if not used:
        return None
    hosts = set().union(*used.values())
    verb, noun = "uses" if len(used) == 1 else "use", "probe or lifecycle host" + ("" if len(hosts) == 1 else "s")
    return Finding("probe or lifecycle host", f"{named('container', sorted(used))} {verb} {noun} {quoted(sorted(hosts))}")


def privileged(subject: Subject) -> Finding | None:
    bad = [container["name"] for container in subject.containers if security_of(container).get("privileged")]
    return Finding("privileged", f"{named('container', bad)} must not set securityContext.privileged=true") if bad else None


def proc_mount(subject: Subject) -> Finding | None:
    used = {c["name"]: security_of(c).get("procMount") for c in subject.containers}
    bad = [name for name, kind in used.items() if kind not in (None, "Default")]
    if not bad:
        return None
    kinds = sorted({str(used[name]) for name in bad})
    return Finding("procMount", f"{named('container', bad)} must not set securityContext.procMount to {quoted(kinds)}")


def proc_mount_35(subject: Subject) -> Finding | None:
    """In a user namespace of its own a pod may see an unmasked /proc (KEP-4265)."""
    return None if subject.in_user_namespace else proc_mount(subject)


def selinux(allowed: frozenset[str]) -> Check:
    def check(subject: Subject) -> Finding | None:
        def bad(context: Object) -> Iterable[str]:
            options = context.get("seLinuxOptions") or {}
            if (options.get("type") or "") not in allowed:
                yield f"type {options['type']}"
            yield from (f"{part} may not be set" for part in ("user", "role") if options.get(part))

        found = setters(subject, bad)
        if not found:
            return None
        types = sorted(value.removeprefix("type ") for value in found.values if value.startswith("type "))
        what = [named("type", types)] if types else []
        what += [text for text in ("user may not be set", "role may not be set") if text in found.values]
        return Finding("seLinuxOptions", f"{found} set forbidden securityContext.seLinuxOptions: {'; '.join(what)}")

    return check


def seccomp_annotations(subject: Subject) -> Finding | None:
    """Before v1.19 there was no field."""
    keys = [_SECCOMP_POD, *(_SECCOMP_CONTAINER + container["name"] for container in subject.containers)]
    given = {key: subject.annotations[key] for key in keys if key in subject.annotations}
    bad = sorted(
        f'{key}="{value}"' for key, value in given.items() if value not in ("runtime/default", "docker/default") and not value.startswith("localhost/")
    )
    return Finding("seccompProfile", f"forbidden annotation{'' if len(bad) == 1 else 's'} {', '.join(bad)}") if bad else None


def seccomp(subject: Subject) -> Finding | None:
    found = setters(subject, bad_seccomp)
    return Finding("seccompProfile", f"{found} must not set securityContext.seccompProfile.type to {quoted(sorted(found.values))}") if found else None


def bad_seccomp(context: Object) -> Iterable[str]:
    profile = context.get("seccompProfile")
    return [str(profile.get("type"))] if profile is not None and profile.get("type") not in ("RuntimeDefault", "Localhost") else []


def sysctls(allowed: frozenset[str]) -> Check:
    def check(subject: Subject) -> Finding | None:
        bad = [one["name"] for one in subject.security.get("sysctls") or () if one["name"] not in allowed]
        return Finding("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def windows_host_process(subject: Subject) -> Finding | None:
    found = setters(subject, lambda context: ["true"] if (context.get("windowsOptions") or {}).get("hostProcess") else [])
    return Finding("hostProcess", f"{found} must not set securityContext.windowsOptions.hostProcess=true") if found else None


Versions = Mapping[int, Check]
"""Minor version of the policy from which a check is as it is."""

BASELINE: Mapping[str, Versions] = {
    "appArmorProfile": {0: app_armor},
    "capabilities_baseline": {0: capabilities},
    "hostNamespaces": {0: host_namespaces},
    "hostPathVolumes": {0: host_path_volumes},
    "hostPorts": {0: host_ports},
    "hostProbesAndHostLifecycle": {34: host_probes},
    "privileged": {0: privileged},
    "procMount": {0: proc_mount, 35: proc_mount_35},
    "seLinuxOptions": {0: selinux(_SELINUX_TYPES), 31: selinux(_SELINUX_TYPES | {"container_engine_t"})},
    "seccompProfile_baseline": {0: seccomp_annotations, 19: seccomp},
    "sysctls": {0: sysctls(_SYSCTLS), 27: sysctls(_SYSCTLS_27), 29: sysctls(_SYSCTLS_29), 32: sysctls(_SYSCTLS_32)},
    "windowsHostProcess": {0: windows_host_process},
}
"""In order of evaluation, which is that of the names."""
