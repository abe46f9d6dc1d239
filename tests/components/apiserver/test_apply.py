"""Server-side apply: who owns what, and what becomes of what nobody wants any more."""

import pytest

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
APPLY = {"content-type": "application/apply-patch+yaml"}
MERGE = {"content-type": "application/merge-patch+json"}


def config_map(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def deployment(*containers, **spec):
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": list(containers)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


async def apply(api, path, body, manager="one", status=None, **query):
    return await api.json("PATCH", path, body, headers=APPLY, status=status, fieldManager=manager, **query)


def owners(obj):
    return {(entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", [])}


def test_apply_creates_and_owns_what_it_says(with_api):
    async def main(api):
        created = await apply(api, f"{CONFIG_MAPS}/a", config_map(k="1"), status=201)
        assert owners(created) == {("one", "Apply"): {"f:data": {"f:k": {}}}}
        again = await apply(api, f"{CONFIG_MAPS}/a", config_map(k="1"), status=200)
        assert again == created, "nothing has changed, so nothing is written"

    with_api(main)


def test_two_managers_own_different_fields_and_each_removes_only_its_own(with_api):
    async def main(api):
        await apply(api, f"{CONFIG_MAPS}/a", config_map(k="1", l="1"))
        both = await apply(api, f"{CONFIG_MAPS}/a", config_map(m="2"), "two", status=200)
        assert both["data"] == {"k": "1", "l": "1", "m": "2"}
        less = await apply(api, f"{CONFIG_MAPS}/a", config_map(k="1"), status=200)
        assert less["data"] == {"k": "1", "m": "2"}
        assert owners(less) == {("one", "Apply"): {"f:data": {"f:k": {}}}, ("two", "Apply"): {"f:data": {"f:m": {}}}}

    with_api(main)


def test_a_field_of_another_manager_is_a_conflict_unless_forced_or_equal(with_api):
    async def main(api):
        await apply(api, f"{CONFIG_MAPS}/a", config_map(k="1"))
        shared = await apply(api, f"{CONFIG_MAPS}/a", config_map(k="1"), "two", status=200)
        assert set(owners(shared)) == {("one", "Apply"), ("two", "Apply")}
        refused = await apply(api, f"{CONFIG_MAPS}/a", config_map(k="2"), "two", status=409)
        assert refused["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.k'
        assert refused["details"]["causes"] == [{"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.k"}]
        forced = await apply(api, f"{CONFIG_MAPS}/a", config_map(k="2"), "two", status=200, force="true")
        assert forced["data"] == {"k": "2"}
        assert owners(forced) == {("two", "Apply"): {"f:data": {"f:k": {}}}}

    with_api(main)


def test_an_update_takes_ownership_and_then_conflicts(with_api):
    async def main(api):
        await apply(api, f"{DEPLOYMENTS}/d", deployment({"name": "c", "image": "i"}, replicas=2), status=201)
        scaled = await api.json("PATCH", f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 5}}, headers=MERGE, fieldManager="scaler", status=200)
        assert scaled["spec"]["replicas"] == 5
        live = await api.json("GET", f"{DEPLOYMENTS}/d")
        assert owners(live)[("scaler", "Update")] == {"f:spec": {"f:replicas": {}}}
        assert "f:replicas" not in owners(live)[("one", "Apply")]["f:spec"]
        refused = await apply(api, f"{DEPLOYMENTS}/d", deployment({"name": "c", "image": "i"}, replicas=2), status=409)
        assert 'conflict with "scaler" with subresource "scale" using apps/v1' in refused["message"]
        left = await apply(api, f"{DEPLOYMENTS}/d", deployment({"name": "c", "image": "j"}), status=200)
        assert left["spec"]["replicas"] == 5
        assert left["spec"]["template"]["spec"]["containers"][0]["image"] == "j"

    with_api(main)


def test_items_are_merged_and_removed_by_their_keys(with_api):
    async def main(api):
        two = deployment({"name": "c", "image": "i", "ports": [{"containerPort": 80}]}, {"name": "side", "image": "s"})
        created = await apply(api, f"{DEPLOYMENTS}/d", two, status=201)
        containers = owners(created)[("one", "Apply")]["f:spec"]["f:template"]["f:spec"]["f:containers"]
        assert set(containers) == {'k:{"name":"c"}', 'k:{"name":"side"}'}
        assert 'k:{"containerPort":80,"protocol":"TCP"}' in containers['k:{"name":"c"}']["f:ports"]
        one = await apply(api, f"{DEPLOYMENTS}/d", deployment({"name": "c", "image": "j"}), status=200)
        (container,) = one["spec"]["template"]["spec"]["containers"]
        assert (container["name"], container["image"], container.get("ports")) == ("c", "j", None)

    with_api(main)


def test_defaults_belong_to_nobody(with_api):
    async def main(api):
        created = await apply(api, f"{DEPLOYMENTS}/d", deployment({"name": "c", "image": "i"}), status=201)
        assert created["spec"]["replicas"] == 1
        assert "f:replicas" not in owners(created)[("one", "Apply")]["f:spec"]

    with_api(main)


def test_status_is_owned_through_its_subresource(with_api):
    async def main(api):
        await apply(api, f"{DEPLOYMENTS}/d", deployment({"name": "c", "image": "i"}), status=201)
        await api.json("PATCH", f"{DEPLOYMENTS}/d/status", {"status": {"replicas": 1}}, headers=MERGE, fieldManager="controller", status=200)
        entry = next(e for e in (await api.json("GET", f"{DEPLOYMENTS}/d"))["metadata"]["managedFields"] if e["manager"] == "controller")
        assert entry["subresource"] == "status"
        assert entry["fieldsV1"] == {"f:status": {"f:replicas": {}}}
        with_status = {**deployment({"name": "c", "image": "i"}), "status": {"replicas": 9}}
        assert (await apply(api, f"{DEPLOYMENTS}/d", with_status, status=200))["status"]["replicas"] == 1

    with_api(main)


def test_an_object_made_by_create_is_applied_to_later(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, config_map(k="1", l="1"), fieldManager="maker", status=201)
        refused = await apply(api, f"{CONFIG_MAPS}/a", config_map(k="2"), status=409)
        assert 'conflict with "maker" using v1' in refused["message"]
        merged = await apply(api, f"{CONFIG_MAPS}/a", config_map(k="2"), status=200, force="true")
        assert merged["data"] == {"k": "2", "l": "1"}
        assert "f:k" not in owners(merged)[("maker", "Update")]["f:data"]

    with_api(main)


def test_owners_can_be_reset(with_api):
    async def main(api):
        await apply(api, f"{CONFIG_MAPS}/a", config_map(k="1"))
        reset = await api.json("PATCH", f"{CONFIG_MAPS}/a", {"metadata": {"managedFields": [{}]}}, headers=MERGE, status=200)
        assert "managedFields" not in reset["metadata"]
        await apply(api, f"{CONFIG_MAPS}/a", config_map(k="2"), "two", status=409)

    with_api(main)


@pytest.mark.parametrize(
    ("body", "query", "code"),
    [
        (config_map(k="1"), {"fieldManager": ""}, 422),
        (config_map(k="1"), {"fieldManager": "x" * 129}, 422),
        ({**config_map(k="1"), "metadata": {"name": "other"}}, {}, 400),
        ({**config_map(k="1"), "metadata": {"name": "a", "managedFields": [{"manager": "x", "operation": "Apply"}]}}, {}, 400),
        ({**config_map(), "data": {"k": 5}}, {}, 400),
        (b"a: [", {}, 400),
    ],
)
def test_what_cannot_be_applied(with_api, body, query, code):
    async def main(api):
        refused = await api.json("PATCH", f"{CONFIG_MAPS}/a", body, headers=APPLY, **{"fieldManager": "one", **query})
        assert refused["code"] == code, refused

    with_api(main)


def test_force_is_for_apply_alone(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, config_map())
        await api.json("PATCH", f"{CONFIG_MAPS}/a", {"data": {"k": "v"}}, headers=MERGE, force="true", status=422)

    with_api(main)
