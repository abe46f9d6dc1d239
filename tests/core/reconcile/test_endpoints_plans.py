"""Service backends as EndpointSlices and as Endpoints."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from k8sfromscratch.core.reconcile import endpoints, endpointslice, objects
from k8sfromscratch.core.reconcile.plan import Create, Delete, Update


def backend(make, name, ip, *, ready=True, node="n1", containers=None, spec=None, **meta):
    pod = make.pod(name, ready=ready, node=node, labels={"app": "web"}, **meta)
    pod["status"] |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    pod["spec"] |= {**({"containers": containers} if containers else {}), **(spec or {})}
    return pod


def slices_after(make, slices, plan):
    """The slices once the plan is done, as the server would keep them."""
    kept = {one["metadata"]["name"]: one for one in slices}
    for step in plan.steps:
        match step:
            case Create():
                made = make.meta("")
                made["name"] = step.object["metadata"]["generateName"] + made["uid"]
                kept[made["name"]] = {**step.object, "metadata": {**made, **step.object["metadata"]}}
            case Update():
                kept[objects.name(step.object)] = step.object
            case Delete():
                del kept[step.name]
    return list(kept.values())


def plan(make, service, pods, slices=(), nodes=(), **options):
    return endpointslice.plan(service, pods, list(slices), {objects.name(node): node for node in nodes}, make.now, **options)


def test_the_first_slice_of_a_service(make):
    service = make.service()
    service["metadata"]["labels"] = {"team": "a"}
    pod = backend(make, "a", "10.1.0.1")
    zone = make.node("n1", labels={"topology.kubernetes.io/zone": "z1"})
    (create,) = plan(make, service, [pod, make.pod("other", ready=True)], nodes=[zone]).steps
    metadata = create.object["metadata"]
    assert metadata["generateName"] == "web-" and metadata["ownerReferences"] == [make.owner(service)]
    assert metadata["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert create.object["addressType"] == "IPv4"
    assert create.object["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
    assert create.object["endpoints"] == [
        {
            "addresses": ["10.1.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": pod["metadata"]["uid"]},
            "nodeName": "n1",
            "zone": "z1",
        }
    ]


@pytest.mark.parametrize(
    ("ready", "deleting", "publish", "expected"),
    [
        (True, False, False, (True, True, False)),
        (False, False, False, (False, False, False)),
        (True, True, False, (False, True, True)),
        (False, False, True, (True, False, False)),
        (True, True, True, (True, True, True)),
    ],
)
def test_conditions_of_an_endpoint(make, ready, deleting, publish, expected):
    meta = {"deletionTimestamp": make.at(0)} if deleting else {}
    (create,) = plan(make, make.service(publishNotReadyAddresses=publish), [backend(make, "a", "10.1.0.1", ready=ready, **meta)]).steps
    (endpoint,) = create.object["endpoints"]
    assert tuple(endpoint["conditions"][c] for c in ("ready", "serving", "terminating")) == expected


def test_what_is_no_backend(make):
    finished = backend(make, "done", "10.1.0.2", phase="Succeeded")
    (create,) = plan(make, make.service(), [finished, make.pod("no-address", labels={"app": "web"})]).steps
    assert create.object["endpoints"] == [] and create.object["ports"] == [], "a service without backends has one empty slice"


@pytest.mark.parametrize("spec", [{"selector": None}, {"type": "ExternalName"}])
def test_services_that_others_fill(make, spec):
    service = make.service(**spec)
    assert plan(make, service, [backend(make, "a", "10.1.0.1")]).steps == ()
    assert endpoints.plan(service, [backend(make, "a", "10.1.0.1")], None, make.now).steps == ()


def test_named_target_ports_may_differ_from_pod_to_pod(make):
    service = make.service(ports=[{"name": "http", "port": 80, "targetPort": "web"}])
    one = backend(make, "a", "10.1.0.1", containers=[{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}])
    two = backend(make, "b", "10.1.0.2", containers=[{"name": "c", "ports": [{"name": "web", "containerPort": 9090}]}])
    without = backend(make, "c", "10.1.0.3")
    found = {
        tuple(p["port"] for p in s.object["ports"]): [e["addresses"][0] for e in s.object["endpoints"]] for s in plan(make, service, [one, two, without]).steps
    }
    assert found == {(8080,): ["10.1.0.1"], (9090,): ["10.1.0.2"], (): ["10.1.0.3"]}


def test_a_headless_service_marks_its_slices_and_keeps_hostnames(make):
    service = make.service(clusterIP="None")
    (create,) = plan(make, service, [backend(make, "a", "10.1.0.1", spec={"hostname": "a", "subdomain": "web"})]).steps
    assert create.object["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert create.object["endpoints"][0]["hostname"] == "a"


def test_dual_stack_has_slices_of_each_family(make):
    service = make.service(ipFamilies=["IPv4", "IPv6"])
    pod = backend(make, "a", "10.1.0.1")
    pod["status"]["podIPs"].append({"ip": "fd00::1"})
    found = {s.object["addressType"]: s.object["endpoints"][0]["addresses"] for s in plan(make, service, [pod]).steps}
    assert found == {"IPv4": ["10.1.0.1"], "IPv6": ["fd00::1"]}


def test_only_the_slice_that_holds_a_change_is_written(make):
    service = make.service()
    pods = [backend(make, f"p{i}", f"10.1.0.{i}") for i in range(25)]
    slices = slices_after(make, [], plan(make, service, pods, max_endpoints=10))
    assert sorted(len(s["endpoints"]) for s in slices) == [5, 10, 10]
    assert plan(make, service, pods, slices, max_endpoints=10).steps == ()
    (update,) = plan(make, service, pods[1:], slices, max_endpoints=10).steps
    assert isinstance(update, Update) and len(update.object["endpoints"]) == 9


def test_new_endpoints_fill_the_fullest_slice_with_room(make):
    service = make.service()
    pods = [backend(make, f"p{i:02}", f"10.1.0.{i}") for i in range(12)]
    slices = slices_after(make, [], plan(make, service, pods, max_endpoints=10))
    more = [*pods, backend(make, "x1", "10.1.1.1"), backend(make, "x2", "10.1.1.2")]
    (update,) = plan(make, service, more, slices, max_endpoints=10).steps
    assert len(update.object["endpoints"]) == 4


def test_changed_service_labels_reach_every_slice(make):
    service = make.service()
    slices = slices_after(make, [], plan(make, service, [backend(make, "a", "10.1.0.1")]))
    service["metadata"]["labels"] = {"team": "b"}
    (update,) = plan(make, service, [backend(make, "b", "10.1.0.2")], slices).steps
    assert update.object["metadata"]["labels"]["team"] == "b"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sets(st.integers(1, 40)), min_size=1, max_size=6), st.integers(1, 7))
def test_slices_hold_exactly_the_backends_and_never_overflow(make, histories, max_endpoints):
    service = make.service()
    known = {i: backend(make, f"p{i}", f"10.1.0.{i}") for i in range(1, 41)}
    slices: list = []
    for present in histories:
        pods = [known[i] for i in sorted(present)]
        slices = slices_after(make, slices, plan(make, service, pods, slices, max_endpoints=max_endpoints))
        addresses = [e["addresses"][0] for s in slices for e in s["endpoints"]]
        assert sorted(addresses) == sorted(f"10.1.0.{i}" for i in present)
        assert all(len(s["endpoints"]) <= max_endpoints for s in slices)
        assert plan(make, service, pods, slices, max_endpoints=max_endpoints).steps == (), "the plan is done when it is done"


def test_endpoints_hold_ready_and_unready_addresses_apart(make):
    service = make.service(ports=[{"port": 80, "targetPort": 8080, "protocol": "TCP"}])
    pods = [
        backend(make, "b", "10.1.0.2"),
        backend(make, "a", "10.1.0.1"),
        backend(make, "slow", "10.1.0.3", ready=False),
        backend(make, "going", "10.1.0.4", deletionTimestamp=make.at(0)),
    ]
    (create,) = endpoints.plan(service, pods, None, make.now).steps
    (subset,) = create.object["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == ["10.1.0.1", "10.1.0.2"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.1.0.3"]
    assert subset["ports"] == [{"protocol": "TCP", "port": 8080}]
    current = {**create.object, "metadata": {**make.meta("web"), **create.object["metadata"]}}
    assert endpoints.plan(service, pods, current, make.now).steps == ()
    (delete,) = endpoints.plan(None, [], current, make.now).steps
    assert isinstance(delete, Delete) and delete.name == "web"


def test_endpoints_written_by_hand_are_not_deleted(make):
    by_hand = {"apiVersion": "v1", "kind": "Endpoints", "metadata": make.meta("web"), "subsets": []}
    assert endpoints.plan(None, [], by_hand, make.now).steps == ()


def test_endpoints_beyond_a_thousand_are_cut_and_marked(make):
    pods = [backend(make, f"p{i}", f"10.1.{i // 250}.{i % 250}") for i in range(1005)]
    (create,) = endpoints.plan(make.service(), pods, None, make.now).steps
    assert len(create.object["subsets"][0]["addresses"]) == 1000
    assert create.object["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"] == "truncated"
