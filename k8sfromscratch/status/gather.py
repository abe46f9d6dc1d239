"""Asks a cluster what `kfs status` shows.  What it may not see, or what does not answer, is a line in `problems`, never the end.

Most is what the API tells anybody who may read it.  With the directory of a deploy's certificates (`pki`) there are also etcd's members and
the days left of every certificate; see `store`.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson
from cryptography import x509

from k8sfromscratch.api.errors import ApiError
from k8sfromscratch.api.registry import DEPLOYMENTS, LEASES, NODES, PODS
from k8sfromscratch.client import Client
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.status import store
from k8sfromscratch.status.store import Certificate, Member, days
from k8sfromscratch.storage.interface import StorageError

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
    proxy: str = ""
    """kube-proxy's version, as the kubelet tells it."""


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
class Component:
    """How many of it there are to be, and how many are well."""

    name: str
    version: str
    well: int
    wanted: int


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    server: str
    version: str = ""
    checks: Mapping[str, bool] = field(default_factory=dict)
    """/readyz's, by name."""
    nodes: Sequence[Node] = ()
    components: Sequence[Component] = ()
    members: Sequence[Member] = ()
    """etcd's."""
    leaders: Sequence[Leader] = ()
    certificates: Sequence[Certificate] = ()
    pods: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Namespace → what kubectl's STATUS column would say → how many."""
    problems: Sequence[str] = ()

    @property
    def healthy(self) -> bool:
        ready = bool(self.checks) and all(self.checks.values()) and all(node.ready == "True" for node in self.nodes)
        running = all(each.well >= each.wanted for each in self.components) and not any(member.why for member in self.members)
        return ready and running and all(leader.alive for leader in self.leaders) and not self.problems


async def observe(client: Client, server: str, now: datetime, *, client_certificate: bytes = b"", pki: Path | None = None) -> ClusterStatus:
    """`client_certificate` is ours, as PEM, where we have one; `pki` the directory of a deploy's certificates, where it is here."""
    problems: list[str] = []

    async def told(what: str, asked: Awaitable[T]) -> T | None:
        try:
            return await asked
        except (ApiError, TransportError, StorageError, OSError, ValueError) as error:
            problems.append(f"{what}: {error}")
            return None

    (version, checks, serving), (nodes, pods, leases, addons) = await asyncio.gather(
        asyncio.gather(
            told("version", _version(client)), told("readiness", _checks(client)), told("the apiserver's certificate", _serving_certificate(server))
        ),
        asyncio.gather(
            told("nodes", client.list(NODES)),
            told("pods", client.list(PODS)),
            told("leases", client.list(LEASES, "kube-system")),
            told("add-ons", client.list(DEPLOYMENTS, "kube-system")),
        ),
    )
    pod_list: list[Object] = (pods or {}).get("items") or []
    shown = [_node(node, pod_list) for node in (nodes or {}).get("items") or []]
    certificates = [Certificate("apiserver", days(serving, now))] if serving is not None else []
    if client_certificate:
        certificates.append(Certificate("yours", days(x509.load_pem_x509_certificate(client_certificate), now)))
    members: list[Member] = []
    if pki is not None:
        # Where the API tells of no master, its own address may be one's: then what etcd says is the more wanted.
        masters = [node.address for node in shown if "control-plane" in node.roles] or [urlsplit(server).hostname or ""]
        members = await told("etcd", store.members(pki, masters)) or []
        certificates += await told("certificates", asyncio.to_thread(store.certificates, pki, now)) or []
    leaders = [_leader(lease, now) for lease in (leases or {}).get("items") or [] if lease["metadata"]["name"] in ELECTED]
    return ClusterStatus(
        server,
        version or "",
        checks or {},
        shown,
        _components(version or "", checks or {}, shown, leaders, members, (addons or {}).get("items") or []),
        members,
        leaders,
        certificates,
        _by_state(pod_list),
        problems,
    )


def _components(
    version: str, checks: Mapping[str, bool], nodes: Sequence[Node], leaders: Sequence[Leader], members: Sequence[Member], addons: Sequence[Object]
) -> list[Component]:
    """By name: what runs where is in the other tables.  A component of which nothing is known is left out."""
    ready = sum(node.ready == "True" for node in nodes)
    found = [Component("kube-apiserver", version, int(bool(checks) and all(checks.values())), 1)]
    if members:
        found.append(Component("etcd", _versions(member.version for member in members), sum(not member.why for member in members), len(members)))
    # Those that are elected run the apiserver's version where one deploy made them; they tell theirs nobody but their own host.
    found += [Component(leader.component, "", int(leader.alive), 1) for leader in leaders]
    if nodes:
        found.append(Component("kubelet", _versions(node.version for node in nodes), ready, len(nodes)))
        found.append(Component("kube-proxy", _versions(node.proxy for node in nodes), ready, len(nodes)))
        found.append(Component("container runtime", _versions(node.runtime for node in nodes), ready, len(nodes)))
    for addon in addons:
        image = addon["spec"]["template"]["spec"]["containers"][0].get("image", "")
        well, wanted = (addon.get("status") or {}).get("readyReplicas") or 0, addon["spec"].get("replicas", 1)
        found.append(Component(addon["metadata"]["name"], image.rpartition("/")[2].rpartition(":")[2], well, wanted))
    return found


def _versions(told: Iterable[str]) -> str:
    return ", ".join(sorted({version for version in told if version}))


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
        str(info.get("kubeProxyVersion", "")),
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
