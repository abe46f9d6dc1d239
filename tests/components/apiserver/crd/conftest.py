"""CronTabs, the resource of upstream's own examples, and what it takes to have them served."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAME = "crontabs.stable.example.com"
CRONTABS = "/apis/stable.example.com/v1/namespaces/default/crontabs"
Object = dict[str, Any]

_SPEC: Object = {
    "type": "object",
    "properties": {
        "cronSpec": {"type": "string"},
        "image": {"type": "string", "default": "busybox"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "port": {"x-kubernetes-int-or-string": True}},
            },
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
_STATUS: Object = {"type": "object", "properties": {"replicas": {"type": "integer"}, "labelSelector": {"type": "string"}, "phase": {"type": "string"}}}


def _definition(**version: Any) -> Object:
    """CronTabs of stable.example.com/v1; `version` is added to the version's own fields."""
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": _SPEC, "status": _STATUS}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema, **version}],
        },
    }


async def _establish(api: Any, definition: Object) -> Object:
    """Creates it, and waits as `kubectl wait --for=condition=established` does."""
    await api.json("POST", DEFINITIONS, definition, status=201)
    async with api.watch(DEFINITIONS, fieldSelector=f"metadata.name={definition['metadata']['name']}") as events:
        while True:
            made = (await events.next())["object"]
            if any(one["type"] == "Established" and one["status"] == "True" for one in made["status"].get("conditions", ())):
                return made  # type: ignore[no-any-return]


@pytest.fixture
def definition() -> Callable[..., Object]:
    return _definition


@pytest.fixture
def establish() -> Callable[[Any, Object], Awaitable[Object]]:
    return _establish


@pytest.fixture
def with_crontabs(with_api: Callable[..., None]) -> Callable[..., None]:
    """Runs an async test where CronTabs are served."""

    def run(test: Callable[[Any], Awaitable[None]], **version: Any) -> None:
        async def main(api: Any) -> None:
            await _establish(api, _definition(**version))
            await test(api)

        with_api(main)

    return run


@pytest.fixture
def crontab() -> Callable[..., Object]:
    def make(name: str = "a", /, **spec: Any) -> Object:
        return {"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec}

    return make
