"""Strategic merge patch: a merge patch that knows the schema, so that lists of named things are merged by name.

    live                                   patch                                       result
    containers:                            containers:                                 containers:
    - {name: web, image: nginx:1}          - {name: web, image: nginx:2}               - {name: web, image: nginx:2}
    - {name: log, image: fluent}           - {name: log, $patch: delete}               - {name: new, image: x}
                                           - {name: new, image: x}

Directives:

    $patch: replace | delete        in a map: it becomes the rest of the patch, or empty; as an item of a list: the whole list is
                                    replaced; with a merge key, that item is removed
    $deleteFromPrimitiveList/F      values to remove from the list F
    $setElementOrder/F              the order of F's items: of maps, each names just its merge key
    $retainKeys                     the map keeps these keys only (unions: a changed volume source drops the former one)

Whether a list is merged, and by which key, the schema says; what it does not describe is replaced.

Source: apimachinery/pkg/util/strategicpatch, whose order of items in merged lists this reproduces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.api.schema_node import SchemaNode
from k8sfromscratch.core.patch.values import copied, same

Map = dict[str, Any]

_PATCH = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one field is patched.  `key` names a list's items; `schema` is that of the map, or of a list's items."""

    schema: SchemaNode | None = None
    merges_list: bool = False
    replaces_map: bool = False
    key: str = ""


_UNKNOWN = _Rule()


def _rule(schema: SchemaNode | None, field: str) -> _Rule:
    node = schema.child(field) if schema is not None else None
    if node is None:
        return _UNKNOWN
    strategy = node.patch_strategy
    return _Rule(node.items if node.type == "array" else node, "merge" in strategy, "replace" in strategy, node.patch_merge_key)


def apply_strategic_patch(obj: Map, patch: Any, schema: SchemaNode | None) -> Map:
    """The patched copy.  Raises BadRequest for a malformed patch."""
    if not isinstance(patch, dict):
        raise BadRequest("error decoding patch: a strategic merge patch must be an object")
    return _merge_map(obj, patch, schema)


def _merge_map(original: Map, patch: Map, schema: SchemaNode | None) -> Map:
    directive = patch.get(_PATCH)
    if directive is not None:
        if directive == "replace":
            return _plain({key: value for key, value in patch.items() if key != _PATCH})
        if directive == "delete":
            return {}
        raise BadRequest(f"unknown patch type found: {directive!r}")
    result = _retained(original, patch)
    changes = {key: value for key, value in patch.items() if key not in (_PATCH, _RETAIN_KEYS)}
    ordered = _apply_orders(result, changes, schema)
    for key, value in changes.items():
        if key in ordered or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE_PRIMITIVES):
            _delete_primitives(result, key.removeprefix(_DELETE_PRIMITIVES), value)
        elif value is None:
            result.pop(key, None)
        elif key in result and isinstance(value, dict) and isinstance(result[key], dict):
            rule = _rule(schema, key)
            result[key] = _plain(value) if rule.replaces_map else _merge_map(result[key], value, rule.schema)
        elif key in result and isinstance(value, list) and isinstance(result[key], list):
            result[key] = _merge_list(result[key], value, _rule(schema, key), key)
        else:
            result.pop(key, None)
            if not _is_deletion(value):
                result[key] = _plain(value)
    return result


def _retained(original: Map, patch: Map) -> Map:
    """A copy of the original with what $retainKeys leaves of it."""
    if _RETAIN_KEYS not in patch:
        return dict(original)
    keys = patch[_RETAIN_KEYS]
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise BadRequest("invalid patch format of retainKeys: a list of keys is needed")
    for key, value in patch.items():
        if value is not None and key != _RETAIN_KEYS and not key.startswith((_DELETE_PRIMITIVES, _ORDER)) and key not in keys:
            raise BadRequest(f"invalid patch format of retainKeys: {key!r} is patched but not retained")
    return {key: value for key, value in original.items() if key in keys}


# -- lists


def _merge_list(original: list[Any], patch: list[Any], rule: _Rule, field: str) -> list[Any]:
    if not rule.merges_list:
        return [_plain(item) for item in patch if not _is_deletion(item)]
    if not original and not patch:
        return []
    if not _holds_maps(field, original, patch):
        merged = _deduplicated([*original, *patch])
        return _in_order(merged, patch, original, "")
    key = rule.key
    if not key:
        raise BadRequest(f"cannot merge lists without merge key for {field}")
    kept, patched = _special_items(original, patch, key)
    merged = list(kept)
    for item in patched:
        index = _position(merged, item, key, must_have_key=True)
        if index < 0:
            merged.append(_plain(item))
        else:
            merged[index] = _merge_map(merged[index], item, rule.schema)
    return _in_order(merged, patched, kept, key)


def _special_items(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """The list to merge into and the items to merge, once `$patch` items have done their work."""
    patched: list[Any] = []
    kept = list(original)
    replace = False
    for item in patch:
        directive = item.get(_PATCH)
        if directive is None:
            patched.append(item)
        elif directive == "delete":
            if key not in item:
                raise BadRequest(f"map: {item} does not contain declared merge key: {key}")
            kept = [old for old in kept if not (isinstance(old, dict) and key in old and same(old[key], item[key]))]
        elif directive == "replace":
            replace = True
        else:
            raise BadRequest(f"unknown patch type found in a list: {directive!r}")
    return ([_plain(item) for item in patched], []) if replace else (kept, patched)


def _apply_orders(result: Map, changes: Map, schema: SchemaNode | None) -> set[str]:
    """Merges and orders each list that has a $setElementOrder; the fields that are done with."""
    done: set[str] = set()
    for directive, order in changes.items():
        if not directive.startswith(_ORDER):
            continue
        field = directive.removeprefix(_ORDER)
        original, patch = result.get(field), changes.get(field)
        for value in (original, patch, order):
            if value is not None and not isinstance(value, list):
                raise BadRequest(f"{directive} and {field} must be lists")
        if order is None or (original is None and patch is None):
            continue
        rule = _rule(schema, field)
        _check_order_names_all(patch or [], order, rule.key, field)
        if patch is None:
            merged = list(original or [])
        elif original is None:
            merged = [_plain(item) for item in patch if not _is_deletion(item)]
        else:
            merged = _merge_list(original, patch, rule, field)
        primitives = changes.get(_DELETE_PRIMITIVES + field)
        if isinstance(primitives, list):
            merged = [item for item in merged if not _contains(primitives, item)]
        result[field] = _in_order(merged, order, original or [], rule.key)
        done.add(field)
    return done


def _check_order_names_all(patch: Sequence[Any], order: Sequence[Any], key: str, field: str) -> None:
    """Upstream's consistency check: what the patch sets must have a place in the order, in the same sequence."""
    position = 0
    for item in patch:
        if isinstance(item, dict) and item.get(_PATCH) is not None:
            continue
        while position < len(order) and not _same_item(order[position], item, key):
            position += 1
        if position == len(order):
            raise BadRequest(f"the order in patch list of {field} doesn't match {_ORDER} list: {list(order)}")
        position += 1


def _in_order(merged: list[Any], order: Sequence[Any], server_order: Sequence[Any], key: str) -> list[Any]:
    """The items that `order` names in its order; each other one stays before the first that it preceded on the server."""
    named = sorted((item for item in merged if _position(order, item, key) >= 0), key=lambda item: _position(order, item, key))
    others = sorted((item for item in merged if _position(order, item, key) < 0), key=lambda item: _place(server_order, item, key))
    result: list[Any] = []
    i = j = 0
    while i < len(others) and j < len(named):
        left, right = _position(server_order, others[i], key), _position(server_order, named[j], key)
        if 0 <= left < right:
            result.append(others[i])
            i += 1
        else:
            result.append(named[j])
            j += 1
    return result + others[i:] + named[j:]


def _place(server_order: Sequence[Any], item: Any, key: str) -> int:
    position = _position(server_order, item, key)
    return position if position >= 0 else len(server_order)


def _position(items: Sequence[Any], item: Any, key: str, *, must_have_key: bool = False) -> int:
    if must_have_key and (not isinstance(item, dict) or key not in item):
        raise BadRequest(f"map: {item} does not contain declared merge key: {key}")
    return next((index for index, other in enumerate(items) if _same_item(other, item, key)), -1)


def _same_item(a: Any, b: Any, key: str) -> bool:
    if not key:
        return same(a, b)
    return isinstance(a, dict) and isinstance(b, dict) and key in a and key in b and same(a[key], b[key])


def _holds_maps(field: str, *lists: list[Any]) -> bool:
    kinds = {isinstance(item, dict) for items in lists for item in items}
    if len(kinds) > 1:
        raise BadRequest(f"list element types are not identical in {field}")
    if any(isinstance(item, list) for items in lists for item in items):
        raise BadRequest(f"lists of lists are not supported in {field}")
    return kinds == {True}


def _deduplicated(values: list[Any]) -> list[Any]:
    result: list[Any] = []
    for value in values:
        if not _contains(result, value):
            result.append(value)
    return result


def _delete_primitives(result: Map, field: str, values: Any) -> None:
    if not isinstance(values, list):
        raise BadRequest(f"{_DELETE_PRIMITIVES}{field} must be a list")
    present = result.get(field)
    if isinstance(present, list):
        result[field] = [item for item in present if not _contains(values, item)]


def _contains(values: Sequence[Any], value: Any) -> bool:
    return any(same(value, other) for other in values)


# -- what is taken from the patch as it is


def _is_deletion(value: Any) -> bool:
    return isinstance(value, dict) and value.get(_PATCH) == "delete"


def _plain(value: Any) -> Any:
    """A copy without directives and nulls: they have nothing to act on where the object had nothing."""
    if isinstance(value, dict):
        return {
            key: _plain(item)
            for key, item in value.items()
            if item is not None and key not in (_PATCH, _RETAIN_KEYS) and not key.startswith((_DELETE_PRIMITIVES, _ORDER)) and not _is_deletion(item)
        }
    if isinstance(value, list):
        return [_plain(item) for item in value if not (isinstance(item, dict) and item.get(_PATCH) is not None and len(item) <= 1) and not _is_deletion(item)]
    return copied(value)
