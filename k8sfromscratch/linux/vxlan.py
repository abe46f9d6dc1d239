"""The VXLAN device and its routes, neighbours and forwarding entries, through netlink (RFC 7348)."""

import errno
import ipaddress
from types import TracebackType
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from k8sfromscratch.core.network.overlay import Changes, Entries

_NUD_PERMANENT = 0x80
_NTF_SELF = 0x02
_RTNH_F_ONLINK = 4
_RT_SCOPE_UNIVERSE = 0


class DeviceError(Exception):
    """The kernel refused; the message says what was asked."""


class VxlanDevice:
    """One VXLAN device in the current network namespace.  Use as an async context manager; leaving closes only the netlink
    socket: the device stays, so that pods keep their connections while flannel restarts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.index = 0
        self.mac = ""
        self._ip = AsyncIPRoute()

    async def __aenter__(self) -> "VxlanDevice":
        await self._ip.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._ip.__aexit__(kind, error, trace)

    async def uplink_of(self, address: str) -> tuple[int, int]:
        """(index, MTU) of the interface that carries `address`."""
        async for entry in await self._ip.addr("dump", family=2):
            if entry.get("IFA_LOCAL", entry.get("IFA_ADDRESS")) == address:
                link = (await self._ip.link("get", index=entry["index"]))[0]
                return int(entry["index"]), int(link.get("IFLA_MTU"))
        raise DeviceError(f"no interface has the address {address}: give the right one with --public-ip or the node's InternalIP")

    async def ensure(self, *, vni: int, port: int, local_ip: str, uplink: int, mtu: int, address: str) -> None:
        """The device, up, with exactly `address`/32.  One that exists with other parameters is made anew."""
        existing = await self._existing()
        if existing is not None and not _same(existing, vni, port, local_ip):
            await self._ip.link("del", index=existing["index"])
            existing = None
        if existing is None:
            await self._ip.link(
                "add", ifname=self.name, kind="vxlan", vxlan_id=vni, vxlan_port=port, vxlan_local=local_ip, vxlan_link=uplink, vxlan_learning=False
            )
            existing = await self._existing()
            if existing is None:
                raise DeviceError(f"the kernel made no device {self.name}")
        self.index, self.mac = int(existing["index"]), str(existing.get("IFLA_ADDRESS"))
        await self._set_address(address)
        await self._ip.link("set", index=self.index, mtu=mtu, state="up")

    async def present(self, cluster_cidr: str) -> Entries:
        """What is in the kernel for this device now."""
        network = ipaddress.IPv4Network(cluster_cidr)
        routes, neighbours, fdb = {}, {}, {}
        async for route in await self._ip.route("dump", family=2):
            if route.get("RTA_OIF") == self.index and route.get("RTA_GATEWAY") and route.get("RTA_DST"):
                subnet = ipaddress.IPv4Network(f"{route.get('RTA_DST')}/{route['dst_len']}")
                if subnet.subnet_of(network):
                    routes[str(subnet)] = str(route.get("RTA_GATEWAY"))
        async for entry in await self._ip.neigh("dump", family=2, ifindex=self.index):
            if entry["ifindex"] == self.index and entry["state"] & _NUD_PERMANENT:
                neighbours[str(entry.get("NDA_DST"))] = str(entry.get("NDA_LLADDR"))
        async for entry in await self._ip.fdb("dump", ifindex=self.index):
            if entry["ifindex"] == self.index and entry.get("NDA_DST"):
                fdb[str(entry.get("NDA_LLADDR"))] = str(entry.get("NDA_DST"))
        return Entries(routes, neighbours, fdb)

    async def apply(self, changes: Changes) -> None:
        """FDB and neighbours before routes, so that a route never leads to a tunnel end that is not known."""
        for subnet, gateway in changes.remove.routes.items():
            await self._gone_is_fine(self._ip.route("del", dst=subnet, gateway=gateway, oif=self.index))
        for address, mac in changes.remove.neighbours.items():
            await self._gone_is_fine(self._ip.neigh("del", dst=address, lladdr=mac, ifindex=self.index, state=_NUD_PERMANENT))
        for mac, public_ip in changes.remove.fdb.items():
            await self._gone_is_fine(self._ip.fdb("del", lladdr=mac, dst=public_ip, ifindex=self.index, flags=_NTF_SELF))
        for mac, public_ip in changes.put.fdb.items():
            await self._ip.fdb("replace", lladdr=mac, dst=public_ip, ifindex=self.index, flags=_NTF_SELF, state=_NUD_PERMANENT)
        for address, mac in changes.put.neighbours.items():
            await self._ip.neigh("replace", dst=address, lladdr=mac, ifindex=self.index, state=_NUD_PERMANENT)
        for subnet, gateway in changes.put.routes.items():
            await self._ip.route("replace", dst=subnet, gateway=gateway, oif=self.index, flags=_RTNH_F_ONLINK, scope=_RT_SCOPE_UNIVERSE)

    async def _existing(self) -> Any:
        found = await self._ip.link_lookup(ifname=self.name)
        return (await self._ip.link("get", index=found[0]))[0] if found else None

    async def _set_address(self, address: str) -> None:
        held = set()
        async for entry in await self._ip.addr("dump", index=self.index, family=2):
            if entry["index"] == self.index:
                held.add((entry.get("IFA_LOCAL", entry.get("IFA_ADDRESS")), entry["prefixlen"]))
        for old, length in held - {(address, 32)}:
            await self._ip.addr("del", index=self.index, address=old, prefixlen=length)
        if (address, 32) not in held:
            await self._ip.addr("add", index=self.index, address=address, prefixlen=32)

    @staticmethod
    async def _gone_is_fine(request: Any) -> None:
        try:
            await request
        except NetlinkError as error:
            if error.code not in (errno.ENOENT, errno.ESRCH):
                raise


def _same(link: Any, vni: int, port: int, local_ip: str) -> bool:
    info = link.get("IFLA_LINKINFO")
    if info is None or info.get("IFLA_INFO_KIND") != "vxlan":
        return False
    data = info.get("IFLA_INFO_DATA")
    return bool(data.get("IFLA_VXLAN_ID") == vni and data.get("IFLA_VXLAN_PORT") == port and data.get("IFLA_VXLAN_LOCAL") == local_ip)
