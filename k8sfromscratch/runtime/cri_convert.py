"""Between the kubelet's values and CRI's messages, both ways.  Messages go in as nested dicts, which protobuf takes as they are."""

from datetime import UTC, datetime, timedelta
from typing import Any

from k8sfromscratch.core.pods.container_config import SPEC_HASH_ANNOTATION
from k8sfromscratch.core.pods.runtime_config import ContainerConfig, Namespaces, Resources, SandboxConfig, SeccompProfile, Security
from k8sfromscratch.core.pods.runtime_state import Container, ContainerState, Sandbox

from . import cri_messages as cri
from .interface import ContainerUsage, Image, PodIdentity

POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
POD_UID_LABEL = "io.kubernetes.pod.uid"
CONTAINER_NAME_LABEL = "io.kubernetes.container.name"
RESTART_COUNT_ANNOTATION = "io.kubernetes.container.restartCount"

MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_STATES = {cri.CONTAINER_CREATED: ContainerState.CREATED, cri.CONTAINER_RUNNING: ContainerState.RUNNING, cri.CONTAINER_EXITED: ContainerState.EXITED}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Fields = dict[str, Any]


# Out


def sandbox_config(config: SandboxConfig) -> Fields:
    fields: Fields = {
        "metadata": {"name": config.name, "uid": config.uid, "namespace": config.namespace, "attempt": config.attempt},
        "hostname": config.hostname,
        "log_directory": config.log_directory,
        "port_mappings": [
            {"protocol": cri.PROTOCOLS[p.protocol], "container_port": p.container_port, "host_port": p.host_port, "host_ip": p.host_ip}
            for p in config.port_mappings
        ],
        "labels": _owned(config.labels, config),
        "annotations": dict(config.annotations),
        "linux": {
            "cgroup_parent": config.cgroup_parent,
            "sysctls": dict(config.sysctls),
            "security_context": {
                "namespace_options": _namespaces(config.namespaces),
                "privileged": config.security.privileged,
                "readonly_rootfs": config.security.readonly_rootfs,
                "supplemental_groups": config.security.supplemental_groups,
                "seccomp": _seccomp(config.security.seccomp),
                **_user(config.security),
            },
        },
    }
    if config.dns is not None:
        fields["dns_config"] = {"servers": config.dns.servers, "searches": config.dns.searches, "options": config.dns.options}
    return fields


def container_config(config: ContainerConfig, sandbox: SandboxConfig) -> Fields:
    return {
        "metadata": {"name": config.name, "attempt": config.attempt},
        "image": {"image": config.image},
        "command": config.command,
        "args": config.args,
        "working_dir": config.working_dir,
        "envs": [{"key": key, "value": value} for key, value in config.env],
        "mounts": [
            {"container_path": m.container_path, "host_path": m.host_path, "readonly": m.readonly, "propagation": cri.MOUNT_PROPAGATIONS[m.propagation]}
            for m in config.mounts
        ],
        "labels": _owned(config.labels, sandbox) | {CONTAINER_NAME_LABEL: config.name},
        "annotations": {**config.annotations, RESTART_COUNT_ANNOTATION: str(config.attempt)},
        "log_path": config.log_path,
        "stdin": config.stdin,
        "stdin_once": config.stdin_once,
        "tty": config.tty,
        "linux": {"resources": resources(config.resources), "security_context": _container_security(config.security, sandbox.namespaces)},
    }


def pod_filter(uid: str) -> Fields:
    """For listings: those of one pod, or (empty) all."""
    return {"label_selector": {POD_UID_LABEL: uid}} if uid else {}


def resources(limits: Resources) -> Fields:
    return {
        "cpu_shares": limits.cpu_shares,
        "cpu_quota": limits.cpu_quota_us,
        "cpu_period": limits.cpu_period_us,
        "memory_limit_in_bytes": limits.memory_limit_bytes,
        "oom_score_adj": limits.oom_score_adj,
    }


def _container_security(security: Security, namespaces: Namespaces) -> Fields:
    bare = security.unmasked_proc or security.privileged
    return {
        "capabilities": {"add_capabilities": security.add_capabilities, "drop_capabilities": security.drop_capabilities},
        "privileged": security.privileged,
        "namespace_options": _namespaces(namespaces),
        "readonly_rootfs": security.readonly_rootfs,
        "supplemental_groups": security.supplemental_groups,
        "no_new_privs": security.no_new_privileges,
        "masked_paths": () if bare else MASKED_PATHS,
        "readonly_paths": () if bare else READONLY_PATHS,
        "seccomp": _seccomp(security.seccomp),
        **_user(security),
    }


def _user(security: Security) -> Fields:
    fields: Fields = {}
    if security.run_as_user is not None:
        fields["run_as_user"] = {"value": security.run_as_user}
    if security.run_as_group is not None:
        fields["run_as_group"] = {"value": security.run_as_group}
    return fields


def _seccomp(profile: SeccompProfile) -> Fields:
    return {"profile_type": cri.SECCOMP_TYPES[profile.type], "localhost_ref": profile.path}


def _namespaces(namespaces: Namespaces) -> Fields:
    pid = cri.NAMESPACE_NODE if namespaces.host_pid else cri.NAMESPACE_POD if namespaces.shared_pid else cri.NAMESPACE_CONTAINER
    return {
        "network": cri.NAMESPACE_NODE if namespaces.host_network else cri.NAMESPACE_POD,
        "pid": pid,
        "ipc": cri.NAMESPACE_NODE if namespaces.host_ipc else cri.NAMESPACE_POD,
    }


def _owned(labels: Any, pod: SandboxConfig) -> dict[str, str]:
    return {**labels, POD_NAME_LABEL: pod.name, POD_NAMESPACE_LABEL: pod.namespace, POD_UID_LABEL: pod.uid}


# In


def listed_sandbox(item: Any) -> tuple[PodIdentity, Sandbox]:
    meta = item.metadata
    return PodIdentity(meta.uid, meta.namespace, meta.name), Sandbox(item.id, meta.attempt, item.state == cri.SANDBOX_READY, _moment(item.created_at))


def listed_container(item: Any) -> tuple[PodIdentity, Container]:
    container = Container(
        id=item.id,
        name=item.metadata.name,
        sandbox_id=item.pod_sandbox_id,
        attempt=item.metadata.attempt,
        state=_STATES.get(item.state, ContainerState.UNKNOWN),
        created_at=_moment(item.created_at),
        image=item.image.image,
        image_ref=item.image_ref,
        spec_hash=item.annotations.get(SPEC_HASH_ANNOTATION, ""),
    )
    return _identity(item.labels), container


def container_status(status: Any) -> Container:
    """Its `sandbox_id` is empty: CRI's status does not say it, the listing does."""
    return Container(
        id=status.id,
        name=status.metadata.name,
        sandbox_id="",
        attempt=status.metadata.attempt,
        state=_STATES.get(status.state, ContainerState.UNKNOWN),
        created_at=_moment(status.created_at),
        started_at=_moment(status.started_at) if status.started_at > 0 else None,
        finished_at=_moment(status.finished_at) if status.finished_at > 0 else None,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        image=status.image.image,
        image_ref=status.image_ref,
        spec_hash=status.annotations.get(SPEC_HASH_ANNOTATION, ""),
        log_path=status.log_path,
    )


def image(item: Any) -> Image:
    uid = item.uid.value if item.HasField("uid") else None
    return Image(item.id, tuple(item.repo_tags), tuple(item.repo_digests), item.size, uid, item.username)


def usage(item: Any) -> ContainerUsage:
    return ContainerUsage(
        container_id=item.attributes.id,
        name=item.attributes.metadata.name,
        pod=_identity(item.attributes.labels),
        moment=_moment(max(item.cpu.timestamp, item.memory.timestamp)),
        cpu_total_ns=item.cpu.usage_core_nano_seconds.value,
        memory_working_set_bytes=item.memory.working_set_bytes.value,
        memory_usage_bytes=item.memory.usage_bytes.value,
        memory_rss_bytes=item.memory.rss_bytes.value,
        filesystem_used_bytes=item.writable_layer.used_bytes.value,
        filesystem_inodes_used=item.writable_layer.inodes_used.value,
    )


def _identity(labels: Any) -> PodIdentity:
    return PodIdentity(labels.get(POD_UID_LABEL, ""), labels.get(POD_NAMESPACE_LABEL, ""), labels.get(POD_NAME_LABEL, ""))


def _moment(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
