"""Services, nodes, namespaces and ownership through the real apiserver."""

import asyncio
from ipaddress import ip_network

import pytest

from k8sfromscratch.api.errors import Forbidden
from k8sfromscratch.api.registry import (
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from k8sfromscratch.components.controller_manager.options import Options
from k8sfromscratch.core.reconcile.node_ipam import Pool

PORTS = [{"name": "http", "port": 80, "targetPort": 8080}]


# Services.


def test_a_service_has_the_ready_pods_behind_it(play, make_workload):
    async def story(cluster):
        await cluster.apply(SERVICES, "web", {"selector": {"app": "web"}, "ports": PORTS})
        await cluster.apply(DEPLOYMENTS, "web", make_workload(3))
        await cluster.until(lambda: addresses(cluster, 3))
        (one,) = await cluster.every(ENDPOINT_SLICES, labels="kubernetes.io/service-name=web")
        assert one["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        (subset,) = (await cluster.get(ENDPOINTS, "web"))["subsets"]
        assert sorted(a["ip"] for a in subset["addresses"]) == sorted(e["addresses"][0] for e in one["endpoints"])
        await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 1}}, "default")
        await cluster.until(lambda: addresses(cluster, 1))
        await cluster.client.delete(SERVICES, "web", "default")
        await cluster.until(lambda: nothing(cluster))

    async def addresses(cluster, count):
        slices = await cluster.every(ENDPOINT_SLICES, labels="kubernetes.io/service-name=web")
        ready = [e for s in slices for e in s.get("endpoints") or () if e["conditions"]["ready"]]
        old = await cluster.get(ENDPOINTS, "web")
        return old is not None and len(ready) == count == sum(len(s.get("addresses", ())) for s in old.get("subsets") or ())

    async def nothing(cluster):
        slices = await cluster.every(ENDPOINT_SLICES, labels="kubernetes.io/service-name=web")
        return not slices and await cluster.get(ENDPOINTS, "web") is None

    play(story)


def test_endpoints_written_by_hand_are_mirrored_into_slices_as_long_as_they_are_wanted(play):
    """For kube-proxy and DNS, which read slices alone."""

    async def story(cluster):
        await cluster.apply(SERVICES, "db", {"ports": PORTS})
        subset = {"addresses": [{"ip": "192.0.2.1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"name": "http", "port": 8080}]}
        await cluster.apply(ENDPOINTS, "db", subsets=[subset, {"addresses": [{"ip": "2001:db8::1"}]}], metadata={"labels": {"team": "a"}})
        await cluster.until(lambda: states(cluster, [("IPv4", ["192.0.2.1", "192.0.2.2"], [True, False]), ("IPv6", ["2001:db8::1"], [True])]))
        written = {one["metadata"]["name"]: one for one in await slices(cluster)}
        four = next(one for one in written.values() if one["addressType"] == "IPv4")
        assert four["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        assert four["metadata"]["labels"] == {
            "team": "a",
            "kubernetes.io/service-name": "db",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
        }
        await asyncio.sleep(3600)
        again = {one["metadata"]["name"]: one for one in await slices(cluster)}
        assert again == written, "what is settled is written no more"
        await cluster.client.patch(ENDPOINTS, "db", {"subsets": [{**subset, "notReadyAddresses": None}]}, "default")
        await cluster.until(lambda: states(cluster, [("IPv4", ["192.0.2.1"], [True])]))
        assert (await slices(cluster))[0]["metadata"]["name"] == four["metadata"]["name"]
        await cluster.client.patch(ENDPOINTS, "db", {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}}, "default")
        await cluster.until(lambda: states(cluster, []))
        await cluster.client.patch(ENDPOINTS, "db", {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": None}}}, "default")
        await cluster.until(lambda: states(cluster, [("IPv4", ["192.0.2.1"], [True])]))
        await cluster.client.patch(SERVICES, "db", {"spec": {"selector": {"app": "db"}}}, "default")
        await cluster.until(lambda: states(cluster, []))

    async def slices(cluster):
        of_db = await cluster.every(ENDPOINT_SLICES, labels="kubernetes.io/service-name=db")
        return [one for one in of_db if "mirroring" in one["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]]

    async def states(cluster, wanted):
        found = [
            (one["addressType"], [e["addresses"][0] for e in one["endpoints"]], [e["conditions"]["ready"] for e in one["endpoints"]])
            for one in await slices(cluster)
        ]
        return sorted(found) == wanted

    play(story)


# Nodes.


def taint_keys(node, effect):
    return {t["key"] for t in node["spec"].get("taints", ()) if t["effect"] == effect}


async def condition(cluster, name, status):
    node = await cluster.get(NODES, name)
    return node if any(c["type"] == "Ready" and c["status"] == status for c in node["status"]["conditions"]) else None


def test_pods_of_a_dead_node_are_replaced_elsewhere_and_it_may_come_back(play, make_workload):
    async def story(cluster):
        tolerated = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
        quick = {"tolerations": [tolerated]}
        await cluster.apply(SERVICES, "web", {"selector": {"app": "web"}, "ports": PORTS})
        await cluster.apply(DEPLOYMENTS, "web", make_workload(4, pod_spec=quick))
        await cluster.until(lambda: spread(cluster, 4))
        start = cluster.env.clock.monotonic()
        cluster.power_off("n1")
        dead = await cluster.until(lambda: condition(cluster, "n1-1", "Unknown"), timeout_s=70)
        assert 40 < cluster.env.clock.monotonic() - start <= 61, "after the grace period, counted from its last lease"
        reason = next(c for c in dead["status"]["conditions"] if c["type"] == "Ready")
        assert reason["reason"] == "NodeStatusUnknown"
        dead = await cluster.until(lambda: tainted(cluster))
        assert taint_keys(dead, "NoSchedule") == {"node.kubernetes.io/unreachable"}
        await cluster.until(lambda: endpoints(cluster, 2), timeout_s=5)
        await cluster.until(lambda: on_others(cluster, 4), timeout_s=60)
        leftovers = [p for p in await cluster.every(PODS) if p["spec"]["nodeName"] == "n1-1"]
        assert leftovers and all(p["metadata"]["deletionTimestamp"] for p in leftovers), "they terminate until the node says that they are gone"
        assert "NodeNotReady" in await cluster.reasons("n1-1")
        cluster.power_on("n1")
        await cluster.until(lambda: condition(cluster, "n1-1", "True"))
        await cluster.until(lambda: clean(cluster))

    async def spread(cluster, count):
        return len(await cluster.ready_pods()) == count

    async def tainted(cluster):
        node = await cluster.get(NODES, "n1-1")
        return node if taint_keys(node, "NoExecute") == {"node.kubernetes.io/unreachable"} else None

    async def endpoints(cluster, count):
        (one,) = await cluster.every(ENDPOINT_SLICES, labels="kubernetes.io/service-name=web")
        return sum(e["conditions"]["ready"] for e in one["endpoints"]) == count

    async def on_others(cluster, count):
        return len([p for p in await cluster.ready_pods() if p["spec"]["nodeName"] != "n1-1"]) == count

    async def clean(cluster):
        gone = not [p for p in await cluster.every(PODS) if p["metadata"].get("deletionTimestamp")]
        return gone and not (await cluster.get(NODES, "n1-1"))["spec"].get("taints")

    play(story)


def test_pods_of_a_deleted_node_are_collected(play, make_workload):
    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(2))
        await cluster.until(lambda: two(cluster))
        cluster.power_off("n1")
        await cluster.client.delete(NODES, "n1-1")
        await cluster.until(lambda: only_on(cluster, "n2-1"), timeout_s=120)

    async def two(cluster):
        return len(await cluster.ready_pods()) == 2

    async def only_on(cluster, node):
        pods = await cluster.every(PODS)
        return len(pods) == 2 and {p["spec"].get("nodeName") for p in pods} == {node}

    play(story)


def test_a_cordoned_node_is_tainted(play):
    async def story(cluster):
        await cluster.until(lambda: cluster.get(NODES, "n1-1"))
        await cluster.client.patch(NODES, "n1-1", {"spec": {"unschedulable": True}})
        await cluster.until(lambda: cordoned(cluster))

    async def cordoned(cluster):
        return taint_keys(await cluster.get(NODES, "n1-1"), "NoSchedule") == {"node.kubernetes.io/unschedulable"}

    play(story)


def test_nodes_get_ranges_of_their_own(play):
    async def story(cluster):
        for name in ("a", "b", "c"):
            await cluster.apply(NODES, name, {}, None)
        await cluster.until(lambda: ranges(cluster))

    async def ranges(cluster):
        found = [(await cluster.get(NODES, name))["spec"].get("podCIDR") for name in ("a", "b", "c")]
        return None not in found and len(set(found)) == 3 and all(ip_network(f).prefixlen == 24 for f in found)

    play(story, nodes=0, options=Options(pools=[Pool(ip_network("10.9.0.0/16"), 24)]))


# Namespaces.


def test_a_namespace_is_born_with_an_account_and_the_ca_and_dies_with_its_contents(play, make_workload):
    async def story(cluster):
        await cluster.apply(NAMESPACES, "team", None, None)
        await cluster.until(lambda: cluster.get(SERVICE_ACCOUNTS, "default", "team"))
        published = await cluster.until(lambda: cluster.get(CONFIG_MAPS, "kube-root-ca.crt", "team"))
        assert published["data"] == {"ca.crt": "the bundle"}
        await cluster.client.delete(SERVICE_ACCOUNTS, "default", "team")
        await cluster.until(lambda: cluster.get(SERVICE_ACCOUNTS, "default", "team"))
        await cluster.apply(DEPLOYMENTS, "web", make_workload(3), "team")
        await cluster.apply(SECRETS, "s", None, "team")
        await cluster.until(lambda: pods(cluster))
        await cluster.client.delete(NAMESPACES, "team")
        await asyncio.sleep(0.1)
        with pytest.raises(Forbidden, match="because it is being terminated"):
            await cluster.apply(SECRETS, "late", None, "team")
        await cluster.until(lambda: gone(cluster))
        for resource in (DEPLOYMENTS, REPLICA_SETS, PODS, SECRETS, CONFIG_MAPS, SERVICE_ACCOUNTS):
            assert await cluster.every(resource, "team") == []

    async def pods(cluster):
        return len(await cluster.every(PODS, "team")) == 3

    async def gone(cluster):
        return await cluster.get(NAMESPACES, "team") is None

    play(story, options=Options(root_ca="the bundle"))


def test_a_namespace_says_what_holds_it(play):
    async def story(cluster):
        await cluster.apply(NAMESPACES, "team", None, None)
        await cluster.apply(CONFIG_MAPS, "held", None, "team", metadata={"finalizers": ["example.com/hold"]})
        await cluster.client.delete(NAMESPACES, "team")
        await cluster.until(lambda: says(cluster))
        await cluster.client.patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": []}}, "team")
        await cluster.until(lambda: gone(cluster))

    async def says(cluster):
        conditions = (await cluster.get(NAMESPACES, "team"))["status"].get("conditions", ())
        return [c for c in conditions if c["type"] == "NamespaceFinalizersRemaining" and "example.com/hold in 1 resource instances" in c["message"]]

    async def gone(cluster):
        return await cluster.get(NAMESPACES, "team") is None

    play(story)


# Ownership.


@pytest.mark.parametrize(("policy", "left"), [("Background", 0), ("Foreground", 0), ("Orphan", 2)])
def test_deleting_a_deployment(play, make_workload, policy, left):
    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(2))
        await cluster.until(lambda: two(cluster))
        await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation_policy=policy)
        if policy == "Foreground":
            assert (await cluster.get(DEPLOYMENTS, "web"))["metadata"]["finalizers"] == ["foregroundDeletion"]
        await cluster.until(lambda: gone(cluster))
        await cluster.until(lambda: settled(cluster))
        await asyncio.sleep(30)
        assert len(await cluster.every(PODS)) == left
        owners = [(await cluster.get(REPLICA_SETS, rs["metadata"]["name"]))["metadata"].get("ownerReferences") for rs in await cluster.every(REPLICA_SETS)]
        assert owners == ([None] if left else []) or owners == [[]]

    async def two(cluster):
        return len(await cluster.ready_pods()) == 2

    async def gone(cluster):
        if await cluster.get(DEPLOYMENTS, "web") is None:
            assert policy != "Foreground" or not await cluster.every(PODS), "in the foreground the owner goes last"
            return True
        return False

    async def settled(cluster):
        return len(await cluster.every(PODS)) == left

    play(story)


def config_map_owner(obj):
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}


def test_what_was_made_for_an_owner_that_is_gone_already_is_collected(play):
    async def story(cluster):
        owner = await cluster.apply(CONFIG_MAPS, "owner")
        await cluster.client.delete(CONFIG_MAPS, "owner", "default")
        await cluster.apply(CONFIG_MAPS, "owner")  # a namesake is not the owner
        await cluster.apply(SECRETS, "late", metadata={"ownerReferences": [config_map_owner(owner)]})
        await cluster.until(lambda: gone(cluster, "late"))

    async def gone(cluster, name):
        return await cluster.get(SECRETS, name) is None

    play(story, nodes=0)


def test_one_living_owner_is_enough_and_an_unknown_one_is_never_taken_for_gone(play):
    async def story(cluster):
        first, second = [await cluster.apply(CONFIG_MAPS, name) for name in ("first", "second")]
        strange = {"apiVersion": "example.com/v1", "kind": "Strange", "name": "x", "uid": "00000000-0000-4000-8000-000000000000"}
        await cluster.apply(SECRETS, "shared", metadata={"ownerReferences": [config_map_owner(first), config_map_owner(second)]})
        await cluster.apply(SECRETS, "strange", metadata={"ownerReferences": [strange]})
        await cluster.client.delete(CONFIG_MAPS, "first", "default")
        await cluster.until(lambda: owners(cluster, ["second"]))
        await asyncio.sleep(120)
        assert await cluster.get(SECRETS, "shared") and await cluster.get(SECRETS, "strange")

    async def owners(cluster, wanted):
        return [o["name"] for o in (await cluster.get(SECRETS, "shared"))["metadata"]["ownerReferences"]] == wanted

    play(story, nodes=0)


# Roles.


def test_aggregated_roles_follow_their_parts(play):
    async def story(cluster):
        rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
        selectors = {"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]}
        await cluster.apply(CLUSTER_ROLES, "sum", None, None, aggregationRule=selectors)
        await cluster.apply(CLUSTER_ROLES, "part", None, None, rules=[rule], metadata={"labels": {"to": "sum"}})
        await cluster.until(lambda: rules(cluster, [rule]))
        await cluster.client.delete(CLUSTER_ROLES, "part")
        await cluster.until(lambda: rules(cluster, []))

    async def rules(cluster, wanted):
        return (await cluster.get(CLUSTER_ROLES, "sum")).get("rules", []) == wanted

    play(story, nodes=0)
