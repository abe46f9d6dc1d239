"""`kubectl apply --server-side` on an object of `kubectl apply`: the same person's own fields are no conflict."""

import json

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
APPLY = {"content-type": "application/apply-patch+yaml"}
MERGE = {"content-type": "application/merge-patch+json"}
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


def config_map(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}, "data": data}


async def client_side_applied(api, annotation=None, **data):
    """As kubectl's own apply leaves it: the manifest in an annotation, and the fields those of an Update."""
    body = config_map(**data)
    body["metadata"]["annotations"] = {ANNOTATION: annotation or json.dumps(config_map(**data))}
    return await api.json("POST", CONFIG_MAPS, body, status=201, fieldManager="kubectl-client-side-apply")


async def apply(api, body, manager="kubectl", status=200, **query):
    return await api.json("PATCH", f"{CONFIG_MAPS}/a", body, headers=APPLY, status=status, fieldManager=manager, **query)


def noted(obj):
    return json.loads(obj["metadata"]["annotations"][ANNOTATION])


def test_what_was_applied_last_is_taken_over_without_a_conflict_and_noted_anew(with_api):
    async def main(api):
        await client_side_applied(api, k="1", l="1")
        changed = await apply(api, config_map(k="2", l="1"))
        assert changed["data"] == {"k": "2", "l": "1"}
        assert noted(changed) == {**config_map(k="2", l="1"), "metadata": {"name": "a", "namespace": "default", "annotations": {}}}

    with_api(main)


def test_what_somebody_else_has_changed_since_is_a_conflict_still_and_only_that(with_api):
    async def main(api):
        await client_side_applied(api, k="1", l="1")
        await api.json("PATCH", f"{CONFIG_MAPS}/a", {"data": {"l": "theirs"}}, headers=MERGE, status=200, fieldManager="editor")
        refused = await apply(api, config_map(k="2", l="2"), status=409)
        assert [cause["field"] for cause in refused["details"]["causes"]] == [".data.l"]
        forced = await apply(api, config_map(k="2", l="2"), force="true")
        assert forced["data"] == {"k": "2", "l": "2"}

    with_api(main)


def test_another_manager_opts_out(with_api):
    async def main(api):
        await client_side_applied(api, k="1")
        refused = await apply(api, config_map(k="2"), manager="other", status=409)
        assert refused["details"]["causes"][0]["field"] == ".data.k"
        forced = await apply(api, config_map(k="2"), manager="other", force="true")
        assert noted(forced) == config_map(k="1"), "the annotation is kubectl's"

    with_api(main)


def test_an_annotation_that_is_no_manifest_of_this_version_excuses_nothing(with_api):
    async def main(api):
        for bad in ("no JSON", "[1]", json.dumps({**config_map(k="1"), "apiVersion": "v0"}), '{"a":' * 300 + "1" + "}" * 300):
            await client_side_applied(api, bad, k="1")
            await apply(api, config_map(k="2"), status=409)
            await api.json("DELETE", f"{CONFIG_MAPS}/a", status=200)

    with_api(main)


def test_a_manifest_too_big_to_be_kept_is_not(with_api):
    async def main(api):
        await client_side_applied(api, k="1")
        big = await apply(api, config_map(k="2", l="x" * 300_000))
        assert ANNOTATION not in big["metadata"].get("annotations", {})

    with_api(main)
