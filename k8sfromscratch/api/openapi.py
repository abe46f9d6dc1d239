"""The OpenAPI documents that the server publishes, built from the packed schemas.

    openapi_v3("apps", "v1")      one document a group-version: its paths and every schema they reach (`/openapi/v3/apis/apps/v1`)
    openapi_v2()                  one document for all groups (`/openapi/v2`)

Both take the custom resources that are served besides, each with its schema.

kubectl reads them for `explain`, and to learn from a PATCH operation's parameters that the server validates fields itself.  Both are
large: whoever serves them keeps the encoded bytes.  Where the documents are served, and their hashes, is the apiserver's matter.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from k8sfromscratch.api import openapi_custom, registry, schema_data
from k8sfromscratch.api.resource import Resource

Document = dict[str, Any]
Customs = Iterable[tuple[Resource, Mapping[str, Any]]]
"""Served custom resources and their structural schemas."""

VERSION = "v1.35.0"
_V3_PREFIX = "#/components/schemas/"
_V2_PREFIX = "#/definitions/"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"

_PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
# verb → (HTTP method, whether the path ends in a name)
_METHODS: Mapping[str, tuple[str, bool]] = {
    "get": ("get", True),
    "update": ("put", True),
    "patch": ("patch", True),
    "delete": ("delete", True),
    "list": ("get", False),
    "create": ("post", False),
    "deletecollection": ("delete", False),
}
_ACTIONS = {"update": "put", "create": "post"}
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_LIST_PARAMETERS = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "timeoutSeconds",
    "watch",
)
_DELETE_PARAMETERS = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_PARAMETERS = {
    "create": _WRITE_PARAMETERS,
    "update": _WRITE_PARAMETERS,
    "patch": (*_WRITE_PARAMETERS, "force"),
    "list": _LIST_PARAMETERS,
    "delete": _DELETE_PARAMETERS,
}
_BOOLEANS = frozenset({"allowWatchBookmarks", "watch", "force", "orphanDependents"})
_INTEGERS = frozenset({"limit", "timeoutSeconds", "gracePeriodSeconds"})


def openapi_v3(group: str, version: str, customs: Customs = ()) -> Document:
    """The document of one group-version.  Raises KeyError for one that is not served."""
    resources = [r for r in registry.RESOURCES if (r.group, r.version) == (group, version)]
    of_customs = [(r, schema) for r, schema in customs if (r.group, r.version) == (group, version)]
    if not resources and not of_customs:
        raise KeyError(f"{group}/{version}")
    names = schema_data.definition_names()
    of_version = [name for (api_version, _), name in names.items() if resources and api_version == resources[0].api_version]
    if of_customs:
        of_version += [openapi_custom.OBJECT_META, openapi_custom.LIST_META]
    schemas = {name: v3_schema(name) for name in _reached(of_version)}
    for resource, schema in of_customs:
        schemas |= openapi_custom.definitions(resource, schema, _V3_PREFIX, v3=True)
    return v3_document([*resources, *(r for r, _ in of_customs)], schemas)


def v3_document(resources: Iterable[Resource], schemas: Mapping[str, Any]) -> Document:
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": {path: item for resource in resources for path, item in _paths(resource).items()},
        "components": {"schemas": dict(schemas)},
    }


def openapi_v2(customs: Customs = ()) -> Document:
    customs = list(customs)
    definitions = definitions_v2(schema_data.structures())
    for resource, schema in customs:
        definitions |= openapi_custom.definitions(resource, schema, _V2_PREFIX, v3=False)
    resources = [*registry.RESOURCES, *(resource for resource, _ in customs)]
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": {path: _v2_item(item) for resource in resources for path, item in _paths(resource).items()},
        "definitions": definitions,
    }


def definitions_v2(names: Iterable[str]) -> dict[str, Any]:
    return {name: _published(name, _V2_PREFIX, v3=False) for name in names}


def v3_schema(name: str) -> dict[str, Any]:
    """One definition as it stands under `components.schemas`, descriptions included."""
    return _published(name, _V3_PREFIX, v3=True)


def _published(name: str, prefix: str, *, v3: bool) -> dict[str, Any]:
    text, fields = schema_data.descriptions()[name]
    made = _with_prefix(schema_data.structures()[name], prefix, v3=v3)
    if name == _INT_OR_STRING:
        made = {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]} if v3 else {"format": "int-or-string", "type": "string"}
    elif made.get("format") == "quantity":
        made = {"oneOf": [{"type": "string"}, {"type": "number"}]} if v3 else {"type": "string"}
    if text:
        made["description"] = text
    for field, description in fields.items():
        made["properties"][field]["description"] = description
    return made


def _with_prefix(schema: Mapping[str, Any], prefix: str, *, v3: bool) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in schema.items():
        match key:
            case "$ref" if v3:
                # Beside a reference OpenAPI v3.0 ignores all else, so it stands in an allOf, as upstream writes it.
                made["allOf"] = [{"$ref": prefix + value}]
            case "$ref":
                made["$ref"] = prefix + value
            case "properties":
                made[key] = {name: _with_prefix(of, prefix, v3=v3) for name, of in value.items()}
            case "items" | "additionalProperties" if isinstance(value, Mapping):
                made[key] = _with_prefix(value, prefix, v3=v3)
            case "x-kubernetes-preserve-unknown-fields":
                continue
            case _:
                made[key] = value
    return made


def _reached(start: Iterable[str]) -> list[str]:
    """`start` and every definition referred to from it, sorted."""
    structures = schema_data.structures()
    reached: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += _references(structures[name])
    return sorted(reached)


def _references(schema: Mapping[str, Any]) -> list[str]:
    found = [schema["$ref"]] if "$ref" in schema else []
    for child in schema.get("properties", {}).values():
        found += _references(child)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            found += _references(schema[key])
    return found


def _paths(resource: Resource) -> dict[str, Any]:
    collection = resource.path("{namespace}")
    items: dict[str, Any] = {}
    for verb in resource.verbs:
        if verb not in _METHODS:
            continue
        method, named = _METHODS[verb]
        path = f"{collection}/{{name}}" if named else collection
        items.setdefault(path, {"parameters": _path_parameters(resource, named)})[method] = _operation(resource, verb)
    if "list" in resource.verbs and resource.namespaced:
        items[resource.path()] = {"get": _operation(resource, "list", of_all_namespaces=True)}
    return items


def _operation(resource: Resource, verb: str, *, of_all_namespaces: bool = False) -> dict[str, Any]:
    definition, listed = (_definition_name(resource, kind) for kind in (resource.kind, resource.list_kind))
    result = listed if verb == "list" else definition
    scope = "Namespaced" if resource.namespaced and not of_all_namespaces else ""
    group = "".join(part.capitalize() for part in (resource.group or "core").removesuffix(".k8s.io").split("."))
    suffix = "ForAllNamespaces" if of_all_namespaces else ""
    operation: dict[str, Any] = {
        "tags": [f"{group.lower()}_{resource.version}"],
        "operationId": f"{verb}{group}{resource.version.capitalize()}{scope}{resource.kind}{suffix}",
        "parameters": [_query_parameter(name) for name in _PARAMETERS.get(verb, ())],
        "responses": {"200": {"description": "OK", **({"content": {"application/json": {"schema": {"$ref": _V3_PREFIX + result}}}} if result else {})}},
        "x-kubernetes-action": _ACTIONS.get(verb, verb),
        "x-kubernetes-group-version-kind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
    }
    if verb == "patch":
        types = [name for name in _PATCH_TYPES if not (resource.custom and "strategic" in name)]
        operation["requestBody"] = {"content": {name: {"schema": {"type": "object"}} for name in types}}
    elif verb in ("create", "update") and definition:
        operation["requestBody"] = {"content": {"*/*": {"schema": {"$ref": _V3_PREFIX + definition}}}}
    return operation


def _definition_name(resource: Resource, kind: str) -> str | None:
    if resource.custom:
        return openapi_custom.definition_name(resource, kind)
    return schema_data.definition_names().get((resource.api_version, kind))


def _query_parameter(name: str) -> dict[str, Any]:
    kind = "boolean" if name in _BOOLEANS else "integer" if name in _INTEGERS else "string"
    return {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}


def _path_parameters(resource: Resource, named: bool) -> list[dict[str, Any]]:
    names = [*(["name"] if named else []), *(["namespace"] if resource.namespaced else [])]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}} for name in names]


def _v2_item(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: [_v2_parameter(p) for p in value] if key == "parameters" else _v2_operation(value) for key, value in item.items()}


def _v2_parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in parameter.items() if key != "schema"}, **parameter["schema"]}


def _v2_operation(operation: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in operation.items() if key not in ("requestBody", "responses")}
    made["parameters"] = [_v2_parameter(parameter) for parameter in operation["parameters"]]
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        schema = next(iter(content.values()))["schema"]
        made["parameters"].append({"name": "body", "in": "body", "required": True, "schema": _v2_reference(schema)})
        made["consumes"] = list(content)
    answer = operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema")
    made["responses"] = {"200": {"description": "OK", **({"schema": _v2_reference(answer)} if answer else {})}}
    return made


def _v2_reference(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"$ref": schema["$ref"].replace(_V3_PREFIX, _V2_PREFIX)} if "$ref" in schema else dict(schema)
