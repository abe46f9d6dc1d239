"""Allocations that somebody broke are made right, at the start and from time to time, whoever else is at it."""

import asyncio
from ipaddress import ip_network

import pytest

from k8sfromscratch.components.apiserver.allocation_loop import AllocationLoop
from k8sfromscratch.components.apiserver.allocation_repair import Release, Take, address_labels, address_problems, port_problems
from k8sfromscratch.core.mvcc.types import DeleteOp, PutOp
from k8sfromscratch.testing.virtual import run_virtual

SERVICES, ADDRESSES = "/api/v1/namespaces/default/services", "/apis/networking.k8s.io/v1/ipaddresses"
NETWORKS = (ip_network("10.96.0.0/24"),)


def service(name, *addresses, ports=(), kind="ClusterIP"):
    spec = {"type": kind, "clusterIPs": list(addresses), "ports": [{"port": port, "nodePort": port} for port in ports]}
    return {"kind": "Service", "metadata": {"name": name, "namespace": "n"}, "spec": spec}


def record(address, name, labels=None, **parent):
    reference = {"group": "", "resource": "services", "namespace": "n", "name": name, **parent}
    metadata = {"name": address, "labels": address_labels(address) if labels is None else labels}
    return {"kind": "IPAddress", "metadata": metadata, "spec": {"parentRef": reference}}


IP, OTHER = "10.96.0.10", "10.96.0.11"


@pytest.mark.parametrize(
    ("services", "records", "expected"),
    [
        ([service("a", IP)], [record(IP, "a")], []),
        ([service("a", "None"), service("b")], [], []),
        ([service("a", IP)], [], [(Take, "ClusterIPNotAllocated", f"Cluster IP [IPv4]: {IP} is not allocated; repairing")]),
        ([service("a", "nonsense")], [], [(None, "ClusterIPNotValid", "Cluster IP nonsense is not a valid IP; please recreate Service")]),
        (
            [service("a", "10.0.0.1")],
            [],
            [(None, "ClusterIPOutOfRange", "Cluster IP [IPv4]: 10.0.0.1 is not within any configured Service CIDR; please recreate service")],
        ),
        (
            [service("a", IP)],
            [record(IP, "a", group="gateway")],
            [(Take, "ClusterIPNotAllocated", "has a wrong reference"), (Release, "IPAddressNotAllocated", "")],
        ),
        ([service("a", IP)], [record(IP, "gone")], [(Take, "ClusterIPNotAllocated", "has a wrong reference"), (Release, "IPAddressNotAllocated", "")]),
        (
            [service("a", IP), service("b", IP)],
            [record(IP, "b")],
            [(None, "ClusterIPAlreadyAllocated", f"Cluster IP [IPv4]:{IP} was assigned to multiple services; please recreate service")],
        ),
        ([service("a", IP)], [record(IP, "a", {})], [(Take, "ClusterIPNotAllocated", "has wrong labels")]),
        ([], [record(IP, "gone")], [(Release, "IPAddressNotAllocated", f"IPAddress: {IP} for Service n/gone appears to have leaked: cleaning up")]),
        ([service("a", OTHER)], [record(OTHER, "a"), record(IP, "a")], [(Release, "IPAddressNotAllocated", "")]),
        # Somebody's own, which only keeps the address from being given out.
        ([], [record(IP, "x", {})], []),
    ],
)
def test_what_is_wrong_with_addresses(services, records, expected):
    found = list(address_problems(services, {one["metadata"]["name"]: one for one in records}, NETWORKS))
    assert [problem.reason for problem in found] == [reason for _, reason, _ in expected]
    for problem, (kind, _, text) in zip(found, expected, strict=True):
        assert text in problem.message
        assert kind is None or isinstance(problem, kind)


@pytest.mark.parametrize(
    ("services", "taken", "expected"),
    [
        ([service("a", ports=[30001])], {"30001": "n/a"}, []),
        ([service("a", ports=[30001])], {}, [(Take, "PortNotAllocated")]),
        ([service("a", ports=[30001])], {"30001": "n/gone"}, [(Take, "PortNotAllocated"), (Release, "PortNotAllocated")]),
        ([service("a", ports=[30001]), service("b", ports=[30001])], {"30001": "n/b"}, [(None, "PortAlreadyAllocated")]),
        ([service("a", ports=[1])], {}, [(None, "PortOutOfRange")]),
        ([], {"30001": "n/gone"}, [(Release, "PortNotAllocated")]),
    ],
)
def test_what_is_wrong_with_node_ports(services, taken, expected):
    records = {port: {"kind": "NodePortAllocation", "metadata": {"name": port}, "service": owner} for port, owner in taken.items()}
    found = list(port_problems(services, records, 30000, 32767))
    assert [problem.reason for problem in found] == [reason for _, reason in expected]
    assert all(kind is None or isinstance(problem, kind) for problem, (kind, _) in zip(found, expected, strict=True))


async def expose(api, name, **spec):
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}], **spec}}
    return await api.json("POST", SERVICES, body, status=201)


async def until(api, check):
    for _ in range(400):
        await api.server.feed.caught_up()
        value = await check()
        if value:
            return value
        await asyncio.sleep(1)
    raise AssertionError("still not so")


def test_an_address_object_deleted_by_hand_comes_back_and_is_told(with_api):
    async def test(api):
        address = (await expose(api, "web"))["spec"]["clusterIP"]
        await api.json("DELETE", f"{ADDRESSES}/{address}", status=200)

        async def back():
            return (await api.request("GET", f"{ADDRESSES}/{address}")).status == 200

        async def told():
            events = (await api.json("GET", "/api/v1/namespaces/default/events"))["items"]
            return [event for event in events if event["reason"] == "ClusterIPNotAllocated" and event["involvedObject"]["name"] == "web"]

        await until(api, back)
        (event,) = await until(api, told)
        assert event["message"] == f"Cluster IP [IPv4]: {address} is not allocated; repairing"
        assert event["source"]["component"] == "ipallocator-repair-controller"

    with_api(test)


def test_what_leaked_is_free_again(with_api):
    async def test(api):
        made = await expose(api, "web")
        address, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
        # As a backup that lacks the Service would leave it.
        await api.storage.txn([], [DeleteOp(b"/registry/services/specs/default/web")])

        async def free():
            return api.server.allocations.ports.get(str(port)) is None and (await api.request("GET", f"{ADDRESSES}/{address}")).status == 404

        await until(api, free)
        again = await expose(api, "again", clusterIP=address, ports=[{"port": 80, "nodePort": port}])
        assert again["spec"]["clusterIP"] == address

    with_api(test)


def test_a_restart_repairs_at_once_and_what_is_right_is_not_written(api_server):
    async def main(env):
        async with api_server(env) as first:
            made = await expose(first, "web")
            port = made["spec"]["ports"][0]["nodePort"]
            storage = first.storage
            await storage.txn([], [DeleteOp(f"/registry/ranges/servicenodeports/{port}".encode())])
            async with api_server(env, storage) as second:

                async def taken():
                    return second.server.allocations.ports.get(str(port)) is not None

                await until(second, taken)
                loop = AllocationLoop(second.server, second.server.allocations)
                assert await loop.repair() == 0
                before = second.server.feed.revision
                assert await loop.repair() == 0
                await second.server.feed.caught_up()
                assert second.server.feed.revision == before

    run_virtual(main)


def test_a_repair_gives_way_to_whoever_was_faster(with_api):
    async def test(api):
        made = await expose(api, "web")
        address = made["spec"]["clusterIP"]
        key = f"/registry/ipaddresses/{address}".encode()
        await asyncio.sleep(1)  # the server's own first round is over, its next one far
        await api.storage.txn([], [DeleteOp(key)])
        await api.server.feed.caught_up()
        loop = AllocationLoop(api.server, api.server.allocations)
        # Our cache does not show it yet: another apiserver has just repaired the same.
        theirs = api.server.allocations.address_object(made, address)
        write = api.storage.txn([], [PutOp(key, theirs)])
        _, found = await asyncio.gather(write, loop.repair())
        assert found == 1
        await api.server.feed.caught_up()
        assert (await api.json("GET", f"{ADDRESSES}/{address}"))["metadata"]["uid"].encode() in theirs

    with_api(test)


def test_the_kubernetes_service_is_corrected_at_the_start(api_server):
    async def main(env):
        async with api_server(env) as first:
            path = f"{SERVICES}/kubernetes"
            edited = await first.json("GET", path)
            edited["spec"]["ports"][0]["targetPort"] = 1
            await first.json("PUT", path, edited, status=200)
            async with api_server(env, first.storage) as second:
                assert (await second.json("GET", path))["spec"]["ports"][0]["targetPort"] == 6443

    run_virtual(main)
