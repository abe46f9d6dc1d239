"""Services: what they are given, keep, and give back."""

import asyncio
import ipaddress

import pytest

SERVICES = "/api/v1/namespaces/default/services"
ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
MERGE = {"content-type": "application/merge-patch+json"}


def service(name="s", **spec):
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}, **spec}}


def test_a_cluster_ip_of_the_range_is_given_held_and_given_back(with_api):
    async def main(api):
        created = await api.json("POST", SERVICES, service(), status=201)
        address = created["spec"]["clusterIP"]
        assert ipaddress.ip_address(address) in ipaddress.ip_network("10.96.0.0/12")
        assert created["spec"]["clusterIPs"] == [address]
        assert (created["spec"]["ipFamilies"], created["spec"]["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
        held = await api.json("GET", f"{ADDRESSES}/{address}", status=200)
        assert held["spec"]["parentRef"] == {"group": "", "resource": "services", "namespace": "default", "name": "s"}
        refused = await api.json("POST", SERVICES, service("t", clusterIP=address), status=422)
        assert "provided IP is already allocated" in refused["message"]
        await api.json("DELETE", f"{SERVICES}/s", status=200)
        await api.json("GET", f"{ADDRESSES}/{address}", status=404)
        assert (await api.json("POST", SERVICES, service("t", clusterIP=address), status=201))["spec"]["clusterIP"] == address

    with_api(main)


def test_the_kubernetes_service_has_the_first_address_and_no_endpoint_at_loopback(with_api):
    """Which endpoints it has otherwise: test_several_apiservers."""

    async def main(api):
        assert (await api.json("GET", f"{SERVICES}/kubernetes", status=200))["spec"]["clusterIP"] == "10.96.0.1"
        endpoints = await api.json("GET", "/api/v1/namespaces/default/endpoints/kubernetes", status=200)
        assert not endpoints.get("subsets")
        slice_ = await api.json("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes", status=200)
        assert slice_["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes"

    with_api(main)


@pytest.mark.parametrize("address", ["192.168.0.1", "10.96.0.1", "10.96.0.0"])
def test_addresses_that_cannot_be_had(with_api, address):
    async def main(api):
        refused = await api.json("POST", SERVICES, service(clusterIP=address), status=422)
        assert refused["details"]["causes"][0]["field"] == "spec.clusterIPs"

    with_api(main)


def test_many_at_once_get_different_addresses_and_ports(with_api):
    async def main(api):
        made = await asyncio.gather(*(api.json("POST", SERVICES, service(f"s{index}", type="NodePort"), status=201) for index in range(100)))
        assert len({one["spec"]["clusterIP"] for one in made}) == 100
        ports = {one["spec"]["ports"][0]["nodePort"] for one in made}
        assert len(ports) == 100
        assert all(30000 <= port <= 32767 for port in ports)

    with_api(main)


def test_a_node_port_may_be_named_once(with_api):
    async def main(api):
        named = service("a", type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
        assert (await api.json("POST", SERVICES, named, status=201))["spec"]["ports"][0]["nodePort"] == 30080
        refused = await api.json("POST", SERVICES, {**named, "metadata": {"name": "b"}}, status=422)
        assert refused["details"]["causes"][0]["field"] == "spec.ports[0].nodePort"
        assert "provided port is already allocated" in refused["message"]
        outside = service("c", type="NodePort", ports=[{"port": 80, "nodePort": 80}])
        assert "30000-32767" in (await api.json("POST", SERVICES, outside, status=422))["message"]

    with_api(main)


def test_one_port_number_for_tcp_and_udp_shares_a_node_port(with_api):
    async def main(api):
        ports = [{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]
        created = await api.json("POST", SERVICES, service(type="NodePort", ports=ports), status=201)
        assert len({port["nodePort"] for port in created["spec"]["ports"]}) == 1

    with_api(main)


def test_an_update_that_leaves_them_out_keeps_them(with_api):
    async def main(api):
        created = await api.json("POST", SERVICES, service(type="NodePort"), status=201)
        updated = await api.json("PUT", f"{SERVICES}/s", service(type="NodePort", selector={"app": "other"}), status=200)
        assert updated["spec"]["clusterIP"] == created["spec"]["clusterIP"]
        assert updated["spec"]["ports"][0]["nodePort"] == created["spec"]["ports"][0]["nodePort"]

    with_api(main)


def test_a_change_of_type_takes_and_gives_back_node_ports(with_api):
    async def main(api):
        await api.json("POST", SERVICES, service(), status=201)
        with_port = await api.json("PATCH", f"{SERVICES}/s", {"spec": {"type": "NodePort"}}, headers=MERGE, status=200)
        port = with_port["spec"]["ports"][0]["nodePort"]
        without = await api.json("PATCH", f"{SERVICES}/s", {"spec": {"type": "ClusterIP"}}, headers=MERGE, status=200)
        assert "nodePort" not in without["spec"]["ports"][0]
        again = service("t", type="NodePort", ports=[{"port": 1, "nodePort": port}])
        await api.json("POST", SERVICES, again, status=201)

    with_api(main)


def test_headless_and_external_name_services_take_nothing(with_api):
    async def main(api):
        before = len((await api.json("GET", ADDRESSES))["items"])
        headless = await api.json("POST", SERVICES, service("h", clusterIP="None"), status=201)
        assert (headless["spec"]["clusterIP"], headless["spec"]["clusterIPs"]) == ("None", ["None"])
        external = await api.json("POST", SERVICES, {"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "a.example"}}, status=201)
        assert "clusterIP" not in external["spec"]
        assert len((await api.json("GET", ADDRESSES))["items"]) == before

    with_api(main)


def test_a_dry_run_takes_nothing(with_api):
    async def main(api):
        before = len((await api.json("GET", ADDRESSES))["items"])
        assert (await api.json("POST", SERVICES, service(), status=201, dryRun="All"))["spec"]["clusterIP"]
        assert len((await api.json("GET", ADDRESSES))["items"]) == before

    with_api(main)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"ipFamilyPolicy": "RequireDualStack"}, "spec.ipFamilyPolicy"),
        ({"ipFamilies": ["IPv4", "IPv6"]}, "spec.ipFamilyPolicy"),
        ({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "SingleStack"}, "spec.ipFamilyPolicy"),
        ({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}, "spec.ipFamilies[1]"),
        ({"ipFamilies": ["IPv6"], "clusterIP": "None"}, "spec.ipFamilies[0]"),
        ({"ipFamilyPolicy": "PreferDualStack"}, None),
        ({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "None", "selector": {}}, None),
    ],
)
def test_address_families_that_the_cluster_does_not_have_are_refused_and_not_left_out(with_api, asked, field):
    async def main(api):
        answer = await api.json("POST", SERVICES, service(**asked), status=422 if field else 201)
        assert field is None or [cause["field"] for cause in answer["details"]["causes"]] == [field]

    with_api(main)


def test_a_service_cannot_be_changed_into_one_of_two_stacks(with_api):
    async def main(api):
        await api.json("POST", SERVICES, service(), status=201)
        refused = await api.json("PATCH", f"{SERVICES}/s", {"spec": {"ipFamilyPolicy": "RequireDualStack"}}, headers=MERGE, status=422)
        assert "this cluster is not configured for dual-stack services" in refused["message"]

    with_api(main)
