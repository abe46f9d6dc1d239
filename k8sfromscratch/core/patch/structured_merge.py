"""Objects and their fields, as the schema divides them: what server-side apply merges, compares and prunes.

The schema tells which values are one field (scalars, atomic lists and maps) and which are made of many:

    struct, map                        a field a key                     x-kubernetes-map-type: atomic makes it one
    list of type map                   an item by its keys               x-kubernetes-list-map-keys
    list of type set                   an item by its value
    any other list                     one field

What the schema does not describe is divided like plain JSON: maps by key, lists not at all.

Source: structured-merge-diff's typed (merge, compare, remove).
"""

from typing import Any

from k8sfromscratch.api.remembered import Remembered
from k8sfromscratch.api.schema_node import SchemaNode
from k8sfromscratch.core.patch.field_tree import LEAF, SELF, Tree, field_element, key_element, value_element
from k8sfromscratch.core.patch.values import copied, same

_FEW = 3
"""A map of no more members is divided sooner than found again."""


def fields_of(value: Any, schema: SchemaNode | None) -> Tree:
    """All fields of a value: what its applier comes to own.  Maps and structs count by their contents, items also as themselves."""
    if isinstance(value, dict) and value and not _is_atomic(schema):
        return {field_element(key): fields_of(child, _child(schema, key)) for key, child in value.items()}
    if isinstance(value, list) and value:
        kind = _list_type(schema, value)
        items = schema.items if schema is not None else None
        if kind == "map":
            keys = schema.list_map_keys if schema is not None else ()
            return {key_element(item, keys): {SELF: LEAF, **fields_of(item, items)} for item in value}
        if kind == "set":
            return {value_element(item): LEAF for item in value}
    return LEAF


def compare(old: Any, new: Any, schema: SchemaNode | None) -> tuple[Tree | None, Tree | None]:
    """(fields that were added or changed, fields that were removed); None where there are none."""
    # Python's own comparison, at C's speed: the schema has made both sides of the same types, so that it cannot take True for 1.
    if old == new:
        return None, None
    changed: Tree = {}
    removed: Tree = {}
    if isinstance(old, dict) and isinstance(new, dict) and not _is_atomic(schema):
        for key, value in new.items():
            if key not in old:
                changed[field_element(key)] = _all_of(value, _child(schema, key))
            elif old[key] != value:
                _compare_into(changed, removed, field_element(key), old[key], value, _child(schema, key))
        for key, value in old.items():
            if key not in new:
                removed[field_element(key)] = _all_of(value, _child(schema, key))
        return changed or None, removed or None
    parts = _both_divided(old, new, schema)
    if parts is None:
        return LEAF, None
    before, after, items = parts
    for element, value in after.items():
        if element in before:
            _compare_into(changed, removed, element, before[element], value, items)
        else:
            changed[element] = _whole(value, items)
    for element, value in before.items():
        if element not in after:
            removed[element] = _whole(value, items)
    return changed or None, removed or None


def _compare_into(changed: Tree, removed: Tree, element: str, old: Any, new: Any, schema: SchemaNode | None) -> None:
    inner_changed, inner_removed = compare(old, new, schema)
    if inner_changed is not None:
        changed[element] = inner_changed
    if inner_removed is not None:
        removed[element] = inner_removed


def merge(live: Any, applied: Any, schema: SchemaNode | None) -> Any:
    """The live value with everything that the applied one says."""
    if isinstance(live, dict) and isinstance(applied, dict) and not _is_atomic(schema):
        result = dict(live)
        for key, value in applied.items():
            result[key] = merge(live[key], value, _child(schema, key)) if key in live else copied(value)
        return result
    if isinstance(live, list) and isinstance(applied, list) and schema is not None:
        kind = _list_type(schema, live, applied)
        if kind == "map":
            return _merge_items(live, applied, schema)
        if kind == "set":
            return [*live, *(item for item in applied if not any(same(item, other) for other in live))]
    return copied(applied)


def prune(value: Any, last: Tree, kept: Tree, schema: SchemaNode | None, *, top: bool = True) -> Any:
    """Without the fields of `last`, an applier's former set, of which nothing is in `kept`, what it and the others own now.
    The object's first level always stays."""
    if isinstance(value, dict):
        result = dict(value)
        for element, child in last.items():
            key = element[2:]
            if not element.startswith("f:") or key not in result:
                continue
            if element in kept or top:
                result[key] = prune(result[key], child, kept.get(element, {SELF: LEAF} if top else LEAF), _child(schema, key), top=False)
            else:
                del result[key]
        return result
    if isinstance(value, list) and schema is not None:
        kind = _list_type(schema, value)
        if kind == "map":
            return [
                prune(item, last[element], kept[element], schema.items, top=False) if element in last and element in kept else item
                for item in value
                if (element := key_element(item, schema.list_map_keys)) not in last or element in kept
            ]
        if kind == "set":
            return [item for item in value if (element := value_element(item)) not in last or element in kept]
    return value


# -- how values divide


def _is_atomic(schema: SchemaNode | None) -> bool:
    return schema is not None and schema.map_type == "atomic"


def _child(schema: SchemaNode | None, key: str) -> SchemaNode | None:
    return schema.child(key) if schema is not None else None


def _list_type(schema: SchemaNode | None, *lists: list[Any]) -> str:
    """`map`, `set` or `atomic`.  A list whose items the schema's division does not fit (no keys, doubles) is taken as one."""
    kind = schema.list_type if schema is not None else ""
    if kind == "map" and schema is not None:
        keys = schema.list_map_keys
        for items in lists:
            elements = [key_element(item, keys) if isinstance(item, dict) else "" for item in items]
            if "" in elements or "k:{}" in elements or len(set(elements)) != len(elements):
                return "atomic"
        return "map"
    if kind == "set":
        return "atomic" if any(len({value_element(item) for item in items}) != len(items) for items in lists) else "set"
    return "atomic"


def _both_divided(old: Any, new: Any, schema: SchemaNode | None) -> tuple[dict[str, Any], dict[str, Any], SchemaNode | None] | None:
    """Elements of two lists and the schema of their items; None where the value is one field."""
    if isinstance(old, list) and isinstance(new, list) and schema is not None:
        kind = _list_type(schema, old, new)
        if kind == "map":
            keys = schema.list_map_keys
            before, after = ({key_element(item, keys): item for item in items} for items in (old, new))
            return before, after, schema.items
        if kind == "set":
            before, after = ({value_element(item): item for item in items} for items in (old, new))
            # Equal sets in another order: nothing that anyone owns has changed.
            return before, after, None
    return None


def _whole(value: Any, schema: SchemaNode | None) -> Tree:
    """Everything of a value that appears or goes, maps and lists included as themselves."""
    if isinstance(value, dict) and value and not _is_atomic(schema):
        tree: Tree = {SELF: LEAF}
        for key, child in value.items():
            # Most members are plain values, for which the schema need not be asked.
            tree["f:" + key] = _whole(child, _child(schema, key)) if isinstance(child, dict | list) else LEAF
        return tree
    if isinstance(value, list) and value and schema is not None:
        kind = _list_type(schema, value)
        if kind == "map":
            return {SELF: LEAF, **{key_element(item, schema.list_map_keys): _whole(item, schema.items) for item in value}}
        if kind == "set":
            return {SELF: LEAF, **{value_element(item): LEAF for item in value}}
    return LEAF


_known_fields: Remembered[Tree] = Remembered(_whole)


def _all_of(value: Any, schema: SchemaNode | None) -> Tree:
    """`_whole`, for what is large enough that it may be worth remembering, and may come again: no object's metadata does."""
    if isinstance(value, dict) and len(value) > _FEW and schema is not None and schema.go_type != "ObjectMeta":
        return _known_fields(value, schema)
    return _whole(value, schema)


def _merge_items(live: list[Any], applied: list[Any], schema: SchemaNode) -> list[Any]:
    """Items by key: the live ones in their order, new ones behind them."""
    keys = schema.list_map_keys
    wanted = {key_element(item, keys): item for item in applied}
    result = []
    for item in live:
        element = key_element(item, keys)
        result.append(merge(item, wanted.pop(element), schema.items) if element in wanted else item)
    return result + [copied(item) for item in wanted.values()]
