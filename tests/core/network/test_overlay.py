import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.network import overlay


def node(name: str, subnet: str | None, mac: str = "aa:bb:cc:00:00:01", ip: str = "192.0.2.1", vni: int = 1) -> dict:
    return {"metadata": {"name": name, "annotations": overlay.annotations(ip, mac, vni)}, "spec": {"podCIDR": subnet} if subnet else {}}


def test_a_node_that_published_its_end_is_a_peer() -> None:
    peer = overlay.read_peer(node("a", "10.244.3.0/24"), 1)
    assert peer == overlay.Peer("a", "10.244.3.0/24", "192.0.2.1", "aa:bb:cc:00:00:01")
    assert peer.vtep_ip == "10.244.3.0"


def test_annotations_are_flannels() -> None:
    notes = overlay.annotations("192.0.2.1", "aa:bb:cc:00:00:01", 1)
    assert notes["flannel.alpha.coreos.com/backend-type"] == "vxlan"
    assert json.loads(notes["flannel.alpha.coreos.com/backend-data"]) == {"VNI": 1, "VtepMAC": "aa:bb:cc:00:00:01"}
    assert notes["flannel.alpha.coreos.com/kube-subnet-manager"] == "true"


def test_no_peer_without_a_subnet_or_with_another_vni() -> None:
    assert overlay.read_peer(node("a", None), 1) is None
    assert overlay.read_peer(node("a", "10.244.3.0/24", vni=7), 1) is None
    assert overlay.read_peer({"metadata": {"name": "bare"}, "spec": {"podCIDR": "10.244.1.0/24"}}, 1) is None


@pytest.mark.parametrize("data", ["[]", "{", '{"VNI": "x"}', '{"VNI": 1}', '{"VNI": 1, "VtepMAC": "no"}', "null", '{"VNI": 1, "VtepMAC": "aa:bb:cc:00:00:1g"}'])
def test_nonsense_in_annotations_is_named_and_never_a_crash(data: str) -> None:
    bad = node("a", "10.244.3.0/24")
    bad["metadata"]["annotations"][overlay.BACKEND_DATA] = data
    with pytest.raises(ValueError, match="node a: its overlay annotations"):
        overlay.read_peer(bad, 1)


@given(st.text())
def test_any_backend_data_is_a_peer_nothing_or_a_value_error(data: str) -> None:
    odd = node("a", "10.244.3.0/24")
    odd["metadata"]["annotations"][overlay.BACKEND_DATA] = data
    with pytest.raises(ValueError) if not _parses(data) else _nothing():
        overlay.read_peer(odd, 1)


def _parses(data: str) -> bool:
    try:
        value = json.loads(data)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("VNI", 1) != 1 and isinstance(value.get("VNI"), int)


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


entries = st.builds(
    overlay.Entries,
    routes=st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xy")),
    neighbours=st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xy")),
    fdb=st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xy")),
)


@given(entries, entries)
def test_changes_lead_from_any_state_to_the_wanted_one(present: overlay.Entries, target: overlay.Entries) -> None:
    changes = overlay.changes(present, target)

    def after(now: dict, remove: dict, put: dict) -> dict:
        return {**{k: v for k, v in now.items() if k not in remove}, **put}

    assert after(present.routes, changes.remove.routes, changes.put.routes) == target.routes
    assert after(present.neighbours, changes.remove.neighbours, changes.put.neighbours) == target.neighbours
    assert after(present.fdb, changes.remove.fdb, changes.put.fdb) == target.fdb
    assert overlay.changes(target, target).empty


def test_the_cni_network_uses_reference_plugins_that_exist() -> None:
    config = overlay.cni_config("10.244.1.0/24", 1450, "10.244.0.0/16")
    assert [plugin["type"] for plugin in config["plugins"]] == ["bridge", "portmap"]
    assert config["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    assert config["plugins"][0]["mtu"] == 1450


def test_masquerade_rules_are_one_transaction_that_replaces_the_table() -> None:
    rules = overlay.masquerade_rules("10.244.0.0/16", "t")
    assert rules.index("delete table ip t") < rules.index("add chain")
