"""The kubelet's flags: upstream's names and meanings, as many as are supported; any other is refused by name."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from k8sfromscratch.core.pods.pressure import DEFAULT_THRESHOLDS, parse_thresholds
from k8sfromscratch.process.flags import Flags

_TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _unix_endpoint(value: str) -> str:
    if not value.startswith("unix:///"):
        raise ValueError("only unix:///PATH is supported")
    return value


def _thresholds(value: str) -> str:
    parse_thresholds(value)
    return value


def _only_false(value: bool) -> bool:
    if value:
        raise ValueError("only false is supported")
    return value


class KubeletFlags(Flags):
    """Runs the pods that are bound to this node, through a container runtime that speaks CRI v1."""

    kubeconfig: str = Field(description="how to reach the apiserver, with this node's credentials (user system:node:NAME)")
    hostname_override: str = Field("", description="the node's name; empty: the machine's host name in lower case")
    node_ip: list[str] = Field([], description="the node's addresses; empty: the one towards the default route")
    container_runtime_endpoint: Annotated[str, AfterValidator(_unix_endpoint)] = Field(
        "unix:///run/containerd/containerd.sock", description="the runtime's CRI socket"
    )
    root_dir: str = Field("/var/lib/kubelet", description="where volumes and other files of pods live")
    cluster_dns: list[str] = Field([], description="name servers for pods with dnsPolicy ClusterFirst")
    cluster_domain: str = Field("cluster.local", description="the cluster's DNS domain")
    resolv_conf: str = Field("/etc/resolv.conf", description="the machine's resolver configuration, which dnsPolicy Default and the search list come from")
    register_node: bool = Field(True, description="make the Node object if it is not there")
    node_labels: dict[str, str] = Field({}, description="labels of the node when it is registered")
    register_with_taints: list[str] = Field([], description="taints of the node when it is registered, as key=value:effect")
    max_pods: int = Field(110, ge=1, description="how many pods the node takes")
    eviction_hard: Annotated[str, AfterValidator(_thresholds)] = Field(
        DEFAULT_THRESHOLDS, description="below what the node reports pressure, as signal<amount,…"
    )
    cgroup_driver: Literal["cgroupfs"] = Field("cgroupfs", description="must be the runtime's; only cgroupfs is supported")
    address: str = Field("0.0.0.0", description="where the HTTPS server listens")
    port: int = Field(10250, ge=0, le=65535, description="port of the HTTPS server")
    read_only_port: int = Field(0, ge=0, le=0, description="there is no server without authentication: only 0 is supported")
    healthz_bind_address: str = Field("127.0.0.1", description="where /healthz is served without TLS")
    healthz_port: int = Field(10248, ge=0, le=65535, description="port of that server, 0 for none")
    tls_cert_file: str = Field(description="the server's certificate")
    tls_private_key_file: str = Field(description="the server's private key")
    client_ca_file: str = Field(description="the CA that client certificates must be of")
    anonymous_auth: Annotated[bool, AfterValidator(_only_false)] = Field(
        False, description="unauthenticated requests are refused, except to /healthz; only false is supported"
    )
    authentication_token_webhook: bool = Field(False, description="let the apiserver check bearer tokens (TokenReview)")
    authorization_mode: Literal["AlwaysAllow", "Webhook"] = Field("Webhook", description="Webhook asks the apiserver (SubjectAccessReview)")
    container_log_max_size: str = Field("10Mi", description="a container's log is rotated when it is larger")
    container_log_max_files: int = Field(5, ge=2, description="how many files of a container's log are kept")

    @field_validator("register_with_taints")
    @classmethod
    def _check_taints(cls, value: list[str]) -> list[str]:
        for text in value:
            parse_taint(text)
        return value


def parse_taint(text: str) -> dict[str, str]:
    """`key=value:effect` or `key:effect`.  Raises ValueError."""
    pair, colon, effect = text.rpartition(":")
    if not colon or effect not in _TAINT_EFFECTS or not pair:
        raise ValueError(f"taint {text!r}: expected key=value:effect with effect one of {', '.join(_TAINT_EFFECTS)}")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect} if value else {"key": key, "effect": effect}
