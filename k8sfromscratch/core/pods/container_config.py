"""The configurations a runtime is given for a pod: one for its sandbox, one for each container.

Pure: addresses, environment, mounts and the image's user are arguments, found by the shell.  What cannot be carried out is refused
with a ConfigError here, before the runtime is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import spec
from .environment import ConfigError, expand
from .names import ClusterDns, fully_qualified_name, host_name, pod_dns
from .resources import container_resources
from .runtime_config import ContainerConfig, Mount, Namespaces, PortMapping, SandboxConfig, SeccompProfile, Security
from .spec import Object

SPEC_HASH_ANNOTATION = "io.kubernetes.container.hash"
TERMINATION_PATH_ANNOTATION = "io.kubernetes.container.terminationMessagePath"
TERMINATION_POLICY_ANNOTATION = "io.kubernetes.container.terminationMessagePolicy"
HOSTNAME_LENGTH_MAX = 64
"""What the kernel takes, and so the limit of setHostnameAsFQDN."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What of the node goes into every pod of it.  `seccomp_directory` holds Localhost profiles."""

    name: str
    dns: ClusterDns
    log_root: str = "/var/log/pods"
    seccomp_directory: str = "/var/lib/kubelet/seccomp"
    memory_bytes: int = 1 << 33


@dataclass(frozen=True, slots=True)
class ImageUser:
    """Whom the image says to run as: a number, or a name that nobody has looked up."""

    uid: int | None = None
    username: str = ""


def log_directory(pod: Object, root: str) -> str:
    meta = pod["metadata"]
    return f"{root}/{meta['namespace']}_{meta['name']}_{meta['uid']}"


def sandbox_config(pod: Object, attempt: int, node: NodeFacts, cgroup_parent: str = "") -> SandboxConfig:
    meta, body = pod["metadata"], pod["spec"]
    if body.get("runtimeClassName"):
        raise ConfigError(f"runtimeClassName {body['runtimeClassName']!r}: runtime classes are not supported")
    if body.get("hostUsers") is False:
        raise ConfigError("hostUsers: false: user namespaces are not supported")
    context = body.get("securityContext") or {}
    privileged = any((c.get("securityContext") or {}).get("privileged") for c in spec.all_containers(pod))
    # On the host's network the host's name is shared too: runtimes refuse another.
    hostname = "" if spec.on_host_network(pod) else host_name(pod, node.name)
    if body.get("setHostnameAsFQDN") and hostname:
        hostname = fully_qualified_name(pod, node.dns.domain) or hostname
        if len(hostname) > HOSTNAME_LENGTH_MAX:
            raise ConfigError(f"the fully qualified name {hostname!r} is longer than a host name may be ({HOSTNAME_LENGTH_MAX})")
    return SandboxConfig(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        attempt=attempt,
        hostname=hostname,
        log_directory=log_directory(pod, node.log_root),
        dns=pod_dns(pod, node.dns),
        port_mappings=_port_mappings(pod),
        labels=meta.get("labels") or {},
        annotations=meta.get("annotations") or {},
        cgroup_parent=cgroup_parent,
        sysctls={s["name"]: str(s["value"]) for s in context.get("sysctls") or []},
        namespaces=_namespaces(body),
        security=Security(
            run_as_user=context.get("runAsUser"),
            run_as_group=context.get("runAsGroup") if context.get("runAsUser") is not None else None,
            supplemental_groups=_groups(context),
            privileged=privileged,
            seccomp=SeccompProfile("RuntimeDefault"),
        ),
    )


def _namespaces(body: Object) -> Namespaces:
    return Namespaces(
        host_network=bool(body.get("hostNetwork")),
        host_pid=bool(body.get("hostPID")),
        host_ipc=bool(body.get("hostIPC")),
        shared_pid=bool(body.get("shareProcessNamespace")),
    )


def _port_mappings(pod: Object) -> tuple[PortMapping, ...]:
    if spec.on_host_network(pod):
        return ()
    return tuple(
        PortMapping(port["containerPort"], port["hostPort"], port.get("protocol") or "TCP", port.get("hostIP") or "")
        for container in spec.all_containers(pod)
        for port in container.get("ports") or []
        if port.get("hostPort")
    )


def container_config(
    pod: Object, container: Object, attempt: int, *, image_ref: str, image_user: ImageUser, env: Mapping[str, str], mounts: Sequence[Mount], node: NodeFacts
) -> ContainerConfig:
    security = container_security(pod, container, node.seccomp_directory)
    _check_user(pod, container, security, image_user)
    name = container["name"]
    return ContainerConfig(
        name=name,
        attempt=attempt,
        image=image_ref,
        command=tuple(expand(word, env) for word in container.get("command") or ()),
        args=tuple(expand(word, env) for word in container.get("args") or ()),
        working_dir=container.get("workingDir") or "",
        env=tuple(env.items()),
        mounts=tuple(mounts),
        annotations={
            SPEC_HASH_ANNOTATION: spec.spec_hash(container),
            TERMINATION_PATH_ANNOTATION: container.get("terminationMessagePath") or "/dev/termination-log",
            TERMINATION_POLICY_ANNOTATION: container.get("terminationMessagePolicy") or "File",
        },
        log_path=f"{name}/{attempt}.log",
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        resources=container_resources(pod, container, node.memory_bytes),
        security=security,
    )


def container_security(pod: Object, container: Object, seccomp_directory: str) -> Security:
    """The container's securityContext over the pod's."""
    of_pod = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    effective = {**of_pod, **{key: value for key, value in own.items() if value is not None}}
    capabilities = own.get("capabilities") or {}
    privileged = bool(own.get("privileged"))
    if own.get("procMount") not in (None, "Default", "Unmasked"):
        raise ConfigError(f"procMount {own['procMount']!r} is not supported")
    return Security(
        run_as_user=effective.get("runAsUser"),
        run_as_group=effective.get("runAsGroup"),
        supplemental_groups=_groups(of_pod),
        privileged=privileged,
        readonly_rootfs=bool(own.get("readOnlyRootFilesystem")),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        add_capabilities=tuple(capabilities.get("add") or ()),
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        seccomp=_seccomp(effective.get("seccompProfile"), seccomp_directory, privileged),
        unmasked_proc=own.get("procMount") == "Unmasked",
    )


def _seccomp(profile: Object | None, directory: str, privileged: bool) -> SeccompProfile:
    if privileged or not profile:
        return SeccompProfile("Unconfined")
    kind = profile.get("type", "")
    if kind not in ("RuntimeDefault", "Unconfined", "Localhost"):
        raise ConfigError(f"seccomp profile type {kind!r} is not supported")
    return SeccompProfile(kind, f"{directory}/{profile['localhostProfile']}" if kind == "Localhost" else "")


def _groups(context: Object) -> tuple[int, ...]:
    groups = [*(context.get("supplementalGroups") or [])]
    if context.get("fsGroup") is not None:
        groups.append(context["fsGroup"])
    return tuple(groups)


def _check_user(pod: Object, container: Object, security: Security, image_user: ImageUser) -> None:
    """runAsNonRoot: the user is known, and is not root."""
    own = (container.get("securityContext") or {}).get("runAsNonRoot")
    of_pod = (pod["spec"].get("securityContext") or {}).get("runAsNonRoot")
    if not (of_pod if own is None else own):
        return
    where = f'(pod: "{pod["metadata"]["name"]}_{pod["metadata"]["namespace"]}({pod["metadata"]["uid"]})", container: {container["name"]})'
    if security.run_as_user is not None:
        if security.run_as_user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
    elif image_user.username:
        raise ConfigError(f"container has runAsNonRoot and image has non-numeric user ({image_user.username}), cannot verify user is non-root {where}")
    elif (image_user.uid or 0) == 0:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
