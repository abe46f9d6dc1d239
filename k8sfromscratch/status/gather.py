"""Asks a cluster what `kfs status` shows.  What it may not see, or what does not answer, is a line in `problems`, never the end."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson
from cryptography import x509

from k8sfromscratch.api.errors import ApiError
from k8sfromscratch.api.registry import LEASES, NODES, PODS
from k8sfromscratch.client import Client
from k8sfromscratch.client.transport import TransportError

Object = dict[str, Any]
T = TypeVar("T")

ELECTED = ("kube-controller-manager", "kube-scheduler")
_ROLE = "node-role.kubernetes.io/"
_HANDSHAKE_S = 5.0


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    roles: tuple[str, ...]
    ready: str
    """`True`, `False` or `Unknown`, as the condition says it."""
    why: str
    schedulable: bool
    version: str
    runtime: str
    address: str
    pods: int


@dataclass(frozen=True, slots=True)
class Leader:
    component: str
    holder: str
    renewed_s: float
    """How long ago."""
    lease_s: float

    @property
    def alive(self) -> bool:
        return bool(self.holder) and self.renewed_s <= self.lease_s


@dataclass(frozen=True, slots=True)
class Certificate:
    of: str
    days_left: float


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    server: str
    version: str = ""
    checks: Mapping[str, bool] = field(default_factory=dict)
    """/readyz's, by name."""
    nodes: Sequence[Node] = ()
    leaders: Sequence[Leader] = ()
    certificates: Sequence[Certificate] = ()
    pods: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Namespace → what kubectl's STATUS column would say → how many."""
    problems: Sequence[str] = ()

    @property
    def healthy(self) -> bool:
        ready = bool(self.checks) and all(self.checks.values()) and all(node.ready == "True" for node in self.nodes)
        return ready and all(leader.alive for leader in self.leaders) and not self.problems


async def observe(client: Client, server: str, now: datetime, *, client_certificate: bytes = b"") -> ClusterStatus:
    """`client_certificate` is ours, as PEM, where we have one."""
    problems: list[str] = []

    async def told(what: str, asked: Awaitable[T]) -> T | None:
        try:
            return await asked
        except (ApiError, TransportError, OSError) as error:
            problems.append(f"{what}: {error}")
            return None

    version, checks, nodes, pods, leases, serving = await asyncio.gather(
        told("version", _version(client)),
        told("readiness", _checks(client)),
        told("nodes", client.list(NODES)),
        told("pods", client.list(PODS)),
        told("leases", client.list(LEASES, "kube-system")),
        told("the apiserver's certificate", _serving_certificate(server)),
    )
    pod_list: list[Object] = (pods or {}).get("items") or []
    certificates = [Certificate("apiserver", _days(serving, now))] if serving is not None else []
    if client_certificate:
        certificates.append(Certificate("yours", _days(x509.load_pem_x509_certificate(client_certificate), now)))
    return ClusterStatus(
        server,
        version or "",
        checks or {},
        [_node(node, pod_list) for node in (nodes or {}).get("items") or []],
        [_leader(lease, now) for lease in (leases or {}).get("items") or [] if lease["metadata"]["name"] in ELECTED],
        certificates,
        _by_state(pod_list),
        problems,
    )


async def _version(client: Client) -> str:
    return str(orjson.loads((await client.raw("GET", "/version")).body)["gitVersion"])


async def _checks(client: Client) -> dict[str, bool]:
    """/readyz says `[+]name ok` or `[-]name failed` for each; its status is 500 where one failed."""
    text = (await client.raw("GET", "/readyz", query=[("verbose", "")])).body.decode()
    lines = [line for line in text.splitlines() if line.startswith(("[+]", "[-]"))]
    return {line[3:].split(" ")[0]: line.startswith("[+]") for line in lines}


async def _serving_certificate(server: str) -> x509.Certificate | None:
    """What the server shows to whoever connects; whether it is to be trusted is the client's matter."""
    where = urlsplit(server)
    if where.scheme != "https":
        return None
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(_HANDSHAKE_S):
        _, writer = await asyncio.open_connection(where.hostname, where.port or 443, ssl=context)
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    return x509.load_der_x509_certificate(shown)


def _days(certificate: x509.Certificate, now: datetime) -> float:
    return (certificate.not_valid_after_utc - now).total_seconds() / 86400


def _node(node: Object, pods: Sequence[Object]) -> Node:
    metadata, status = node["metadata"], node.get("status") or {}
    ready = next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), {"status": "Unknown", "message": "the kubelet has not reported"})
    addresses = {a["type"]: a["address"] for a in status.get("addresses") or []}
    info = status.get("nodeInfo") or {}
    return Node(
        metadata["name"],
        tuple(sorted(label.removeprefix(_ROLE) for label in metadata.get("labels") or {} if label.startswith(_ROLE))),
        ready["status"],
        "" if ready["status"] == "True" else str(ready.get("message") or ready.get("reason") or ""),
        not (node.get("spec") or {}).get("unschedulable", False),
        str(info.get("kubeletVersion", "")),
        str(info.get("containerRuntimeVersion", "")),
        str(addresses.get("InternalIP", "")),
        sum(1 for pod in pods if (pod.get("spec") or {}).get("nodeName") == metadata["name"]),
    )


def _leader(lease: Object, now: datetime) -> Leader:
    spec = lease.get("spec") or {}
    renewed = spec.get("renewTime")
    ago_s = (now - datetime.fromisoformat(renewed).astimezone(UTC)).total_seconds() if renewed else float("inf")
    return Leader(lease["metadata"]["name"], str(spec.get("holderIdentity") or ""), max(0.0, ago_s), float(spec.get("leaseDurationSeconds") or 0))


def _by_state(pods: Sequence[Object]) -> dict[str, dict[str, int]]:
    counted: dict[str, Counter[str]] = {}
    for pod in pods:
        counted.setdefault(pod["metadata"]["namespace"], Counter())[_state(pod)] += 1
    return {namespace: dict(counted[namespace]) for namespace in sorted(counted)}


def _state(pod: Object) -> str:
    """The most telling word: why it ends, why a container waits or has ended, else its phase."""
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting not in ("PodInitializing", "ContainerCreating"):
            return str(waiting)
    phase = str(status.get("reason") or status.get("phase") or "Unknown")
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    return "NotReady" if phase == "Running" and conditions.get("Ready") != "True" else phase
