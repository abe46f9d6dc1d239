"""What a CustomResourceDefinition's schema must be so that it can prune, default and be merged: structural (KEP "Vanilla OpenAPI Subset").

    schema_faults(schema, path)     causes at paths such as spec.versions[0].schema.openAPIV3Schema.properties[spec].type

In short: every place has a type, said once and not within a combination; combinations only bound what is described outside them; what x-kubernetes-*
says fits the type; a default is a value of its own schema.

Source: apiextensions-apiserver's pkg/apiserver/schema/{validation,defaulting}, pkg/apis/apiextensions/validation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.structural import pruned_paths
from k8sfromscratch.api.structural_formats import BadPattern, Pattern
from k8sfromscratch.api.structural_values import NOWHERE, Checker
from k8sfromscratch.api.validation.field import duplicate, forbidden, invalid, not_supported, required

DEPTH_MAX = 100
"""Places below one another; upstream is bounded by its decoder alone."""

Schema = Mapping[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_REFUSED = {
    "$ref": "$ref is not supported",
    "$schema": "$schema is not supported",
    "additionalItems": "additionalItems is not supported",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "id": "id is not supported",
    "patternProperties": "patternProperties is not supported",
}
_NOT_IN_A_BRANCH = {
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "title": "must be empty to be structural",
    "type": "must be empty to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}
_COMBINED = ("allOf", "anyOf", "oneOf")
_META_ALLOWED = frozenset({"name", "generateName"})


def schema_faults(schema: Schema, path: str) -> list[Cause]:
    kind = schema.get("type")
    if not kind:
        return [required(f"{path}.type", "must not be empty at the root")]
    if kind != "object":
        return [invalid(f"{path}.type", kind, "must be object at the root")]
    causes = _of_root(schema, path)
    if schema.get("nullable"):
        causes.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    causes += _faults(schema, path, "", 0)
    # A default is only asked for where the schema around it makes sense.
    return causes or _defaults(schema, path, is_root=True)


def _of_root(schema: Schema, path: str) -> list[Cause]:
    metadata = (schema.get("properties") or {}).get("metadata")
    if not metadata:
        return []
    where = f"{path}.properties[metadata]"
    if metadata.get("type") not in (None, "object"):
        return [invalid(f"{where}.type", metadata["type"], "must be object")]
    if set(metadata.get("properties") or {}) - _META_ALLOWED or metadata.get("additionalProperties") or metadata.get("required"):
        return [forbidden(where, "must not specify anything other than name and generateName, but metadata is implicitly specified")]
    return []


def _faults(schema: Schema, path: str, place: str, depth: int) -> list[Cause]:
    """`place` names what the schema is of, for the message about its type: a field, an item; empty at the root."""
    if depth > DEPTH_MAX:
        return [forbidden(path, f"nested more than {DEPTH_MAX} levels deep")]
    causes = [*_refused(schema, path), *_typed(schema, path, place), *_extended(schema, path)]
    properties, additional, items = schema.get("properties") or {}, schema.get("additionalProperties"), schema.get("items")
    if additional is False:
        causes.append(forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false"))
    elif properties and additional is not None:
        causes.append(forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"))
    for name, one in properties.items():
        if depth == 0 and name == "metadata":
            continue
        causes += _faults(one, f"{path}.properties[{name}]", "specified object fields", depth + 1)
    if isinstance(additional, Mapping):
        causes += _faults(additional, f"{path}.additionalProperties", "specified object fields", depth + 1)
    if isinstance(items, Mapping):
        causes += _faults(items, f"{path}.items", "specified array items", depth + 1)
    for where, branch in _branches(schema, path):
        causes += _branch(branch, schema, where, path, depth + 1)
    return causes


def _refused(schema: Schema, path: str) -> list[Cause]:
    causes = [forbidden(f"{path}.{key}", why) for key, why in _REFUSED.items() if schema.get(key)]
    if schema.get("uniqueItems"):
        causes.append(forbidden(f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"))
    if isinstance(schema.get("items"), list):
        causes.append(forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if schema.get("pattern"):
        try:
            Pattern(schema["pattern"])
        except BadPattern as error:
            causes.append(invalid(f"{path}.pattern", schema["pattern"], f"must be a valid regular expression, but isn't: {error}"))
    return causes


def _typed(schema: Schema, path: str, place: str) -> list[Cause]:
    kind = schema.get("type") or ""
    if kind and kind not in _TYPES:
        return [not_supported(f"{path}.type", kind, _TYPES)]
    if schema.get("x-kubernetes-int-or-string"):
        return [invalid(f"{path}.type", kind, "must be empty if x-kubernetes-int-or-string is true")] if kind else []
    causes: list[Cause] = []
    if not kind and not schema.get("x-kubernetes-preserve-unknown-fields") and place:
        causes.append(required(f"{path}.type", f"must not be empty for {place}"))
    if kind == "array" and schema.get("items") is None:
        causes.append(required(f"{path}.items", "must be specified"))
    return causes


def _extended(schema: Schema, path: str) -> list[Cause]:
    kind, causes = schema.get("type") or "", list[Cause]()
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        causes.append(invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined"))
    if schema.get("x-kubernetes-embedded-resource"):
        if kind != "object":
            detail = "must be object if x-kubernetes-embedded-resource is true"
            causes.append(invalid(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail))
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
            causes.append(required(f"{path}.properties", detail))
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None:
        if map_type not in ("atomic", "granular"):
            causes.append(not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular")))
        if kind != "object":
            detail = "must be object if x-kubernetes-map-type is specified"
            causes.append(invalid(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail))
    return causes + _list_type(schema, path, kind)


def _list_type(schema: Schema, path: str, kind: str) -> list[Cause]:
    list_type, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    causes: list[Cause] = []
    if list_type is None:
        return [required(f"{path}.x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty")] if keys else []
    if list_type not in ("atomic", "map", "set"):
        causes.append(not_supported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "map", "set")))
    if kind != "array":
        detail = "must be array if x-kubernetes-list-type is specified"
        return [*causes, invalid(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail)]
    if list_type != "map" and keys:
        causes.append(invalid(f"{path}.x-kubernetes-list-type", list_type, "must be map if x-kubernetes-list-map-keys is non-empty"))
    items = schema.get("items")
    if isinstance(items, Mapping) and list_type == "map":
        causes += _map_keys(keys, items, path)
    if isinstance(items, Mapping) and list_type == "set":
        causes += _set_items(items, path)
    return causes


def _map_keys(keys: Sequence[str], items: Schema, path: str) -> list[Cause]:
    at = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        return [required(at, "must not be empty if x-kubernetes-list-type is map")]
    causes: list[Cause] = []
    if items.get("type") != "object":
        causes.append(invalid(f"{path}.items.type", items.get("type") or "", "must be object if parent array's x-kubernetes-list-type is map"))
    for index, key in enumerate(keys):
        of_key = (items.get("properties") or {}).get(key)
        if key in keys[:index]:
            causes.append(duplicate(f"{at}[{index}]", key))
        elif of_key is None:
            causes.append(invalid(f"{at}[{index}]", key, "entries must all be names of item properties"))
        else:
            where = f"{path}.items.properties[{key}]"
            if of_key.get("type") in ("array", "object"):
                causes.append(invalid(f"{where}.type", of_key["type"], "must be a scalar type if parent array's x-kubernetes-list-type is map"))
            if of_key.get("nullable"):
                causes.append(forbidden(f"{where}.nullable", "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"))
            if "default" not in of_key and key not in (items.get("required") or ()):
                detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
                causes.append(required(f"{where}.default", detail))
    return causes


def _set_items(items: Schema, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if items.get("nullable"):
        causes.append(forbidden(f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is set"))
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        value = items.get("x-kubernetes-map-type") or ""
        causes.append(invalid(f"{path}.items.x-kubernetes-map-type", value, "must be atomic as item of a list with x-kubernetes-list-type=set"))
    if items.get("type") == "array" and items.get("x-kubernetes-list-type", "atomic") != "atomic":
        value = items["x-kubernetes-list-type"]
        causes.append(invalid(f"{path}.items.x-kubernetes-list-type", value, "must be atomic as item of a list with x-kubernetes-list-type=set"))
    return causes


# -- combinations


def _branches(schema: Schema, path: str) -> list[tuple[str, Schema]]:
    found = [(f"{path}.{word}[{index}]", one) for word in _COMBINED for index, one in enumerate(schema.get(word) or ())]
    return [*found, (f"{path}.not", schema["not"])] if isinstance(schema.get("not"), Mapping) else found


def _branch(branch: Schema, outside: Schema | None, path: str, outside_path: str, depth: int) -> list[Cause]:
    """What a branch describes must be described outside it: only there it is typed, pruned and defaulted."""
    if depth > DEPTH_MAX:
        return [forbidden(path, f"nested more than {DEPTH_MAX} levels deep")]
    int_or_string = bool(outside and outside.get("x-kubernetes-int-or-string"))
    causes = [*_refused(branch, path)]
    for key, why in _NOT_IN_A_BRANCH.items():
        if branch.get(key) is not None and branch[key] is not False and not (key == "type" and int_or_string):
            causes.append(forbidden(f"{path}.{key}", why))
    described = (outside or {}).get("properties") or {}
    for name, one in (branch.get("properties") or {}).items():
        of_outside = described.get(name)
        if of_outside is None and isinstance((outside or {}).get("additionalProperties"), Mapping):
            of_outside = (outside or {})["additionalProperties"]
        where, there = f"{path}.properties[{name}]", f"{outside_path}.properties[{name}]"
        if of_outside is None and not (name == "metadata" and outside is not None):
            causes.append(required(there, f"because it is defined in {where}"))
        causes += _branch(one, of_outside, where, there, depth + 1)
    if isinstance(branch.get("items"), Mapping):
        items = (outside or {}).get("items")
        if not isinstance(items, Mapping):
            causes.append(required(f"{outside_path}.items", f"because it is defined in {path}.items"))
            items = None
        causes += _branch(branch["items"], items, f"{path}.items", f"{outside_path}.items", depth + 1)
    for where, one in _branches(branch, path):
        causes += _branch(one, outside, where, outside_path, depth + 1)
    return causes


# -- defaults


def _defaults(schema: Schema, path: str, *, is_root: bool = False) -> list[Cause]:
    causes: list[Cause] = []
    if schema.get("default") is not None:
        causes += _default(schema, schema["default"], f"{path}.default")
    for name, one in (schema.get("properties") or {}).items():
        if not (is_root and name == "metadata"):
            causes += _defaults(one, f"{path}.properties[{name}]")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            causes += _defaults(schema[word], f"{path}.{word}")
    return causes


def _default(schema: Schema, value: Any, path: str) -> list[Cause]:
    if pruned_paths(schema, value):
        return [invalid(path, value, "must not have unknown fields")]
    found = Checker(schema, is_resource=False).check(value)
    return [Cause(one.reason, one.message, one.field if one.field == NOWHERE else f"{path}.{one.field}".removesuffix(".")) for one in found]
