"""Our messages against dnspython's, and the zone against the specification of Kubernetes' service discovery."""

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.network import dns_message as ours
from k8sfromscratch.core.network.dns_zone import Zone

SERVICES = {
    ("default", "web"): {
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    },
    ("default", "db"): {"metadata": {"namespace": "default", "name": "db"}, "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]}},
    ("default", "empty"): {"metadata": {"namespace": "default", "name": "empty"}, "spec": {"clusterIP": "None"}},
    ("default", "ext"): {"metadata": {"namespace": "default", "name": "ext"}, "spec": {"type": "ExternalName", "externalName": "Www.Example.org"}},
}
SLICES = {
    ("default", "db"): [
        {
            "metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.244.1.5"], "hostname": "db-0", "conditions": {"ready": True}},
                {"addresses": ["10.244.2.6"], "conditions": {"ready": True}},
                {"addresses": ["10.244.2.7"], "conditions": {"ready": False}},
            ],
        }
    ]
}

ZONE = Zone(
    domain=("cluster", "local"),
    service=lambda namespace, name: SERVICES.get((namespace, name)),
    slices=lambda namespace, name: SLICES.get((namespace, name), []),
    namespace_exists=lambda namespace: namespace == "default",
    services_of_address=lambda address: [s for s in SERVICES.values() if s["spec"].get("clusterIP") == address],
    slices_of_address=lambda address: [s for group in SLICES.values() for s in group if any(address in e["addresses"] for e in s["endpoints"])],
    service_exists_in=lambda namespace: any(key[0] == namespace for key in SERVICES),
)


def ask(name: str, kind: str, *, size: int = 1232) -> dns.message.Message:
    packet = dns.message.make_query(name, kind, use_edns=0, payload=size).to_wire()
    query = ours.parse_query(packet)
    answer = ZONE.answer(query) if ZONE.owns(query.name) else ZONE.reverse(query)
    assert answer is not None, f"{name} is not the cluster's"
    return dns.message.from_wire(ours.build_answer(query, answer, query.udp_size_bytes))


def texts(message: dns.message.Message) -> list[str]:
    return sorted(item.to_text() for rrset in message.answer for item in rrset)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("web.default.svc.cluster.local", "A", ["10.96.0.10"]),
        ("WEB.Default.svc.CLUSTER.local", "A", ["10.96.0.10"]),
        ("web.default.svc.cluster.local", "AAAA", []),
        ("_http._tcp.web.default.svc.cluster.local", "SRV", ["0 100 80 web.default.svc.cluster.local."]),
        ("db.default.svc.cluster.local", "A", ["10.244.1.5", "10.244.2.6"]),
        ("db-0.db.default.svc.cluster.local", "A", ["10.244.1.5"]),
        ("10-244-2-6.db.default.svc.cluster.local", "A", ["10.244.2.6"]),
        (
            "_sql._tcp.db.default.svc.cluster.local",
            "SRV",
            ["0 50 5432 10-244-2-6.db.default.svc.cluster.local.", "0 50 5432 db-0.db.default.svc.cluster.local."],
        ),
        ("ext.default.svc.cluster.local", "A", ["www.example.org."]),
        ("10-244-9-9.default.pod.cluster.local", "A", ["10.244.9.9"]),
        ("dns-version.cluster.local", "TXT", ['"1.1.0"']),
        ("10.0.96.10.in-addr.arpa", "PTR", ["web.default.svc.cluster.local."]),
        ("5.1.244.10.in-addr.arpa", "PTR", ["db-0.db.default.svc.cluster.local."]),
        ("default.svc.cluster.local", "A", []),
    ],
)
def test_names_that_exist(name: str, kind: str, expected: list[str]) -> None:
    message = ask(name, kind)
    assert message.rcode() == dns.rcode.NOERROR
    assert texts(message) == sorted(expected)
    assert message.flags & dns.flags.AA
    if not expected:
        assert [rrset.rdtype for rrset in message.authority] == [dns.rdatatype.SOA]


@pytest.mark.parametrize(
    "name",
    [
        "no.default.svc.cluster.local",
        "web.other.svc.cluster.local",
        "other.svc.cluster.local",
        "empty.default.svc.cluster.local",
        "a.b.c.web.default.svc.cluster.local",
        "_no._tcp.web.default.svc.cluster.local",
        "10-244-9-9.other.pod.cluster.local",
        "10-244-9.default.pod.cluster.local",
        "nothing.cluster.local",
    ],
)
def test_names_that_do_not(name: str) -> None:
    message = ask(name, "A")
    assert message.rcode() == dns.rcode.NXDOMAIN
    assert [rrset.rdtype for rrset in message.authority] == [dns.rdatatype.SOA]


def test_addresses_that_are_not_ours_are_asked_elsewhere() -> None:
    assert ZONE.reverse(ours.parse_query(dns.message.make_query("1.2.0.192.in-addr.arpa", "PTR").to_wire())) is None


def test_srv_answers_bring_the_targets_addresses() -> None:
    message = ask("_sql._tcp.db.default.svc.cluster.local", "SRV")
    assert sorted(item.to_text() for rrset in message.additional for item in rrset) == ["10.244.1.5", "10.244.2.6"]


def test_what_does_not_fit_is_cut_off_with_the_bit_that_says_so() -> None:
    packet = dns.message.make_query("big.cluster.local", "A").to_wire()
    query = ours.parse_query(packet)
    many = [ours.Record(("big", "cluster", "local"), ours.A, 5, f"10.0.{i}.1") for i in range(60)]
    message = dns.message.from_wire(ours.build_answer(query, ours.Answer(records=many), query.udp_size_bytes))
    assert message.flags & dns.flags.TC and not message.answer
    whole = dns.message.from_wire(ours.build_answer(query, ours.Answer(records=many), 0xFFFF))
    assert len(texts(whole)) == 60


def test_the_question_comes_back_in_the_case_it_was_asked_in() -> None:
    packet = dns.message.make_query("wEb.default.svc.cluster.local", "A").to_wire()
    query = ours.parse_query(packet)
    assert b"\x03wEb" in ours.build_answer(query, ZONE.answer(query), 1232)


@pytest.mark.parametrize(
    ("packet", "rcode"),
    [
        (b"", None),
        (b"\0" * 5, None),
        (b"\x12\x34\x80\0" + b"\0" * 8, None),
        (b"\x12\x34\x28\0\0\x01" + b"\0" * 6, ours.NOTIMP),
        (b"\x12\x34\x01\0\0\x02" + b"\0" * 6, ours.FORMERR),
        (b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01", ours.FORMERR),
        (b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x3fabc", ours.FORMERR),
        (b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x80abc\0\0\x01\0\x01", ours.FORMERR),
    ],
)
def test_malformed_messages_say_what_to_answer(packet: bytes, rcode: int | None) -> None:
    with pytest.raises(ours.FormatError) as caught:
        ours.parse_query(packet)
    assert (caught.value.rcode if caught.value.ident is not None else None) == rcode


@given(st.binary(max_size=600))
def test_any_bytes_give_a_query_or_a_format_error(packet: bytes) -> None:
    try:
        query = ours.parse_query(packet)
    except ours.FormatError:
        return
    answer = ZONE.answer(query) if ZONE.owns(query.name) else ours.Answer(ours.REFUSED)
    assert len(ours.build_answer(query, answer, query.udp_size_bytes)) <= query.udp_size_bytes
    assert ours.min_ttl_s(packet) >= 0


@given(st.binary(max_size=300))
def test_a_cut_or_forged_answer_is_never_kept(packet: bytes) -> None:
    assert ours.min_ttl_s(packet) >= 0
