"""Objects of a custom kind: checked, pruned, defaulted, patched and applied by the schema of their definition."""

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., None]
Make = Callable[..., Any]
Api = Any
CRONTABS = "/apis/stable.example.com/v1/namespaces/default/crontabs"
MERGE = {"content-type": "application/merge-patch+json"}
APPLY = {"content-type": "application/apply-patch+yaml"}
SUBRESOURCES = {
    "status": {},
    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.labelSelector"},
}


def schema(**spec: Any) -> dict[str, Any]:
    return {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", **spec}}}}


def test_each_wrong_value_is_a_cause(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        refused = await api.json("POST", CRONTABS, crontab(replicas="many", image=7, ports=[{"port": 1.5}, {"name": "a"}, {"name": "a"}]), status=422)
        assert (refused["reason"], refused["details"]["kind"], refused["details"]["group"]) == ("Invalid", "CronTab", "stable.example.com")
        assert [(cause["reason"], cause["field"], cause["message"]) for cause in refused["details"]["causes"]] == [
            (
                "FieldValueTypeInvalid",
                "spec.replicas",
                'Invalid value: "string": spec.replicas in body must be of type integer: "string"',
            ),
            ("FieldValueTypeInvalid", "spec.image", 'Invalid value: "integer": spec.image in body must be of type string: "integer"'),
            ("FieldValueRequired", "spec.ports[0].name", "Required value"),
            (
                "FieldValueTypeInvalid",
                "spec.ports[0].port",
                'Invalid value: "number": spec.ports[0].port in body must be of type integer,string: "number"',
            ),
            ("FieldValueDuplicate", "spec.ports[2]", 'Duplicate value: {"name":"a"}'),
        ]
        one = await api.json("POST", CRONTABS, crontab(replicas=11), status=422)
        assert one["message"] == (
            'CronTab.stable.example.com "a" is invalid: spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10'
        )

    with_crontabs(test)


def test_unknown_fields_are_pruned_told_or_refused(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        sent = crontab(cronspec="x", free={"any": {"thing": [1]}})
        refused = await api.json("POST", CRONTABS, sent, fieldValidation="Strict", status=400)
        assert refused["message"] == 'CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: unknown field "spec.cronspec"'
        response = await api.request("POST", CRONTABS, sent)
        assert response.headers["Warning"] == '299 - "unknown field \\"spec.cronspec\\""'
        kept = await api.json("GET", f"{CRONTABS}/a")
        assert kept["spec"] == {"free": {"any": {"thing": [1]}}, "image": "busybox"}

    with_crontabs(test)


def test_bodies_that_are_no_crontab(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        for body in ([], {}, {**crontab(), "kind": "Pod"}, {**crontab(), "apiVersion": "v1"}, {**crontab(), "metadata": {"name": "a", "labels": 7}}):
            refused = await api.json("POST", CRONTABS, body, status=400)
            assert refused["reason"] == "BadRequest"
        bad_name = await api.json("POST", CRONTABS, crontab("Not_A_Name"), status=422)
        assert bad_name["details"]["causes"][0]["field"] == "metadata.name"

    with_crontabs(test)


def test_patches(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        await api.json("POST", CRONTABS, crontab(replicas=1), status=201)
        merged = await api.json("PATCH", f"{CRONTABS}/a", {"spec": {"replicas": 2}}, headers=MERGE, status=200)
        assert (merged["spec"]["replicas"], merged["metadata"]["generation"]) == (2, 2)
        steps = [{"op": "replace", "path": "/spec/replicas", "value": 3}]
        patched = await api.json("PATCH", f"{CRONTABS}/a", steps, headers={"content-type": "application/json-patch+json"}, status=200)
        assert patched["spec"]["replicas"] == 3
        refused = await api.json("PATCH", f"{CRONTABS}/a", {}, headers={"content-type": "application/strategic-merge-patch+json"}, status=415)
        assert "application/merge-patch+json" in refused["message"] and "strategic" not in refused["message"]
        wrong = await api.json("PATCH", f"{CRONTABS}/a", {"spec": {"replicas": "x"}}, headers=MERGE, status=422)
        assert wrong["details"]["causes"][0]["field"] == "spec.replicas"

    with_crontabs(test)


def test_lists_merge_by_their_keys_when_applied(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        for manager, name in (("ann", "http"), ("bob", "metrics")):
            body = crontab(ports=[{"name": name, "port": 80}])
            applied = await api.json("PATCH", f"{CRONTABS}/a", body, headers=APPLY, fieldManager=manager)
        assert [one["name"] for one in applied["spec"]["ports"]] == ["http", "metrics"]
        assert {one["manager"] for one in applied["metadata"]["managedFields"]} == {"ann", "bob"}
        conflict = await api.json("PATCH", f"{CRONTABS}/a", crontab(ports=[{"name": "http", "port": 81}]), headers=APPLY, fieldManager="bob", status=409)
        assert conflict["details"]["causes"][0]["field"] == '.spec.ports[name="http"].port'
        gone = await api.json("PATCH", f"{CRONTABS}/a", crontab(), headers=APPLY, fieldManager="ann", status=200)
        assert [one["name"] for one in gone["spec"]["ports"]] == ["metrics"]

    with_crontabs(test)


def test_spec_and_status_are_written_apart(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        made = await api.json("POST", CRONTABS, {**crontab(replicas=1), "status": {"phase": "x"}}, status=201)
        assert "status" not in made
        patch = {"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 5}, "status": {"phase": "Ready"}}
        of_status = await api.json("PATCH", f"{CRONTABS}/a/status", patch, headers=MERGE, status=200)
        assert (of_status["spec"]["replicas"], of_status["status"], of_status["metadata"]["generation"]) == (1, {"phase": "Ready"}, 1)
        assert "labels" not in of_status["metadata"]
        of_spec = await api.json("PATCH", f"{CRONTABS}/a", {"spec": {"replicas": 5}, "status": {"phase": "Lost"}}, headers=MERGE, status=200)
        assert (of_spec["spec"]["replicas"], of_spec["status"], of_spec["metadata"]["generation"]) == (5, {"phase": "Ready"}, 2)

    with_crontabs(test, subresources=SUBRESOURCES)


def test_a_status_that_is_no_subresource_is_a_field(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        made = await api.json("POST", CRONTABS, {**crontab(), "status": {"phase": "x"}}, status=201)
        assert made["status"] == {"phase": "x"}
        changed = await api.json("PATCH", f"{CRONTABS}/a", {"status": {"phase": "y"}}, headers=MERGE, status=200)
        assert changed["metadata"]["generation"] == 2
        await api.json("GET", f"{CRONTABS}/a/status", status=404)

    with_crontabs(test)


def test_scale(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        await api.json("POST", CRONTABS, crontab(replicas=1), status=201)
        await api.json("PATCH", f"{CRONTABS}/a/status", {"status": {"replicas": 1, "labelSelector": "app=a"}}, headers=MERGE, status=200)
        scale = await api.json("GET", f"{CRONTABS}/a/scale", status=200)
        assert (scale["kind"], scale["spec"], scale["status"]) == ("Scale", {"replicas": 1}, {"replicas": 1, "selector": "app=a"})
        scale["spec"]["replicas"] = 4
        assert (await api.json("PUT", f"{CRONTABS}/a/scale", scale, status=200))["spec"] == {"replicas": 4}
        await api.json("PATCH", f"{CRONTABS}/a/scale", {"spec": {"replicas": 6}}, headers=MERGE, status=200)
        assert (await api.json("GET", f"{CRONTABS}/a"))["spec"]["replicas"] == 6
        assert (await api.json("PATCH", f"{CRONTABS}/a/scale", {"spec": {"replicas": 60}}, headers=MERGE, status=422))["reason"] == "Invalid"

    with_crontabs(test, subresources=SUBRESOURCES)


def test_combinations_bound_values(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        refused = await api.json("POST", CRONTABS, crontab(), status=422)
        assert refused["details"]["causes"][0] == {
            "reason": "FieldValueInvalid",
            "message": 'Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid',
            "field": "<nil>",
        }
        both = await api.json("POST", CRONTABS, crontab(a=1, b=2), status=422)
        assert both["message"].endswith('"spec" must validate one and only one schema (oneOf). Found 2 valid alternatives')
        await api.json("POST", CRONTABS, crontab(a=1), status=201)

    integers = {"a": {"type": "integer"}, "b": {"type": "integer"}}
    with_crontabs(test, schema=schema(properties=integers, oneOf=[{"required": ["a"]}, {"required": ["b"]}]))


def test_rules_hold_for_values_and_for_transitions(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        refused = await api.json("POST", CRONTABS, crontab(min=3, max=2), status=422)
        assert [(one["field"], one["message"]) for one in refused["details"]["causes"]] == [("spec", 'Invalid value: "object": 3 is more than 2')]
        await api.json("POST", CRONTABS, crontab(min=1, max=2), status=201)
        moved = await api.json("PATCH", f"{CRONTABS}/a", {"spec": {"min": 2}}, headers=MERGE, status=422)
        assert moved["details"]["causes"] == [{"reason": "FieldValueForbidden", "message": "Forbidden: min is immutable", "field": "spec.min"}]
        await api.json("PATCH", f"{CRONTABS}/a", {"spec": {"max": 5}}, headers=MERGE, status=200)

    rules = [{"rule": "self.min <= self.max", "messageExpression": "string(self.min) + ' is more than ' + string(self.max)"}]
    fixed = {"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "min is immutable", "reason": "FieldValueForbidden"}]}
    with_crontabs(test, schema=schema(properties={"min": fixed, "max": {"type": "integer"}}, **{"x-kubernetes-validations": rules}))


def test_selectable_fields(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        for name, replicas in (("a", 1), ("b", 2)):
            await api.json("POST", CRONTABS, crontab(name, replicas=replicas), status=201)
        found = await api.json("GET", CRONTABS, fieldSelector="spec.replicas=2", status=200)
        assert [one["metadata"]["name"] for one in found["items"]] == ["b"]
        refused = await api.json("GET", CRONTABS, fieldSelector="spec.image=x", status=400)
        assert "field label not supported: spec.image" in refused["message"]

    with_crontabs(test, selectableFields=[{"jsonPath": ".spec.replicas"}])


@pytest.mark.parametrize("dry_run", [True, False])
def test_collections_and_dry_runs(with_crontabs: Run, crontab: Make, dry_run: bool) -> None:
    async def test(api: Api) -> None:
        for name in ("a", "b"):
            await api.json("POST", CRONTABS, crontab(name), status=201)
        gone = await api.json("DELETE", CRONTABS, status=200, **({"dryRun": "All"} if dry_run else {}))
        assert len(gone["items"]) == 2
        assert len((await api.json("GET", CRONTABS))["items"]) == (2 if dry_run else 0)

    with_crontabs(test)


def test_a_deprecated_version_warns(with_crontabs: Run) -> None:
    async def test(api: Api) -> None:
        response = await api.request("GET", CRONTABS)
        assert response.headers["Warning"] == '299 - "stable.example.com/v1 CronTab is deprecated"'

    with_crontabs(test, deprecated=True)
