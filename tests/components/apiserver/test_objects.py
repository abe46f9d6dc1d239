"""CREATE, GET, UPDATE, DELETE of plain objects."""

import asyncio
import re

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def test_an_object_is_created_read_changed_and_deleted(with_api):
    async def main(api):
        created = await api.json("POST", CONFIG_MAPS, api.config_map("a", k="v"), status=201)
        assert created["data"] == {"k": "v"}
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", created["metadata"]["uid"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", created["metadata"]["creationTimestamp"])
        assert await api.json("GET", f"{CONFIG_MAPS}/a", status=200) == created
        changed = await api.json("PUT", f"{CONFIG_MAPS}/a", {**created, "data": {"k": "w"}}, status=200)
        assert changed["data"] == {"k": "w"}
        assert int(changed["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])
        assert changed["metadata"]["uid"] == created["metadata"]["uid"]
        status = await api.json("DELETE", f"{CONFIG_MAPS}/a", status=200)
        assert status["status"] == "Success"
        assert status["details"] == {"name": "a", "kind": "configmaps", "uid": created["metadata"]["uid"]}
        missing = await api.json("GET", f"{CONFIG_MAPS}/a", status=404)
        assert missing["reason"] == "NotFound"
        assert missing["message"] == 'configmaps "a" not found'

    with_api(main)


def test_what_the_client_may_not_choose_is_chosen_by_the_server(with_api):
    async def main(api):
        body = api.config_map("a")
        body["metadata"] |= {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "deletionTimestamp": "2001-01-01T00:00:00Z"}
        metadata = (await api.json("POST", CONFIG_MAPS, body, status=201))["metadata"]
        assert metadata["uid"] != "mine"
        assert metadata["creationTimestamp"] != "2001-01-01T00:00:00Z"
        assert "deletionTimestamp" not in metadata
        body["metadata"] |= {"name": "b", "resourceVersion": "7"}
        refused = await api.json("POST", CONFIG_MAPS, body, status=400)
        assert refused["message"] == "resourceVersion should not be set on objects to be created"

    with_api(main)


def test_an_update_on_an_old_version_conflicts_and_one_without_a_version_wins(with_api):
    async def main(api):
        first = await api.json("POST", CONFIG_MAPS, api.config_map("a", k="1"))
        await api.json("PUT", f"{CONFIG_MAPS}/a", {**first, "data": {"k": "2"}}, status=200)
        conflict = await api.json("PUT", f"{CONFIG_MAPS}/a", {**first, "data": {"k": "3"}}, status=409)
        assert conflict["reason"] == "Conflict"
        assert conflict["message"].startswith('Operation cannot be fulfilled on configmaps "a": the object has been modified')
        assert (await api.json("PUT", f"{CONFIG_MAPS}/a", api.config_map("a", k="4"), status=200))["data"] == {"k": "4"}

    with_api(main)


def test_an_update_of_another_object_of_the_same_name_conflicts(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        body = api.config_map("a", k="v")
        body["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000"
        refused = await api.json("PUT", f"{CONFIG_MAPS}/a", body, status=409)
        assert "Precondition failed: UID in precondition" in refused["message"]

    with_api(main)


def test_an_update_that_changes_nothing_writes_nothing(with_api):
    async def main(api):
        first = await api.json("POST", CONFIG_MAPS, api.config_map("a", k="1"))
        assert await api.json("PUT", f"{CONFIG_MAPS}/a", first, status=200) == first

    with_api(main)


def test_a_name_is_taken_once(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        refused = await api.json("POST", CONFIG_MAPS, api.config_map("a"), status=409)
        assert refused["reason"] == "AlreadyExists"
        assert refused["message"] == 'configmaps "a" already exists'

    with_api(main)


def test_generated_names_differ_and_keep_their_base(with_api):
    async def main(api):
        body = {"metadata": {"generateName": "web-"}}
        found = {(await api.json("POST", CONFIG_MAPS, body, status=201))["metadata"]["name"] for _ in range(20)}
        assert len(found) == 20
        assert all(re.fullmatch(r"web-[b-z2-9]{5}", name) for name in found)
        long = await api.json("POST", CONFIG_MAPS, {"metadata": {"generateName": "x" * 100}}, status=201)
        assert len(long["metadata"]["name"]) == 63

    with_api(main)


def test_a_dry_run_answers_as_if_and_stores_nothing(with_api):
    async def main(api):
        dry = await api.json("POST", CONFIG_MAPS, api.config_map("a", k="v"), status=201, dryRun="All")
        assert dry["metadata"]["uid"]
        await api.json("GET", f"{CONFIG_MAPS}/a", status=404)
        real = await api.json("POST", CONFIG_MAPS, api.config_map("a", k="v"), status=201)
        assert (await api.json("PUT", f"{CONFIG_MAPS}/a", {**real, "data": {}}, status=200, dryRun="All")).get("data", {}) == {}
        await api.json("DELETE", f"{CONFIG_MAPS}/a", status=200, dryRun="All")
        assert await api.json("GET", f"{CONFIG_MAPS}/a", status=200) == real
        assert (await api.json("POST", CONFIG_MAPS, api.config_map("b"), dryRun="Some"))["code"] == 422
        assert (await api.json("POST", CONFIG_MAPS, api.config_map("a"), dryRun="All"))["reason"] == "AlreadyExists"

    with_api(main)


def test_objects_live_in_the_namespace_of_their_path(with_api):
    async def main(api):
        body = api.config_map("a")
        body["metadata"]["namespace"] = "kube-system"
        refused = await api.json("POST", CONFIG_MAPS, body, status=400)
        assert "does not match the namespace sent on the request" in refused["message"]
        gone = await api.json("POST", "/api/v1/namespaces/nowhere/configmaps", {"metadata": {"name": "a"}}, status=404)
        assert gone["message"] == 'namespaces "nowhere" not found'

    with_api(main)


def test_a_namespace_made_a_moment_ago_takes_objects_at_once(with_api):
    async def main(api):
        for index in range(20):
            await api.json("POST", "/api/v1/namespaces", {"metadata": {"name": f"n{index}"}}, status=201)
            await api.json("POST", f"/api/v1/namespaces/n{index}/configmaps", {"metadata": {"name": "a"}}, status=201)

    with_api(main)


def test_a_body_of_another_kind_is_refused(with_api):
    async def main(api):
        refused = await api.json("POST", CONFIG_MAPS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}, status=400)
        assert "cannot be handled as a ConfigMap" in refused["message"]
        refused = await api.json("POST", CONFIG_MAPS, {"apiVersion": "apps/v1", "kind": "ConfigMap", "metadata": {"name": "a"}}, status=400)
        assert refused["message"] == "the API version in the data (apps/v1) does not match the expected API version (v1)"

    with_api(main)


def test_unknown_fields_warn_or_refuse_as_asked(with_api):
    async def main(api):
        body = {**api.config_map("a"), "dta": {}}
        warned = await api.request("POST", CONFIG_MAPS, body)
        assert warned.status == 201
        assert warned.headers["Warning"] == '299 - "unknown field \\"dta\\""'
        refused = await api.json("POST", CONFIG_MAPS, {**body, "metadata": {"name": "b"}}, status=400, fieldValidation="Strict")
        assert 'strict decoding error: unknown field "dta"' in refused["message"]
        ignored = await api.request("POST", CONFIG_MAPS, {**body, "metadata": {"name": "c"}}, fieldValidation="Ignore")
        assert ignored.status == 201
        assert "Warning" not in ignored.headers

    with_api(main)


def test_status_belongs_to_its_subresource(with_api):
    async def main(api):
        path = "/apis/apps/v1/namespaces/default/deployments"
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}, "status": {"replicas": 9}}
        created = await api.json("POST", path, body, status=201)
        assert created.get("status", {}).get("replicas") is None
        assert created["metadata"]["generation"] == 1
        reported = await api.json("PUT", f"{path}/d/status", {**created, "spec": {**created["spec"], "replicas": 7}, "status": {"replicas": 3}}, status=200)
        assert reported["status"]["replicas"] == 3
        assert reported["spec"]["replicas"] == 1
        assert reported["metadata"]["generation"] == 1
        changed = await api.json("PUT", f"{path}/d", {**reported, "spec": {**reported["spec"], "replicas": 7}, "status": {}}, status=200)
        assert changed["status"]["replicas"] == 3
        assert changed["spec"]["replicas"] == 7
        assert changed["metadata"]["generation"] == 2

    with_api(main)


def test_a_version_of_the_future_is_waited_for_and_then_refused(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        refused = await api.json("GET", f"{CONFIG_MAPS}/a", resourceVersion="999999")
        assert refused["code"] == 504
        assert refused["message"].startswith("Too large resource version: 999999")

    with_api(main)


def test_a_pod_waits_a_moment_for_its_namespaces_default_account(with_api):
    async def main(api):
        pods = "/api/v1/namespaces/new/pods"
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await api.json("POST", "/api/v1/namespaces", {"metadata": {"name": "new"}}, status=201)
        creating = asyncio.ensure_future(api.json("POST", pods, pod, status=201))
        await asyncio.sleep(1)
        await api.json("POST", "/api/v1/namespaces/new/serviceaccounts", {"metadata": {"name": "default"}}, status=201)
        assert (await creating)["spec"]["serviceAccountName"] == "default"
        await api.json("POST", "/api/v1/namespaces", {"metadata": {"name": "never"}}, status=201)
        refused = await api.json("POST", "/api/v1/namespaces/never/pods", pod, status=403)
        assert 'serviceaccount "default" not found' in refused["message"]

    with_api(main)
