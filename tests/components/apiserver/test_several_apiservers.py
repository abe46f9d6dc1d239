"""Several apiservers on one store: each serves, and together they are one."""

import asyncio
from contextlib import AsyncExitStack
from ipaddress import ip_network
from typing import Any

import orjson

from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver.allocation import Ranges
from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.components.apiserver.server import ApiServer
from k8sfromscratch.core.authz.types import LOOPBACK, UserInfo
from k8sfromscratch.core.mvcc.types import PutOp
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.virtual import run_virtual

_KEY = pki.make_key()
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"


class Pair:
    def __init__(self, servers: list[ApiServer]) -> None:
        self.servers = servers
        self.clients = [Client(DirectTransport(server.handle, LOOPBACK)) for server in servers]

    async def send(self, which: int, method: str, path: str, body: Any = None, *, user: UserInfo = LOOPBACK, **query: str) -> tuple[int, Any]:
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        raw = b"" if body is None else orjson.dumps(body)
        request = Request(method, path, {name: [value] for name, value in query.items()}, {"content-type": content}, raw, direct_user=user)
        response = await self.servers[which].handle(request)
        assert isinstance(response, Response) and isinstance(response.body, bytes)
        return response.status, orjson.loads(response.body)


def run(test: Any, *, ranges: Ranges = Ranges()) -> None:
    async def main(env: Env) -> None:
        storage = LocalStorage.memory(env)
        async with AsyncExitStack() as stack:
            servers = []
            for number in (1, 2):
                server = embedded(storage, env, signing_key=_KEY, address=f"192.0.2.{number}", ranges=ranges)
                await server.start()
                stack.push_async_callback(server.stop)
                servers.append(server)
            await test(Pair(servers))

    run_virtual(main)


def test_a_read_sees_what_another_server_has_written() -> None:
    """Consistent reads ask the store how far it is, and wait for their own cache to be as far."""

    async def test(pair: Pair) -> None:
        for turn in range(20):
            status, made = await pair.send(turn % 2, "POST", CONFIG_MAPS, {"metadata": {"name": f"c{turn}"}})
            assert status == 201
            other = (turn + 1) % 2
            assert (await pair.send(other, "GET", f"{CONFIG_MAPS}/c{turn}"))[1] == made
            status, listed = await pair.send(other, "GET", CONFIG_MAPS)
            assert f"c{turn}" in {item["metadata"]["name"] for item in listed["items"]}
            assert int(listed["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])

    run(test)


def test_of_two_that_write_the_same_name_one_wins() -> None:
    async def test(pair: Pair) -> None:
        answers = await asyncio.gather(*(pair.send(n % 2, "POST", CONFIG_MAPS, {"metadata": {"name": "one"}, "data": {"by": str(n)}}) for n in range(10)))
        assert sorted(status for status, _ in answers) == [201] + [409] * 9
        winner = next(body for status, body in answers if status == 201)
        assert [(await pair.send(which, "GET", f"{CONFIG_MAPS}/one"))[1]["data"] for which in (0, 1)] == [winner["data"]] * 2

    run(test)


def test_no_update_is_lost() -> None:
    """Merge patches carry no resourceVersion: the server tries again until its own read is the latest."""

    async def test(pair: Pair) -> None:
        await pair.send(0, "POST", CONFIG_MAPS, {"metadata": {"name": "shared"}})
        answers = await asyncio.gather(*(pair.send(n % 2, "PATCH", f"{CONFIG_MAPS}/shared", {"data": {f"k{n}": "v"}}) for n in range(12)))
        assert {status for status, _ in answers} <= {200, 409}
        done = {f"k{n}" for n, (status, _) in enumerate(answers) if status == 200}
        assert set((await pair.send(0, "GET", f"{CONFIG_MAPS}/shared"))[1]["data"]) == done and len(done) > 1

        _, old = await pair.send(0, "GET", f"{CONFIG_MAPS}/shared")
        answers = await asyncio.gather(*(pair.send(n, "PUT", f"{CONFIG_MAPS}/shared", {**old, "data": {"by": str(n)}}) for n in (0, 1)))
        assert sorted(status for status, _ in answers) == [200, 409]

    run(test)


def test_cluster_addresses_and_node_ports_are_given_out_once() -> None:
    async def test(pair: Pair) -> None:
        spec = {"type": "NodePort", "ports": [{"port": 80}], "selector": {"a": "b"}}
        answers = await asyncio.gather(*(pair.send(n % 2, "POST", SERVICES, {"metadata": {"name": f"s{n}"}, "spec": spec}) for n in range(8)))
        assert [status for status, _ in answers] == [201] * 8, answers
        addresses = [body["spec"]["clusterIP"] for _, body in answers]
        ports = [body["spec"]["ports"][0]["nodePort"] for _, body in answers]
        assert len(set(addresses)) == len(set(ports)) == 8

    # Hardly larger than what is asked for, so that both servers are bound to choose the same ones.
    run(test, ranges=Ranges((ip_network("10.96.0.0/28"),), (30000, 30009)))


def test_rights_that_are_given_by_one_hold_at_the_other_and_are_taken_away_again() -> None:
    async def test(pair: Pair) -> None:
        ann = UserInfo("ann", ("system:authenticated",))
        roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
        assert (await pair.send(1, "GET", CONFIG_MAPS, user=ann))[0] == 403
        await pair.send(
            0, "POST", f"{roles}/roles", {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]}
        )
        subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann"}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
        await pair.send(0, "POST", f"{roles}/rolebindings", {"metadata": {"name": "r"}, "roleRef": reference, "subjects": [subject]})
        await pair.send(1, "GET", CONFIG_MAPS)  # brings its caches up to now
        assert (await pair.send(1, "GET", CONFIG_MAPS, user=ann))[0] == 200
        await pair.send(0, "DELETE", f"{roles}/rolebindings/r")
        await pair.send(1, "GET", CONFIG_MAPS)
        assert (await pair.send(1, "GET", CONFIG_MAPS, user=ann))[0] == 403

    run(test)


def test_the_kubernetes_service_names_those_that_are_there() -> None:
    async def test(pair: Pair) -> None:
        async def addresses() -> list[str]:
            _, found = await pair.send(1, "GET", "/api/v1/namespaces/default/endpoints/kubernetes")
            return [address["ip"] for subset in found["subsets"] for address in subset["addresses"]]

        assert await addresses() == ["192.0.2.1", "192.0.2.2"]
        await pair.servers[0].stop()
        assert await addresses() == ["192.0.2.2"]
        _, slice_ = await pair.send(1, "GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
        assert [endpoint["addresses"] for endpoint in slice_["endpoints"]] == [["192.0.2.2"]]

    run(test)


def test_one_that_dies_without_a_word_is_out_when_its_lease_has_run_out() -> None:
    async def test(pair: Pair) -> None:
        async def addresses() -> list[str]:
            _, found = await pair.send(0, "GET", "/api/v1/namespaces/default/endpoints/kubernetes")
            return [address["ip"] for subset in found["subsets"] for address in subset["addresses"]]

        storage = pair.servers[0].storage
        lease = await storage.lease_grant(15)
        await storage.txn([], [PutOp(b"/registry/masterleases/192.0.2.3", b"{}", lease=lease)])
        await asyncio.sleep(1)
        assert await addresses() == ["192.0.2.1", "192.0.2.2", "192.0.2.3"], "who comes is seen at once"
        await asyncio.sleep(13)
        assert "192.0.2.3" in await addresses()
        await asyncio.sleep(3)
        assert await addresses() == ["192.0.2.1", "192.0.2.2"]

    run(test)


def test_a_watch_at_one_tells_what_is_done_at_the_other() -> None:
    async def test(pair: Pair) -> None:
        _, listed = await pair.send(1, "GET", CONFIG_MAPS)
        query = {"watch": ["1"], "resourceVersion": [listed["metadata"]["resourceVersion"]]}
        response = await pair.servers[1].handle(Request("GET", CONFIG_MAPS, query, {}, direct_user=LOOPBACK))
        assert isinstance(response, Response) and not isinstance(response.body, bytes)
        await pair.send(0, "POST", CONFIG_MAPS, {"metadata": {"name": "c"}})
        await pair.send(0, "DELETE", f"{CONFIG_MAPS}/c")
        seen: list[tuple[str, str]] = []
        async for chunk in response.body:
            seen += [(event["type"], event["object"]["metadata"]["name"]) for event in map(orjson.loads, chunk.splitlines())]
            if len(seen) == 2:
                break
        await response.body.aclose()  # type: ignore[attr-defined]
        assert seen == [("ADDED", "c"), ("DELETED", "c")]

    run(test)
