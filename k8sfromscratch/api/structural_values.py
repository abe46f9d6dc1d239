"""Is this value what its structural schema says?  Causes in the words of upstream's OpenAPI validator.

    {"size": "big"}     spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"

A checker is made of a schema once: patterns are compiled, and each keyword that is there becomes one function.  Those are asked in upstream's
order: the type first, then combinations (allOf, anyOf, oneOf, not), then what belongs to the type, the enum, and the members.

Ratcheting (KEP-4008): a value that equals the old one at its place is not looked at again, so that a schema which became stricter does not
lock up the objects that are there.  A member's old value is found by its name, an item's by its keys where the list is a map; items of other lists
have none.

Source: kube-openapi's validation/validate, apiextensions-apiserver's pkg/apiserver/validation.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import orjson

from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.structural_formats import Pattern, is_of_format
from k8sfromscratch.api.validation.field import duplicate, invalid, not_supported, required, too_long, too_many

NOWHERE = "<nil>"
"""Where upstream reports a failed combination: it does not say the path apart from the message."""

Checks = list[Callable[[Any, str], list[Cause]]]
_META = frozenset({"apiVersion", "kind", "metadata"})
_INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


class Checker:
    """`plain` leaves out what only a place in the object has, not a branch of a combination: list types and embedded resources."""

    def __init__(self, schema: Mapping[str, Any], *, is_resource: bool = True, branch: bool = False) -> None:
        self._schema = schema
        self._is_resource = is_resource
        self._branch = branch
        self._type = schema.get("type", "")
        self._nullable = bool(schema.get("nullable"))
        self._int_or_string = bool(schema.get("x-kubernetes-int-or-string"))
        self._required: Sequence[str] = schema.get("required") or ()
        self._list_type = "" if branch else schema.get("x-kubernetes-list-type", "")
        self._map_keys: Sequence[str] = schema.get("x-kubernetes-list-map-keys") or ()
        self._embedded = bool(schema.get("x-kubernetes-embedded-resource"))

    def check(self, value: Any, old: Any = None, path: str = "") -> list[Cause]:
        if old is not None and same(old, value):
            return []
        if value is None and self._nullable:
            return []
        wrong = self._wrong_type(value, path)
        if wrong:
            return wrong
        causes = [cause for check in self._combinations for cause in check(value, path)]
        causes += [cause for check in self._own for cause in check(value, path)]
        if isinstance(value, dict):
            causes += self._members(value, old if isinstance(old, dict) else {}, path)
        elif isinstance(value, list):
            causes += self._items(value, old if isinstance(old, list) else [], path)
        return causes

    # -- type

    def _wrong_type(self, value: Any, path: str) -> list[Cause]:
        found = type_of(value)
        if self._int_or_string:
            return [] if found in ("integer", "string") else [_mistyped(path, found, "integer,string")]
        wanted = self._type
        if not wanted or found == wanted or (wanted == "number" and found == "integer"):
            return []
        if wanted == "integer" and isinstance(value, float) and value.is_integer():
            return []
        return [_mistyped(path, found, wanted)]

    # -- allOf, anyOf, oneOf, not

    @cached_property
    def _combinations(self) -> Checks:
        made: Checks = []
        schema = self._schema
        if schema.get("allOf"):
            branches = [self._sub(one) for one in schema["allOf"]]
            made.append(lambda value, path: _all_of(branches, value, path))
        if schema.get("anyOf") and not (self._int_or_string and _only_types(schema["anyOf"])):
            any_of = [self._sub(one) for one in schema["anyOf"]]
            made.append(lambda value, path: _any_of(any_of, value, path))
        if schema.get("oneOf"):
            one_of = [self._sub(one) for one in schema["oneOf"]]
            made.append(lambda value, path: _one_of(one_of, value, path))
        if schema.get("not") is not None:
            forbidden = self._sub(schema["not"])
            made.append(lambda value, path: [_failed(f'"{path}" must not validate the schema (not)')] if not forbidden.check(value, None, path) else [])
        return made

    def _sub(self, schema: Mapping[str, Any]) -> "Checker":
        return Checker(schema, is_resource=False, branch=True)

    # -- the value by itself

    @cached_property
    def _own(self) -> Checks:
        schema = self._schema
        checks: Checks = []
        for keyword, make in _KEYWORDS.items():
            if schema.get(keyword) is not None:
                checks.append(make(schema))
        return checks

    # -- members and items

    @cached_property
    def _properties(self) -> Mapping[str, "Checker"]:
        described = self._schema.get("properties") or {}
        skipped = _META if self._embedded or (self._is_resource and not self._branch) else frozenset[str]()
        return {name: Checker(one, is_resource=False, branch=self._branch) for name, one in described.items() if name not in skipped}

    @cached_property
    def _metadata(self) -> "Checker | None":
        """A schema may bound metadata.name and generateName; the rest of it is every object's."""
        one = (self._schema.get("properties") or {}).get("metadata") if self._is_resource and not self._branch else None
        return Checker(one, is_resource=False, branch=self._branch) if one else None

    @cached_property
    def _additional(self) -> "Checker | None":
        one = self._schema.get("additionalProperties")
        return Checker(one, is_resource=False, branch=self._branch) if isinstance(one, Mapping) else None

    @cached_property
    def _item(self) -> "Checker | None":
        one = self._schema.get("items")
        return Checker(one, is_resource=False, branch=self._branch) if isinstance(one, Mapping) else None

    def _members(self, value: Mapping[str, Any], old: Mapping[str, Any], path: str) -> list[Cause]:
        prefix = f"{path}." if path else ""
        causes = [required(prefix + name) for name in self._required if name not in value]
        if self._embedded and not self._branch:
            causes += [required(f"{prefix}{name}", "must not be empty") for name in ("apiVersion", "kind") if not value.get(name)]
        if self._metadata is not None and "metadata" in value:
            causes += self._metadata.check(value["metadata"], old.get("metadata"), "metadata")
        for name, one in value.items():
            checker = self._properties.get(name)
            if checker is None and self._additional is not None and not (self._is_resource and name in _META):
                checker = self._additional
            if checker is not None:
                causes += checker.check(one, old.get(name), prefix + name)
        return causes

    def _items(self, value: Sequence[Any], old: Sequence[Any], path: str) -> list[Cause]:
        causes: list[Cause] = []
        before = {_key_of(one, self._map_keys): one for one in old} if self._list_type == "map" else {}
        if self._item is not None:
            for index, one in enumerate(value):
                causes += self._item.check(one, before.get(_key_of(one, self._map_keys)) if before else None, f"{path}[{index}]")
        return causes + self._doubles(value, path)

    def _doubles(self, value: Sequence[Any], path: str) -> list[Cause]:
        if self._list_type not in ("map", "set"):
            return []
        causes, seen = [], set()
        defaults = {name: one["default"] for name, one in ((self._schema.get("items") or {}).get("properties") or {}).items() if "default" in one}
        for index, one in enumerate(value):
            shown = one
            if self._list_type == "map" and isinstance(one, dict):
                shown = {key: one.get(key, defaults.get(key)) for key in self._map_keys if key in one or key in defaults}
            key = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)
            if key in seen:
                causes.append(duplicate(f"{path}[{index}]", shown))
            seen.add(key)
        return causes


def same(one: Any, other: Any) -> bool:
    """As JSON: true is not 1."""
    return one == other and orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)


def type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _key_of(item: Any, keys: Sequence[str]) -> bytes:
    return orjson.dumps([item.get(key) for key in keys]) if isinstance(item, dict) else b""


def _mistyped(path: str, found: str, wanted: str) -> Cause:
    return Cause("FieldValueTypeInvalid", f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"', path)


def _failed(message: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "": {message}', NOWHERE)


def _only_types(branches: Sequence[Mapping[str, Any]]) -> bool:
    return all(set(branch) == {"type"} for branch in branches)


def _all_of(branches: Sequence[Checker], value: Any, path: str) -> list[Cause]:
    found = [branch.check(value, None, path) for branch in branches]
    causes = [cause for of_branch in found for cause in of_branch]
    return [*causes, _failed(f'"{path}" must validate all the schemas (allOf)')] if causes else []


def _any_of(branches: Sequence[Checker], value: Any, path: str) -> list[Cause]:
    best: list[Cause] = []
    for branch in branches:
        causes = branch.check(value, None, path)
        if not causes:
            return []
        best = best or causes
    return [_failed(f'"{path}" must validate at least one schema (anyOf)'), *best]


def _one_of(branches: Sequence[Checker], value: Any, path: str) -> list[Cause]:
    found = [branch.check(value, None, path) for branch in branches]
    valid = sum(not causes for causes in found)
    if valid == 1:
        return []
    said = f'"{path}" must validate one and only one schema (oneOf).'
    return [_failed(f"{said} Found none valid"), *found[0]] if not valid else [_failed(f"{said} Found {valid} valid alternatives")]


# -- keywords of one value


def _when(kind: type | tuple[type, ...], check: Callable[[Any, str], list[Cause]]) -> Callable[[Any, str], list[Cause]]:
    return lambda value, path: check(value, path) if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool) else []


_NUMBER = (int, float)


def _bound(keyword: str, exclusive: str, above: bool) -> Callable[[Mapping[str, Any]], Callable[[Any, str], list[Cause]]]:
    def make(schema: Mapping[str, Any]) -> Callable[[Any, str], list[Cause]]:
        bound, open_end = schema[keyword], bool(schema.get(exclusive))
        words = f"{'greater' if above else 'less'} than {'' if open_end else 'or equal to '}{_plain(bound)}"

        def check(value: Any, path: str) -> list[Cause]:
            outside = value < bound if above else value > bound
            return [invalid(path, value, f"{path} in body should be {words}")] if outside or (open_end and value == bound) else []

        return _when(_NUMBER, check)

    return make


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _multiple_of(schema: Mapping[str, Any]) -> Callable[[Any, str], list[Cause]]:
    factor = schema["multipleOf"]
    words = f"should be a multiple of {_plain(factor)}"
    return _when(_NUMBER, lambda value, path: [] if float(value / factor).is_integer() else [invalid(path, value, f"{path} in body {words}")])


def _max_length(schema: Mapping[str, Any]) -> Callable[[Any, str], list[Cause]]:
    most = schema["maxLength"]
    return _when(str, lambda value, path: [too_long(path, most)] if len(value) > most else [])


def _min_length(schema: Mapping[str, Any]) -> Callable[[Any, str], list[Cause]]:
    least = schema["minLength"]
    return _when(str, lambda value, path: [invalid(path, value, f"{path} in body should be at least {least} chars long")] if len(value) < least else [])


def _pattern(schema: Mapping[str, Any]) -> Callable[[Any, str], list[Cause]]:
    text = schema["pattern"]
    pattern = Pattern(text)
    return _when(str, lambda value, path: [] if pattern.found_in(value) else [invalid(path, value, f"{path} in body should match '{text}'")])


def _max_items(schema: Mapping[str, Any]) -> Callable[[Any, str], list[Cause]]:
    most = schema["maxItems"]
    return _when(list, lambda value, path: [too_many(path, len(value), most)] if len(value) > most else [])


def _min_items(schema: Mapping[str, Any]) -> Callable[[Any, str], list[Cause]]:
    least = schema["minItems"]
    return _when(list, lambda value, path: [invalid(path, len(value), f"{path} in body should have at least {least} items")] if len(value) < least else [])


def _max_properties(schema: Mapping[str, Any]) -> Callable[[Any, str], list[Cause]]:
    most = schema["maxProperties"]
    return _when(dict, lambda value, path: [too_many(path, len(value), most)] if len(value) > most else [])


def _min_properties(schema: Mapping[str, Any]) -> Callable[[Any, str], list[Cause]]:
    least = schema["minProperties"]
    return _when(dict, lambda value, path: [invalid(path, len(value), f"{path} in body should have at least {least} properties")] if len(value) < least else [])


def _format(schema: Mapping[str, Any]) -> Callable[[Any, str], list[Cause]]:
    form = schema["format"]
    if form in _INTEGERS and schema.get("type") in ("integer", "number"):
        lowest, highest = _INTEGERS[form]
        words = f"Checked value must be of type {schema['type']} with format {form}"
        return _when(_NUMBER, lambda value, path: [] if lowest <= value <= highest else [invalid(path, value, words)])

    def check(value: Any, path: str) -> list[Cause]:
        if is_of_format(form, value):
            return []
        shown = orjson.dumps(value).decode()
        return [Cause("FieldValueTypeInvalid", f"Invalid value: {shown}: {path} in body must be of type {form}: {shown}", path)]

    return _when(str, check)


def _enum(schema: Mapping[str, Any]) -> Callable[[Any, str], list[Cause]]:
    allowed = schema["enum"]
    shown = [one if isinstance(one, str) else orjson.dumps(one).decode() for one in allowed]
    return lambda value, path: [] if any(same(one, value) for one in allowed) else [not_supported(path, value, shown)]


_KEYWORDS: Mapping[str, Callable[[Mapping[str, Any]], Callable[[Any, str], list[Cause]]]] = {
    "maxLength": _max_length,
    "minLength": _min_length,
    "pattern": _pattern,
    "format": _format,
    "multipleOf": _multiple_of,
    "maximum": _bound("maximum", "exclusiveMaximum", above=False),
    "minimum": _bound("minimum", "exclusiveMinimum", above=True),
    "maxItems": _max_items,
    "minItems": _min_items,
    "enum": _enum,
    "maxProperties": _max_properties,
    "minProperties": _min_properties,
}
