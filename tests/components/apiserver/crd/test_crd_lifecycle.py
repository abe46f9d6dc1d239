"""CustomResourceDefinitions: from their creation to the last of their objects."""

from collections.abc import Callable
from typing import Any

from k8sfromscratch.core.mvcc.types import RangeOp, prefix_end

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRONTABS = "/apis/stable.example.com/v1/namespaces/default/crontabs"
Api = Any
Run = Callable[..., None]
Make = Callable[..., Any]


def test_a_definition_is_established_and_served(with_api: Run, definition: Make, establish: Make, crontab: Make) -> None:
    async def test(api: Api) -> None:
        await api.json("GET", CRONTABS, status=404)
        made = await establish(api, definition())
        assert {one["type"]: (one["status"], one["reason"]) for one in made["status"]["conditions"]} == {
            "NamesAccepted": ("True", "NoConflicts"),
            "Established": ("True", "InitialNamesAccepted"),
        }
        assert made["status"]["storedVersions"] == ["v1"]
        assert made["status"]["acceptedNames"] == {
            "plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList", "shortNames": ["ct"], "categories": ["all"]
        }  # fmt: skip
        assert made["spec"]["conversion"] == {"strategy": "None"}
        listed = await api.json("GET", CRONTABS, status=200)
        assert (listed["kind"], listed["items"]) == ("CronTabList", [])
        stored = await api.json("POST", CRONTABS, crontab(replicas=2), status=201)
        assert stored["metadata"]["generation"] == 1
        assert (await api.json("GET", f"{CRONTABS}/a", status=200)) == stored

    with_api(test)


def test_discovery_follows(with_crontabs: Run) -> None:
    async def test(api: Api) -> None:
        groups = [group["name"] for group in (await api.json("GET", "/apis"))["groups"]]
        assert "stable.example.com" in groups
        resources = (await api.json("GET", "/apis/stable.example.com/v1"))["resources"]
        assert resources[0]["shortNames"] == ["ct"] and resources[0]["kind"] == "CronTab"
        await api.json("DELETE", f"{DEFINITIONS}/crontabs.stable.example.com", status=200)
        await _gone(api)
        assert "stable.example.com" not in [group["name"] for group in (await api.json("GET", "/apis"))["groups"]]

    with_crontabs(test)


async def _gone(api: Api) -> None:
    name = "crontabs.stable.example.com"
    async with api.watch(DEFINITIONS, fieldSelector=f"metadata.name={name}") as events:
        while (await events.next())["type"] != "DELETED":
            pass


def test_deletion_takes_the_objects_along(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        for name in ("a", "b"):
            await api.json("POST", CRONTABS, crontab(name), status=201)
        held = crontab("held")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await api.json("POST", CRONTABS, held, status=201)
        async with api.watch(CRONTABS) as events:
            await events.take(3)
            marked = await api.json("DELETE", f"{DEFINITIONS}/crontabs.stable.example.com", status=200)
            assert marked["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
            assert sorted(await events.take(3)) == [("DELETED", "a"), ("DELETED", "b"), ("MODIFIED", "held")]
            refused = await api.json("POST", CRONTABS, crontab("late"), status=405)
            assert refused["reason"] == "MethodNotAllowed"
            await api.json(
                "PATCH", f"{CRONTABS}/held", {"metadata": {"finalizers": None}}, headers={"content-type": "application/merge-patch+json"}, status=200
            )
            await _gone(api)
            assert [event["type"] for event in await events.rest()] == ["DELETED"]
        await api.json("GET", CRONTABS, status=404)
        prefix = b"/registry/stable.example.com/"
        assert (await api.storage.range(RangeOp(prefix, prefix_end(prefix)))).count == 0

    with_crontabs(test)
