"""flanneld: joins this machine to the overlay and keeps it joined.

    own Node.spec.podCIDR ──► device flannel.1 ──► annotations on the own Node (what peers need)
    all other Nodes' annotations ──► routes, neighbours, FDB entries ──► CNI configuration, so that the runtime says NetworkReady

Level-triggered: whatever woke us, the wanted entries are computed from all nodes and compared with those in the kernel.
"""

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from k8sfromscratch.api.errors import ApiError
from k8sfromscratch.api.registry import NODES
from k8sfromscratch.client import Client, Informers, KubeconfigError, client_from_kubeconfig
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.components.flannel.config import FlannelFlags
from k8sfromscratch.core.network import overlay
from k8sfromscratch.linux.command import CommandError, run_command
from k8sfromscratch.linux.vxlan import VxlanDevice
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.health import health_handler
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsError

log = logging.getLogger(__name__)

RETRY_S = 2.0
MASQUERADE_TABLE = "flannel-ipv4"


class Flannel:
    def __init__(self, client: Client, env: Env, flags: FlannelFlags) -> None:
        self._client, self._flags = client, flags
        self._informers = Informers(client, env)
        self._nodes = self._informers.get(NODES)
        self._nodes.add_handler(lambda old, new: self._wake.set())
        self._wake = asyncio.Event()
        self._complaints: dict[str, str] = {}
        self.joined = False
        """Whether the overlay stood after the last pass; what /healthz says."""

    async def run(self) -> None:
        """Until cancelled.  The device and its entries are left in place, so that a restart interrupts no connection."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._informers.run(), name="informers")
            await self._informers.wait_synced()
            async with self._device() as device:
                while True:
                    self._wake.clear()
                    delay_s = self._flags.iptables_resync
                    try:
                        self.joined = await self._pass(device)
                    except (ApiError, TransportError, CommandError, OSError) as error:
                        log.warning("joining the overlay: %s; trying again", error)
                        self.joined, delay_s = False, RETRY_S
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(delay_s):
                            await self._wake.wait()

    @contextlib.asynccontextmanager
    async def _device(self) -> AsyncIterator[VxlanDevice]:
        async with VxlanDevice(f"flannel.{self._flags.vni}") as device:
            yield device

    async def _pass(self, device: VxlanDevice) -> bool:
        """One look at everything; True when this node is part of the overlay."""
        own = self._nodes.store.get(self._flags.node_name)
        subnet = (own or {}).get("spec", {}).get("podCIDR")
        if own is None or not subnet:
            self._complain("own", f"node {self._flags.node_name} has no podCIDR yet" if own else f"there is no node {self._flags.node_name} yet")
            return False
        self._complaints.pop("own", None)
        public_ip = self._flags.public_ip or _internal_ip(own)
        uplink, uplink_mtu = await device.uplink_of(public_ip)
        mtu = uplink_mtu - overlay.VXLAN_OVERHEAD_BYTES
        await device.ensure(
            vni=self._flags.vni, port=self._flags.vxlan_port, local_ip=public_ip, uplink=uplink, mtu=mtu, address=str(ipaddress.IPv4Network(subnet)[0])
        )
        await self._publish(own, public_ip, device.mac)
        await self._follow_peers(device)
        await self._pass_rules()
        self._write_configuration(subnet, mtu)
        return True

    async def _publish(self, own: dict[str, Any], public_ip: str, mac: str) -> None:
        notes = overlay.annotations(public_ip, mac, self._flags.vni)
        held = own["metadata"].get("annotations") or {}
        if any(held.get(key) != value for key, value in notes.items()):
            await self._client.patch(NODES, self._flags.node_name, {"metadata": {"annotations": notes}})
            log.info("published the tunnel end %s (%s)", public_ip, mac)

    async def _follow_peers(self, device: VxlanDevice) -> None:
        peers = []
        for node in self._nodes.store.list():
            name = node["metadata"]["name"]
            if name == self._flags.node_name:
                continue
            try:
                peer = overlay.read_peer(node, self._flags.vni)
            except ValueError as error:
                self._complain(name, str(error))
                continue
            self._complaints.pop(name, None)
            if peer is not None:
                peers.append(peer)
        changes = overlay.changes(await device.present(self._flags.cluster_cidr), overlay.wanted(peers))
        if not changes.empty:
            await device.apply(changes)
            log.info("overlay: %d peers; routes put %s, removed %s", len(peers), list(changes.put.routes), list(changes.remove.routes))

    async def _pass_rules(self) -> None:
        cidr = self._flags.cluster_cidr
        if self._flags.ip_masq:
            there = await run_command("nft", "list", "table", "ip", MASQUERADE_TABLE, check=False)
            if there.code != 0 or cidr not in there.stdout.decode():
                await run_command("nft", "-f", "-", stdin=overlay.masquerade_rules(cidr, MASQUERADE_TABLE).encode())
        if self._flags.iptables_forward_rules:
            for test, change in overlay.forward_commands(cidr):
                if (await run_command("iptables", "-w", *test, check=False)).code != 0:
                    await run_command("iptables", "-w", *change)

    def _write_configuration(self, subnet: str, mtu: int) -> None:
        network = ipaddress.IPv4Network(subnet)
        settings = {
            "FLANNEL_NETWORK": self._flags.cluster_cidr,
            "FLANNEL_SUBNET": f"{network[1]}/{network.prefixlen}",
            "FLANNEL_MTU": str(mtu),
            "FLANNEL_IPMASQ": str(self._flags.ip_masq).lower(),
        }
        environment = "".join(f"{name}={value}\n" for name, value in settings.items())
        _write_if_changed(Path(self._flags.subnet_file), environment)
        conflist = json.dumps(overlay.cni_config(subnet, mtu, self._flags.cluster_cidr), indent=2) + "\n"
        _write_if_changed(Path(self._flags.cni_conf_file), conflist)

    def _complain(self, about: str, text: str) -> None:
        """Once a text, not once a pass."""
        if self._complaints.get(about) != text:
            self._complaints[about] = text
            log.warning("%s", text)


def _internal_ip(node: dict[str, Any]) -> str:
    for address in (node.get("status") or {}).get("addresses") or ():
        if address.get("type") == "InternalIP" and ":" not in address["address"]:
            return str(address["address"])
    raise OSError(f"node {node['metadata']['name']} has no IPv4 InternalIP yet; --public-ip can name it")


def _write_if_changed(path: Path, text: str) -> None:
    """Whole or not at all: readers never see half a file."""
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    os.replace(draft, path)
    log.info("wrote %s", path)


async def run(flags: FlannelFlags, env: Env) -> None:
    """The process: the overlay, and an endpoint that says whether it stands."""
    try:
        client = client_from_kubeconfig(flags.kubeconfig_file, user_agent="flanneld")
    except (KubeconfigError, TlsError) as error:
        raise StartError(str(error)) from error
    flannel = Flannel(client, env, flags)
    checks = {"overlay": lambda: None if flannel.joined else "this node is not part of the overlay yet"}
    server = await serve(health_handler(None, checks), host=flags.healthz_ip, port=flags.healthz_port) if flags.healthz_port else None
    try:
        await flannel.run()
    finally:
        if server is not None:
            await server.close(1.0)
        await client.close()
