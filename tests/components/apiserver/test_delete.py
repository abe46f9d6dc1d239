"""DELETE: at once, gracefully, held by finalizers, of collections."""

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
MERGE = {"content-type": "application/merge-patch+json"}


async def bound_pod(api, name="p", **spec):
    body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}
    await api.json("POST", PODS, body, status=201)
    await api.json("POST", f"{PODS}/{name}/binding", {"target": {"name": "n1"}}, status=201)


def test_a_running_pod_is_marked_and_its_kubelet_removes_it(with_api):
    async def main(api):
        await bound_pod(api, terminationGracePeriodSeconds=20)
        marked = await api.json("DELETE", f"{PODS}/p", status=200)
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 20
        assert marked["metadata"]["deletionTimestamp"]
        assert (await api.json("GET", f"{PODS}/p", status=200))["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]
        gone = await api.json("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0}, status=200)
        assert gone["kind"] == "Pod"
        await api.json("GET", f"{PODS}/p", status=404)

    with_api(main)


def test_a_second_delete_may_shorten_the_grace_but_not_lengthen_it(with_api):
    async def main(api):
        await bound_pod(api)
        await api.json("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 20})
        assert (await api.json("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 25}))["metadata"]["deletionGracePeriodSeconds"] == 20
        assert (await api.json("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 5}))["metadata"]["deletionGracePeriodSeconds"] == 5

    with_api(main)


def test_a_pod_that_runs_nowhere_or_is_done_goes_at_once(with_api):
    async def main(api):
        await api.json("POST", PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}, status=201)
        await api.json("DELETE", f"{PODS}/p")
        await api.json("GET", f"{PODS}/p", status=404)
        await bound_pod(api, "done")
        await api.json("PATCH", f"{PODS}/done/status", {"status": {"phase": "Succeeded"}}, headers=MERGE, status=200)
        await api.json("DELETE", f"{PODS}/done")
        await api.json("GET", f"{PODS}/done", status=404)

    with_api(main)


def test_finalizers_hold_an_object_until_the_last_is_taken_away(with_api):
    async def main(api):
        body = api.config_map("a")
        body["metadata"]["finalizers"] = ["example.com/one", "example.com/two"]
        await api.json("POST", CONFIG_MAPS, body, status=201)
        marked = await api.json("DELETE", f"{CONFIG_MAPS}/a", status=200)
        assert marked["metadata"]["deletionTimestamp"]
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
        refused = await api.json("PATCH", f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": ["example.com/new"]}}, headers=MERGE, status=422)
        assert "no new finalizers can be added if the object is being deleted" in refused["message"]
        await api.json("PATCH", f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": ["example.com/two"]}}, headers=MERGE, status=200)
        await api.json("GET", f"{CONFIG_MAPS}/a", status=200)
        last = await api.json("PATCH", f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": []}}, headers=MERGE, status=200)
        assert last["metadata"]["name"] == "a"
        await api.json("GET", f"{CONFIG_MAPS}/a", status=404)

    with_api(main)


@pytest.mark.parametrize(("policy", "finalizers"), [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"]), ("Background", None)])
def test_propagation_is_left_to_the_garbage_collector_by_a_finalizer(with_api, policy, finalizers):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        await api.json("DELETE", f"{CONFIG_MAPS}/a", {"propagationPolicy": policy}, status=200)
        left = await api.json("GET", f"{CONFIG_MAPS}/a")
        assert left.get("metadata", {}).get("finalizers") == finalizers

    with_api(main)


def test_preconditions(with_api):
    async def main(api):
        created = await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        wrong = await api.json("DELETE", f"{CONFIG_MAPS}/a", {"preconditions": {"uid": "x"}}, status=409)
        assert "the UID in the precondition (x) does not match" in wrong["message"]
        await api.json("DELETE", f"{CONFIG_MAPS}/a", {"preconditions": {"resourceVersion": "1"}}, status=409)
        metadata = created["metadata"]
        await api.json("DELETE", f"{CONFIG_MAPS}/a", {"preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}}, status=200)

    with_api(main)


def test_a_collection_is_deleted_by_selector(with_api):
    async def main(api):
        for index in range(40):
            body = api.config_map(f"c{index}")
            body["metadata"]["labels"] = {"parity": "even" if index % 2 == 0 else "odd"}
            await api.json("POST", CONFIG_MAPS, body)
        gone = await api.json("DELETE", CONFIG_MAPS, labelSelector="parity=odd", status=200)
        assert gone["kind"] == "ConfigMapList"
        assert len(gone["items"]) == 20
        assert len((await api.json("GET", CONFIG_MAPS))["items"]) == 20

    with_api(main)


def test_a_namespace_waits_for_its_finalizer_and_takes_nothing_new(with_api):
    async def main(api):
        created = await api.json("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}}, status=201)
        assert created["spec"]["finalizers"] == ["kubernetes"]
        assert created["status"] == {"phase": "Active"}
        assert created["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}
        marked = await api.json("DELETE", "/api/v1/namespaces/n", status=200)
        assert marked["status"]["phase"] == "Terminating"
        refused = await api.json("POST", "/api/v1/namespaces/n/configmaps", {"metadata": {"name": "a"}}, status=403)
        assert refused["details"]["causes"][0]["reason"] == "NamespaceTerminating"
        await api.json("PUT", "/api/v1/namespaces/n/finalize", {**marked, "spec": {"finalizers": []}}, status=200)
        await api.json("GET", "/api/v1/namespaces/n", status=404)

    with_api(main)


def test_the_first_namespaces_stay(with_api):
    async def main(api):
        for name in ("default", "kube-system", "kube-public"):
            refused = await api.json("DELETE", f"/api/v1/namespaces/{name}", status=403)
            assert refused["message"] == f'namespaces "{name}" is forbidden: this namespace may not be deleted'

    with_api(main)


@pytest.mark.parametrize(
    "options",
    [
        {"gracePeriodSeconds": "soon"},
        {"gracePeriodSeconds": True},
        {"kind": "Pod"},
        [],
    ],
)
def test_bad_options_are_the_clients_fault(with_api, options):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        assert (await api.json("DELETE", f"{CONFIG_MAPS}/a", options))["code"] == 400

    with_api(main)


@pytest.mark.parametrize("options", [{"propagationPolicy": "Sideways"}, {"propagationPolicy": "Orphan", "orphanDependents": True}])
def test_contradicting_options_are_told_as_an_invalid_object_is(with_api, options):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        refused = await api.json("DELETE", f"{CONFIG_MAPS}/a", options, status=422)
        assert refused["details"]["kind"] == "DeleteOptions"
        assert refused["details"]["causes"][0]["field"] == "propagationPolicy"

    with_api(main)
