"""A definition as operators bring them: large, of several parts, cluster-wide, with all that a schema can say at once."""

from collections.abc import Callable
from typing import Any

Run = Callable[..., None]
Make = Callable[..., Any]
Api = Any
DATABASES = "/apis/db.example.com/v1/databases"
MERGE = {"content-type": "application/merge-patch+json"}
STRING: dict[str, Any] = {"type": "string"}
QUANTITY = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": r"^[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?$"}


def _container(number: int) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["image"],
        "properties": {
            "image": {"type": "string", "minLength": 1, "default": f"sidecar:{number}"},
            "args": {"type": "array", "items": STRING, "x-kubernetes-list-type": "atomic"},
            "resources": {
                "type": "object",
                "properties": {key: {"type": "object", "additionalProperties": QUANTITY} for key in ("limits", "requests")},
            },
            "env": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": STRING, "value": STRING, "valueFrom": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    "oneOf": [{"required": ["value"]}, {"required": ["valueFrom"]}],
                },
            },
        },
    }


CONDITIONS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": {
        "type": "object",
        "required": ["type", "status", "lastTransitionTime"],
        "properties": {
            "type": {"type": "string", "maxLength": 316, "pattern": r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"},
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "reason": STRING,
            "lastTransitionTime": {"type": "string", "format": "date-time"},
        },
    },
}
DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "databases.db.example.com"},
    "spec": {
        "group": "db.example.com",
        "scope": "Cluster",
        "names": {"plural": "databases", "kind": "Database"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "x-kubernetes-validations": [{"rule": "self.metadata.name.size() <= 20", "message": "name is too long"}],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["engine"],
                                "properties": {
                                    "engine": {"type": "string", "enum": ["postgres", "maria"], "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
                                    "storage": {**QUANTITY, "default": "1Gi"},
                                    "template": {
                                        "type": "object",
                                        "x-kubernetes-embedded-resource": True,
                                        "x-kubernetes-preserve-unknown-fields": True,
                                    },
                                    **{f"sidecar{number}": _container(number) for number in range(60)},
                                },
                            },
                            "status": {
                                "type": "object",
                                "properties": {"conditions": CONDITIONS, "observedGeneration": {"type": "integer", "format": "int64"}},
                            },
                        },
                    }
                },
            }
        ],
    },
}


def test_an_operators_resource(with_api: Run, establish: Make) -> None:
    async def test(api: Api) -> None:
        await establish(api, DEFINITION)
        database: dict[str, Any] = {
            "apiVersion": "db.example.com/v1",
            "kind": "Database",
            "metadata": {"name": "main", "finalizers": ["db.example.com/backup"]},
            "spec": {
                "engine": "postgres",
                "template": {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": []}},
                "sidecar7": {"resources": {"limits": {"cpu": "100m", "memory": 1}}, "env": [{"name": "A", "value": "1"}]},
            },
        }
        made = await api.json("POST", DATABASES, database, status=201)
        assert (made["spec"]["storage"], made["spec"]["sidecar7"]["image"], "namespace" in made["metadata"]) == ("1Gi", "sidecar:7", False)
        wrong = {
            **database,
            "metadata": {"name": "other"},
            "spec": {**database["spec"], "storage": "much", "sidecar9": {"env": [{"name": "B"}]}, "template": {}},
        }
        refused = await api.json("POST", DATABASES, wrong, status=422)
        assert sorted(cause["field"] for cause in refused["details"]["causes"]) == [
            "<nil>", "spec.sidecar9.env[0].value", "spec.storage", "spec.template.apiVersion", "spec.template.kind"
        ]  # fmt: skip
        long = await api.json("POST", DATABASES, {**database, "metadata": {"name": "a" * 21}}, status=422)
        assert long["message"].endswith('is invalid: <nil>: Invalid value: "object": name is too long')
        moved = await api.json("PATCH", f"{DATABASES}/main", {"spec": {"engine": "maria"}}, headers=MERGE, status=422)
        assert moved["details"]["causes"][0]["message"] == 'Invalid value: "string": failed rule: self == oldSelf'
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z"}
        done = await api.json("PATCH", f"{DATABASES}/main/status", {"status": {"observedGeneration": 1, "conditions": [ready]}}, headers=MERGE, status=200)
        assert done["status"]["conditions"] == [ready]
        twice = await api.json("PATCH", f"{DATABASES}/main/status", {"status": {"conditions": [ready, ready]}}, headers=MERGE, status=422)
        assert twice["details"]["causes"][0]["field"] == "status.conditions[1]"
        marked = await api.json("DELETE", f"{DATABASES}/main", status=200)
        assert marked["metadata"]["deletionTimestamp"]
        await api.json("PATCH", f"{DATABASES}/main", {"metadata": {"finalizers": []}}, headers=MERGE, status=200)
        await api.json("GET", f"{DATABASES}/main", status=404)

    with_api(test)
