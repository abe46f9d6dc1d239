from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.scheduling.algorithm import Placed, Unschedulable, feasible_rows, schedule
from k8sfromscratch.core.scheduling.cluster import Cluster
from k8sfromscratch.core.scheduling.filters import tolerates
from k8sfromscratch.core.scheduling.pod import pod_requests, read_pod
from k8sfromscratch.core.scheduling.preemption import preempt
from k8sfromscratch.core.scheduling.topology_spread import default_constraints


def node(name: str, cpu: str = "4", memory: str = "8Gi", pods: str = "110", labels: dict | None = None, **spec: Any) -> dict:
    labels = {"kubernetes.io/hostname": name, **(labels or {})}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}}}


def pod(name: str, cpu: str = "", memory: str = "", labels: dict | None = None, namespace: str = "default", **spec: Any) -> dict:
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    containers = spec.pop("containers", [{"name": "c", "image": "app:v1", "resources": {"requests": requests}}])
    return {"metadata": {"name": name, "namespace": namespace, "uid": name, "labels": labels or {}}, "spec": {"containers": containers, **spec}}


def cluster(*nodes: dict) -> Cluster:
    made = Cluster()
    made.set_namespace("default", {"team": "a"})
    for each in nodes:
        made.set_node(each)
    return made


def place(c: Cluster, obj: dict, **kwargs: Any) -> str:
    info = read_pod(obj)
    result = schedule(info, c, tie=lambda n: 0, **kwargs)
    assert isinstance(result, Placed), result
    c.add_pod(info, result.node)
    return result.node


def refusal(c: Cluster, obj: dict) -> Unschedulable:
    result = schedule(read_pod(obj), c, tie=lambda n: 0)
    assert isinstance(result, Unschedulable)
    return result


def test_a_pod_goes_where_there_is_room() -> None:
    assert place(cluster(node("a", cpu="1"), node("b", cpu="4")), pod("p", cpu="2")) == "b"


def test_every_node_says_why_not_in_upstreams_words() -> None:
    c = cluster(
        node("a", cpu="1"), node("b", taints=[{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]), node("c", unschedulable=True), node("d", pods="0")
    )
    failed = refusal(c, pod("p", cpu="2"))
    assert failed.reasons == {
        "a": ("Insufficient cpu",),
        "b": ("node(s) had untolerated taint {dedicated: gpu}",),
        "c": ("node(s) were unschedulable",),
        "d": ("Too many pods",),
    }
    assert failed.message() == (
        "0/4 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) had untolerated taint {dedicated: gpu}, 1 node(s) were unschedulable."
    )
    assert failed.resolvable == {"a", "d"}


def test_no_nodes_at_all() -> None:
    assert refusal(cluster(), pod("p")).message() == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "j", "operator": "Exists"}, False),
        ({"key": "k", "value": "v", "effect": "NoExecute"}, False),
    ],
)
def test_tolerations(toleration: dict, expected: bool) -> None:
    assert tolerates(toleration, ("k", "v", "NoSchedule")) is expected


def test_a_taint_that_goes_away_frees_the_node() -> None:
    tainted = node("a", taints=[{"key": "k", "effect": "NoExecute"}])
    c = cluster(tainted)
    refusal(c, pod("p"))
    c.set_node(node("a"))
    assert place(c, pod("p")) == "a"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "disk", "operator": "In", "values": ["ssd"]}, {"a"}),
        ({"key": "disk", "operator": "NotIn", "values": ["ssd"]}, {"b", "c"}),
        ({"key": "disk", "operator": "Exists"}, {"a", "b"}),
        ({"key": "disk", "operator": "DoesNotExist"}, {"c"}),
        ({"key": "size", "operator": "Gt", "values": ["5"]}, {"b"}),
        ({"key": "size", "operator": "Lt", "values": ["5"]}, {"a"}),
        ({"key": "unknown", "operator": "In", "values": ["x"]}, set()),
    ],
)
def test_node_affinity_expressions(expression: dict, expected: set[str]) -> None:
    c = cluster(node("a", labels={"disk": "ssd", "size": "3"}), node("b", labels={"disk": "hdd", "size": "9"}), node("c"))
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}
    mask = feasible_rows(read_pod(pod("p", affinity=affinity)), c)
    assert {c.names[row] for row, yes in enumerate(mask) if yes} == expected


def test_node_selector_and_match_fields() -> None:
    c = cluster(node("a", labels={"disk": "ssd"}), node("b"))
    assert place(c, pod("p", nodeSelector={"disk": "ssd"})) == "a"
    field = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]}
    assert place(c, pod("q", affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": field}})) == "b"


def test_preferred_node_affinity_decides_between_equals() -> None:
    c = cluster(node("a"), node("b", labels={"disk": "ssd"}))
    preferred = [{"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}]
    assert place(c, pod("p", affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}})) == "b"


def test_pods_spread_over_nodes_by_what_they_ask_for() -> None:
    c = cluster(node("a"), node("b"), node("c"))
    assert {place(c, pod(f"p{i}", cpu="500m", memory="512Mi")) for i in range(3)} == {"a", "b", "c"}


def test_replicas_spread_by_the_systems_default_constraints() -> None:
    """Even where one node is emptier than the other."""
    c = cluster(node("a", cpu="16", memory="64Gi"), node("b", cpu="8", memory="32Gi"))
    spread = default_constraints({"matchLabels": {"app": "web"}})
    placed = [place(c, pod(f"p{i}", labels={"app": "web"}), soft_spread=spread) for i in range(6)]
    assert sorted(placed) == ["a"] * 3 + ["b"] * 3


def test_host_ports_are_taken_once_an_address() -> None:
    c = cluster(node("a"))
    port = [{"name": "c", "image": "i", "ports": [{"hostPort": 80, "containerPort": 80}]}]
    place(c, pod("p", containers=port))
    assert refusal(c, pod("q", containers=port)).reasons["a"] == ("node(s) didn't have free ports for the requested pod ports",)
    c.remove_pod("default/p")
    assert place(c, pod("q", containers=port)) == "a"


def anti(key: str = "kubernetes.io/hostname", app: str = "web") -> dict:
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}]}}


def near(key: str, app: str) -> dict:
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}]}}


def test_anti_affinity_keeps_apart_and_existing_pods_refuse_newcomers() -> None:
    c = cluster(node("a"), node("b"))
    first = place(c, pod("p", labels={"app": "web"}, affinity=anti()))
    second = place(c, pod("q", labels={"app": "web"}, affinity=anti()))
    assert {first, second} == {"a", "b"}
    assert set(refusal(c, pod("r", labels={"app": "web"}, affinity=anti())).reasons.values()) == {("node(s) didn't match pod anti-affinity rules",)}
    assert set(refusal(c, pod("s", labels={"app": "web"})).reasons.values()) == {("node(s) didn't satisfy existing pods anti-affinity rules",)}


def test_affinity_follows_a_pod_into_its_zone_and_the_first_of_a_group_may_start_anywhere() -> None:
    c = cluster(node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"}), node("c", labels={"zone": "2"}))
    place(c, pod("db", labels={"app": "db"}, nodeSelector={"kubernetes.io/hostname": "b"}))
    assert place(c, pod("web", affinity=near("zone", "db"))) == "c"
    place(c, pod("self", labels={"app": "new"}, affinity=near("zone", "new")))
    assert set(refusal(c, pod("lost", affinity=near("zone", "nobody"))).reasons.values()) == {("node(s) didn't match pod affinity rules",)}


def test_hard_topology_spread() -> None:
    c = cluster(node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"}), node("c"))
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}
    placed = [place(c, pod(f"p{i}", labels={"app": "web"}, topologySpreadConstraints=[constraint])) for i in range(4)]
    assert sorted(placed) == ["a", "a", "b", "b"]
    c.set_node(node("b", labels={"zone": "2"}, unschedulable=True))
    place(c, pod("fits", labels={"app": "web"}, topologySpreadConstraints=[constraint]))
    failed = refusal(c, pod("skewed", labels={"app": "web"}, topologySpreadConstraints=[constraint]))
    assert failed.reasons["a"] == ("node(s) didn't match pod topology spread constraints",)
    assert failed.reasons["c"] == ("node(s) didn't match pod topology spread constraints (missing required label)",)


def test_requests_of_init_containers_and_sidecars() -> None:
    def container(cpu: str, **more: str) -> dict:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    assert pod_requests({"containers": [container("1"), container("1")], "initContainers": [container("3")]}) == {"cpu": 3000}
    assert pod_requests({"containers": [container("1")], "initContainers": [container("500m", restartPolicy="Always"), container("2")]}) == {"cpu": 2500}
    assert pod_requests({"containers": [container("1")], "overhead": {"cpu": "250m"}}) == {"cpu": 1250}


def test_preemption_takes_the_least_important_and_leaves_the_cluster_as_it_was() -> None:
    c = cluster(node("a", cpu="2"), node("b", cpu="2"))
    place(c, pod("low", cpu="2", priority=1))
    place(c, pod("mid", cpu="2", priority=5))
    wanted = read_pod(pod("high", cpu="1", priority=10))
    failed = schedule(wanted, c, tie=lambda n: 0)
    assert isinstance(failed, Unschedulable)
    before = c.requested.copy()
    eviction = preempt(wanted, c, failed)
    assert eviction is not None and [v.name for v in eviction.victims] == ["low"]
    assert (c.requested == before).all()
    assert preempt(read_pod(pod("same", cpu="1", priority=1)), c, failed) is None


def test_a_node_that_goes_and_comes_back_is_empty_in_between() -> None:
    c = cluster(node("a", cpu="1"))
    place(c, pod("p", cpu="1"))
    c.remove_node("a")
    assert refusal(c, pod("q")).message() == "no nodes available to schedule pods"
    c.set_node(node("z", cpu="1"))
    assert place(c, pod("q", cpu="1")) == "z"


steps = st.lists(st.tuples(st.sampled_from(["node", "gone", "add", "remove"]), st.integers(0, 5), st.integers(0, 4)), max_size=40)


@given(steps)
def test_the_arrays_always_say_what_a_recount_would(history: list[tuple[str, int, int]]) -> None:
    c = Cluster()
    where: dict[int, int] = {}
    alive: set[int] = set()
    for kind, n, p in history:
        info = read_pod(pod(f"p{p}", cpu=f"{p + 1}00m", labels={"app": str(p % 2)}, affinity=anti(app=str(p))))
        if kind == "node":
            c.set_node(node(f"n{n}"))
            alive.add(n)
        elif kind == "gone":
            c.remove_node(f"n{n}")
            alive.discard(n)
            where = {pp: nn for pp, nn in where.items() if nn != n}
        elif kind == "add":
            where.pop(p, None)
            if c.add_pod(info, f"n{n}"):
                where[p] = n
        else:
            c.remove_pod(f"default/p{p}")
            where.pop(p, None)
    for n in alive:
        row = c.row_of[f"n{n}"]
        mine = [p for p, nn in where.items() if nn == n]
        assert c.requested[row][0] == sum((p + 1) * 100 for p in mine)
        assert c.requested[row][3] == len(mine)
        assert set(c.pods_on[row]) == {f"default/p{p}" for p in mine}
    assert sum(sum(rows.values()) for rows in c.groups.values()) == len(where)
    assert sum(sum(rows.values()) for _, rows in c.anti_terms.values()) == len(where)
