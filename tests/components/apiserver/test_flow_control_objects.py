"""The flow schemas and priority levels of a new cluster, and what becomes of users' changes."""

import pytest

from k8sfromscratch.components.apiserver.bootstrap_flowcontrol import AUTOUPDATE, flow_control, reconcile

GROUP = "/apis/flowcontrol.apiserver.k8s.io/v1"


def test_a_new_cluster_has_upstreams(with_api):
    async def test(api):
        schemas = (await api.json("GET", f"{GROUP}/flowschemas", status=200))["items"]
        levels = (await api.json("GET", f"{GROUP}/prioritylevelconfigurations", status=200))["items"]
        assert {level["metadata"]["name"] for level in levels} == {
            "catch-all", "exempt", "global-default", "leader-election", "node-high", "system", "workload-high", "workload-low",
        }  # fmt: skip
        assert len(schemas) == 13
        assert {schema["spec"]["priorityLevelConfiguration"]["name"] for schema in schemas} == {level["metadata"]["name"] for level in levels}
        assert all(item["metadata"]["annotations"] == {AUTOUPDATE: "true"} for item in schemas + levels)
        before = api.server.feed.revision
        await flow_control(api.server)
        await api.server.feed.caught_up()
        assert api.server.feed.revision == before, "what is right is not written again"

    with_api(test)


def test_a_users_change_of_a_suggested_one_stays_and_a_mandatory_one_comes_back(with_api):
    async def test(api):
        for path, shares in ((f"{GROUP}/prioritylevelconfigurations/workload-low", 7), (f"{GROUP}/prioritylevelconfigurations/catch-all", 7)):
            level = await api.json("GET", path)
            level["spec"]["limited"]["nominalConcurrencyShares"] = shares
            level["metadata"]["annotations"] = {AUTOUPDATE: "false"}
            await api.json("PUT", path, level, status=200)
        await api.server.feed.caught_up()
        await flow_control(api.server)
        for name, shares in (("workload-low", 7), ("catch-all", 5)):
            level = await api.json("GET", f"{GROUP}/prioritylevelconfigurations/{name}")
            assert level["spec"]["limited"]["nominalConcurrencyShares"] == shares

    with_api(test)


def existing(spec, annotation=None, generation=1):
    annotations = {} if annotation is None else {AUTOUPDATE: annotation}
    return {"metadata": {"name": "x", "annotations": annotations, "generation": generation}, "spec": spec}


@pytest.mark.parametrize(
    ("present", "mandatory", "spec", "annotation"),
    [
        (existing({"a": 1}, "true", 5), False, {"a": 2}, "true"),
        (existing({"a": 1}, None, 1), False, {"a": 2}, "true"),
        (existing({"a": 1}, None, 2), False, {"a": 1}, "false"),
        (existing({"a": 1}, "false", 2), True, {"a": 2}, "true"),
        (None, False, {"a": 2}, "true"),
    ],
)
def test_whose_spec_it_is(present, mandatory, spec, annotation):
    wanted = reconcile(present, "x", {"a": 2}, mandatory=mandatory)
    assert (wanted["spec"], wanted["metadata"]["annotations"]) == (spec, {AUTOUPDATE: annotation})
    assert reconcile(existing({"a": 1}, "false"), "x", {"a": 2}, mandatory=False) is None
