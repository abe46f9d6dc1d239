"""Sets of fields, in the form in which metadata.managedFields has them (FieldsV1): a tree of path elements.

    {"f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}}}}}

    f:NAME     a field or a map's key          k:{…}     an item of a list of maps, by its keys          v:…     an item of a set
    {}         the field itself is in the set
    {".": {}, …}   the field itself, and some beneath it;  without the dot, only those beneath it

So every operation on sets is a recursion over two dicts.  Trees are never changed in place.

Source: structured-merge-diff's fieldpath.
"""

from collections.abc import Iterator
from typing import Any

import orjson

Tree = dict[str, Any]

SELF = "."
LEAF: Tree = {}


def field_element(name: str) -> str:
    return f"f:{name}"


def key_element(item: dict[str, Any], keys: tuple[str, ...]) -> str:
    """Of an item of a list of maps; the schema's default stands for `protocol`, the one key that people leave out."""
    values = {key: item.get(key, "TCP" if key == "protocol" else None) for key in keys}
    present = {key: value for key, value in values.items() if value is not None}
    return "k:" + orjson.dumps(present, option=orjson.OPT_SORT_KEYS).decode()


def value_element(value: Any) -> str:
    return "v:" + orjson.dumps(value).decode()


def has_self(tree: Tree) -> bool:
    return not tree or SELF in tree


def union(a: Tree, b: Tree) -> Tree:
    """Both of one place: a leaf adds the place itself."""
    if not a or not b:
        return with_self(a or b)
    result = dict(a)
    for element, child in b.items():
        result[element] = union(result[element], child) if element in result and element != SELF else child
    return result


def with_self(tree: Tree) -> Tree:
    return tree if has_self(tree) else {SELF: LEAF, **tree}


def difference(a: Tree, b: Tree) -> Tree | None:
    """What is in `a` and not in `b`; None where nothing is left."""
    self_left = has_self(a) and not has_self(b)
    children: Tree = {}
    for element, child in a.items():
        if element == SELF:
            continue
        left = difference(child, b[element]) if element in b else child
        if left is not None:
            children[element] = left
    return _assembled(self_left, children)


def intersection(a: Tree, b: Tree) -> Tree | None:
    children: Tree = {}
    for element, child in a.items():
        if element != SELF and element in b:
            common = intersection(child, b[element])
            if common is not None:
                children[element] = common
    return _assembled(has_self(a) and has_self(b), children)


def paths(tree: Tree, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every member, as its elements from the root."""
    if prefix and has_self(tree):
        yield prefix
    for element, child in tree.items():
        if element != SELF:
            yield from paths(child, (*prefix, element))


def path_text(path: tuple[str, ...]) -> str:
    """`.spec.containers[name="web"].image`, as conflicts name a field."""
    parts = []
    for element in path:
        kind, _, rest = element.partition(":")
        if kind == "f":
            parts.append(f".{rest}")
        elif kind == "k":
            pairs = ",".join(f"{key}={orjson.dumps(value).decode()}" for key, value in orjson.loads(rest).items())
            parts.append(f"[{pairs}]")
        else:
            parts.append(f"[={rest}]")
    return "".join(parts)


def is_tree(value: Any, depth: int = 0) -> bool:
    """Whether a client's fieldsV1 has the form above."""
    if not isinstance(value, dict) or depth > 100:
        return False
    return all((element == SELF and not child) or (element[:2] in ("f:", "k:", "v:", "i:") and is_tree(child, depth + 1)) for element, child in value.items())


def _assembled(self_left: bool, children: Tree) -> Tree | None:
    if not children:
        return LEAF if self_left else None
    return {SELF: LEAF, **children} if self_left else children
