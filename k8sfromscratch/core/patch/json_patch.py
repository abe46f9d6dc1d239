"""JSON patch, RFC 6902, over JSON pointers, RFC 6901.

    [{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "replace", "path": "/spec/replicas", "value": 2}]

A patch that is no array is a 400; an operation that is none or does not fit the object, a failed `test` included, is a 422, as upstream has it.
"""

import re
from typing import Any

from k8sfromscratch.api.errors import BadRequest, Invalid, RequestEntityTooLarge
from k8sfromscratch.core.patch.values import copied, same

# Upstream's bound: a patch may copy what it copied before, and so grow the object exponentially.
OPERATIONS_MAX = 10_000
COPIED_VALUES_MAX = 200_000

_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")


class _Misfit(Exception):
    """The operation is none, or does not fit the document."""


def apply_json_patch(obj: dict[str, Any], patch: Any) -> Any:
    """The patched copy.  Raises BadRequest (malformed), Invalid (does not fit), RequestEntityTooLarge."""
    if not isinstance(patch, list):
        raise BadRequest("error decoding patch: a JSON patch must be an array of operations")
    if len(patch) > OPERATIONS_MAX:
        raise RequestEntityTooLarge(f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(patch)}")
    document: Any = copied(obj)
    copied_values = 0
    for operation in patch:
        op = ""
        try:
            op, path, source, has_value, value = _decode(operation)
            if op in ("copy", "move"):
                value = _get(document, source)
                if op == "copy":
                    copied_values += _size(value)
                    if copied_values > COPIED_VALUES_MAX:
                        raise RequestEntityTooLarge("the copy operations of this JSON patch make too large an object")
                elif path[: len(source)] == source and path != source:
                    raise _Misfit("a value cannot be moved into itself")
                else:
                    document = _remove(document, source)
            elif op != "remove" and not has_value:
                raise _Misfit("it needs a value")
            if op == "test":
                _test(document, path, value)
            elif op == "remove":
                document = _remove(document, path)
            elif op == "replace":
                _get(document, path)
                document = _put(document, path, copied(value), replace=True)
            else:
                document = _put(document, path, copied(value), replace=False)
        except _Misfit as misfit:
            raise Invalid(
                "the server rejected our request due to an error in our request",
                details={"causes": [{"reason": "UnexpectedServerResponse", "message": f"{op or 'an'} operation does not apply: {misfit}"}]},
            ) from misfit
    return document


def _decode(operation: Any) -> tuple[str, tuple[str, ...], tuple[str, ...], bool, Any]:
    """(op, path, from, whether there is a value, value)"""
    if not isinstance(operation, dict):
        raise _Misfit("it is not an object")
    op = operation.get("op")
    if op not in ("add", "remove", "replace", "move", "copy", "test"):
        raise _Misfit(f"there is no operation {op!r}")
    source = _pointer(operation.get("from")) if op in ("move", "copy") else ()
    return op, _pointer(operation.get("path")), source, "value" in operation, operation.get("value")


def _pointer(text: Any) -> tuple[str, ...]:
    """`/a~1b/0` -> ("a/b", "0"); "" -> ()"""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _Misfit(f"{text!r} is not a JSON pointer")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])


def _get(document: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        document = _child(document, part)
    return document


def _child(container: Any, part: str) -> Any:
    if isinstance(container, dict):
        if part not in container:
            raise _Misfit(f"there is no {part!r}")
        return container[part]
    if isinstance(container, list):
        return container[_index(container, part, len(container) - 1)]
    raise _Misfit(f"{part!r} is neither in an object nor in an array")


def _index(container: list[Any], part: str, last: int) -> int:
    if _INDEX.fullmatch(part) is None or int(part) > last:
        raise _Misfit(f"{part!r} is not an index of an array of {len(container)}")
    return int(part)


def _put(document: Any, path: tuple[str, ...], value: Any, *, replace: bool) -> Any:
    if not path:
        return value
    container = _get(document, path[:-1])
    part = path[-1]
    if isinstance(container, dict):
        container[part] = value
    elif isinstance(container, list):
        if replace:
            container[_index(container, part, len(container) - 1)] = value
        else:
            container.insert(len(container) if part == "-" else _index(container, part, len(container)), value)
    else:
        raise _Misfit(f"{part!r} is neither in an object nor in an array")
    return document


def _remove(document: Any, path: tuple[str, ...]) -> Any:
    if not path:
        return None
    container = _get(document, path[:-1])
    _child(container, path[-1])
    if isinstance(container, dict):
        del container[path[-1]]
    else:
        del container[int(path[-1])]
    return document


def _test(document: Any, path: tuple[str, ...], value: Any) -> None:
    try:
        found = _get(document, path)
    except _Misfit:
        if value is None:
            return  # as the library behind upstream has it: what is absent equals null
        raise
    if not same(found, value):
        raise _Misfit("the value tested for is not there")


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(_size(item) for item in value.values())
    if isinstance(value, list):
        return 1 + sum(_size(item) for item in value)
    return 1
