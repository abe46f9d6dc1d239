import json
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest

from k8sfromscratch.core.network.nft_table import Table, create, update
from k8sfromscratch.core.network.proxy_rules import ProxySettings, rules, stale_udp
from k8sfromscratch.core.network.services import service_ports

SETTINGS = ProxySettings("10.244.0.0/16", ("192.0.2.10",))


def service(name: str = "web", **spec: Any) -> dict:
    return {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": "10.96.0.50", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}], **spec},
    }


def endpoint(ip: str, node: str = "a", **conditions: bool) -> dict:
    return {"addresses": [ip], "nodeName": node, "conditions": {"ready": True, **conditions}}


def endpoint_slice(*endpoints: dict, name: str = "web", port: int = 8080, protocol: str = "TCP", port_name: str = "http") -> dict:
    return {
        "addressType": "IPv4",
        "metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": port_name, "port": port, "protocol": protocol}],
        "endpoints": list(endpoints),
    }


def test_ready_endpoints_win_over_terminating_ones() -> None:
    one = endpoint_slice(endpoint("10.244.0.1"), endpoint("10.244.0.2", ready=False, serving=True, terminating=True))
    assert [e.ip for e in service_ports([service()], [one], "a")["default/web:http"].cluster_endpoints] == ["10.244.0.1"]


def test_terminating_endpoints_that_still_serve_are_the_last_resort() -> None:
    one = endpoint_slice(endpoint("10.244.0.1", ready=False), endpoint("10.244.0.2", ready=False, serving=True, terminating=True))
    assert [e.ip for e in service_ports([service()], [one], "a")["default/web:http"].cluster_endpoints] == ["10.244.0.2"]


def test_local_policies_keep_to_this_node() -> None:
    one = endpoint_slice(endpoint("10.244.0.1", "a"), endpoint("10.244.1.1", "b"))
    port = service_ports([service(internalTrafficPolicy="Local", externalTrafficPolicy="Local")], [one], "b")["default/web:http"]
    assert [e.ip for e in port.cluster_endpoints] == [e.ip for e in port.external_endpoints] == ["10.244.1.1"]
    elsewhere = service_ports([service(externalTrafficPolicy="Local")], [one], "c")["default/web:http"]
    assert elsewhere.external_endpoints == () and elsewhere.has_endpoints


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"clusterIP": ""}, {"type": "ExternalName", "clusterIP": ""}, {"clusterIP": "fd00::1"}])
def test_services_without_an_ipv4_address_have_no_rules(spec: dict) -> None:
    assert service_ports([service(**spec)], [], "a") == {}


def test_a_service_without_endpoints_is_rejected_and_with_only_remote_ones_under_local_dropped() -> None:
    lonely = rules(service_ports([service()], [], "a"), SETTINGS)
    assert lonely.elements["no-endpoint-services"] == {"10.96.0.50 . tcp . 80": "goto reject-chain"}
    remote = endpoint_slice(endpoint("10.244.1.1", "b"))
    node_port = service(type="NodePort", externalTrafficPolicy="Local", ports=[{"name": "http", "port": 80, "nodePort": 30080}])
    local = rules(service_ports([node_port], [remote], "a"), SETTINGS)
    assert local.elements["no-endpoint-nodeports"] == {"tcp . 30080": "drop"}


def test_flows_to_removed_udp_endpoints_are_stale_and_tcp_ones_are_not() -> None:
    udp = service(ports=[{"name": "http", "port": 53, "protocol": "UDP", "nodePort": 30053}])
    before = service_ports([udp], [endpoint_slice(endpoint("10.244.0.1"), endpoint("10.244.0.2"), protocol="UDP")], "a")
    after = service_ports([udp], [endpoint_slice(endpoint("10.244.0.2"), protocol="UDP")], "a")
    assert stale_udp(before, after) == {("10.96.0.50", 0, "10.244.0.1", "udp"), ("", 30053, "10.244.0.1", "udp")}
    tcp = service_ports([service()], [endpoint_slice(endpoint("10.244.0.1"))], "a")
    assert stale_udp(tcp, {}) == set()


def cases() -> Iterator[tuple[str, Table]]:
    two = endpoint_slice(endpoint("10.244.0.1", "a"), endpoint("10.244.1.1", "b"))
    node_port = service(type="NodePort", ports=[{"name": "http", "port": 80, "nodePort": 30080}])
    for title, services, slices in (
        ("nothing", [], []),
        ("one", [service()], [two]),
        ("fewer endpoints", [service()], [endpoint_slice(endpoint("10.244.1.1", "b"))]),
        ("none left", [service()], []),
        ("node port", [node_port], [two]),
        ("local", [service(type="NodePort", externalTrafficPolicy="Local", ports=[{"name": "http", "port": 80, "nodePort": 30080}])], [two]),
        ("affinity", [service(sessionAffinity="ClientIP", externalIPs=["198.51.100.7"])], [two]),
        ("other address", [service(clusterIP="10.96.0.51")], [two]),
        ("balancer", [_balanced()], [two]),
        ("long names", [service("n" * 63)], [endpoint_slice(endpoint("10.244.0.1"), name="n" * 63)]),
    ):
        yield title, rules(service_ports(services, slices, "a"), SETTINGS)


def _balanced() -> dict:
    balanced = service(type="LoadBalancer", loadBalancerSourceRanges=["203.0.113.0/24"], ports=[{"name": "http", "port": 80, "nodePort": 30081}])
    balanced["status"] = {"loadBalancer": {"ingress": [{"ip": "198.51.100.9"}]}}
    return balanced


def test_no_transaction_where_nothing_differs() -> None:
    for _, table in cases():
        assert update(table, deepcopy(table)) == ""


@pytest.fixture
def network_namespace(needs: Callable[..., None]) -> Iterator[Callable[..., str]]:
    needs("ip", "nft", root=True)
    name = "kfs-test-nft"
    subprocess.run(["ip", "netns", "add", name], check=True)

    def inside(*argv: str, stdin: str = "") -> str:
        done = subprocess.run(["ip", "netns", "exec", name, *argv], input=stdin, text=True, capture_output=True)
        assert done.returncode == 0, f"{argv}: {done.stderr}\n{stdin}"
        return done.stdout

    try:
        yield inside
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_the_kernel_takes_every_transition_and_ends_where_a_fresh_table_would(network_namespace: Callable[..., str]) -> None:
    """Each state to each other: what is updated step by step is the same as what is written whole."""
    tables = dict(cases())
    whole = {}
    for title, table in tables.items():
        network_namespace("nft", "-f", "-", stdin=create(table))
        whole[title] = _normal(network_namespace("nft", "-j", "list", "ruleset"))
    for before in tables:
        for after in tables:
            network_namespace("nft", "-f", "-", stdin=create(tables[before]))
            network_namespace("nft", "-f", "-", stdin=update(tables[before], tables[after]))
            assert _normal(network_namespace("nft", "-j", "list", "ruleset")) == whole[after], f"{before} -> {after}"


def _normal(ruleset: str) -> list[str]:
    """What is there without the order of its making: chains stand one after another, the rules of each in their order."""
    rules_of: dict[str, list[str]] = {}
    rest = []
    for item in json.loads(ruleset)["nftables"]:
        for kind, value in item.items():
            value.pop("handle", None)
            if kind == "rule":
                rules_of.setdefault(value["chain"], []).append(json.dumps(value, sort_keys=True))
            elif kind != "metainfo":
                value["elem"] = sorted(json.dumps(e, sort_keys=True) for e in value.get("elem", []))
                rest.append(json.dumps({kind: value}, sort_keys=True))
    return sorted(rest) + [line for chain in sorted(rules_of) for line in rules_of[chain]]
