"""The real kernel in a network namespace: what is asked for is what is there."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable

import pytest

NAMESPACE = "kfs-test-vxlan"

SCRIPT = """
import asyncio, json
from k8sfromscratch.core.network.overlay import Peer, changes, wanted
from k8sfromscratch.linux.vxlan import VxlanDevice

CIDR = "10.244.0.0/16"

async def main():
    async with VxlanDevice("flannel.1") as device:
        uplink, mtu = await device.uplink_of("192.0.2.1")
        settings = dict(vni=1, port=8472, local_ip="192.0.2.1", uplink=uplink, mtu=mtu - 50, address="10.244.1.0")
        await device.ensure(**settings)
        first = wanted([Peer("b", "10.244.2.0/24", "192.0.2.2", "aa:bb:cc:dd:ee:02"), Peer("c", "10.244.3.0/24", "192.0.2.3", "aa:bb:cc:dd:ee:03")])
        await device.apply(changes(await device.present(CIDR), first))
        assert changes(await device.present(CIDR), first).empty
        mac = device.mac
        await device.ensure(**settings)
        assert device.mac == mac, "a second ensure made the device anew"
        assert changes(await device.present(CIDR), first).empty
        second = wanted([Peer("b", "10.244.2.0/24", "192.0.2.9", "aa:bb:cc:dd:ee:09")])
        await device.apply(changes(await device.present(CIDR), second))
        assert changes(await device.present(CIDR), second).empty
        await device.ensure(**{**settings, "vni": 1, "port": 4789})
        assert (await device.present(CIDR)).fdb == {}
        await device.apply(changes(await device.present(CIDR), second))
        print(json.dumps({"mtu": mtu}))

asyncio.run(main())
"""


@pytest.fixture
def namespace(needs: Callable[..., None]) -> None:
    needs("ip", root=True)


def test_device_entries_and_changes(namespace: None) -> None:
    def ip(*argv: str) -> None:
        subprocess.run(["ip", *argv], check=True)

    ip("netns", "add", NAMESPACE)
    try:
        ip("-n", NAMESPACE, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        ip("-n", NAMESPACE, "addr", "add", "192.0.2.1/24", "dev", "v0")
        ip("-n", NAMESPACE, "link", "set", "v0", "up")
        ip("-n", NAMESPACE, "link", "set", "v1", "up")
        done = subprocess.run(["ip", "netns", "exec", NAMESPACE, sys.executable, "-c", SCRIPT], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        shown = subprocess.run(["ip", "-n", NAMESPACE, "-j", "-d", "link", "show", "flannel.1"], check=True, capture_output=True, text=True)
        link = json.loads(shown.stdout)[0]
        assert link["mtu"] == json.loads(done.stdout)["mtu"] - 50
        assert link["linkinfo"]["info_data"]["port"] == 4789 and link["linkinfo"]["info_data"]["learning"] is False
    finally:
        ip("netns", "del", NAMESPACE)


def test_an_address_no_interface_has_is_named() -> None:
    from k8sfromscratch.linux.vxlan import DeviceError, VxlanDevice

    async def main() -> None:
        async with VxlanDevice("kfs-none") as device:
            await device.uplink_of("203.0.113.77")

    with pytest.raises(DeviceError, match=r"203\.0\.113\.77"):
        asyncio.run(main())
