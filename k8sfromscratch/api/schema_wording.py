"""What a failed check is called: the words of Go's JSON decoder, which people search for.

    {"spec": {"containers": "x"}}    json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container

A field's path there has neither indexes nor map keys; unknown fields, which the strict decoder reports, have both.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from k8sfromscratch.api.schema_compile import SCALAR_ERROR
from k8sfromscratch.api.schema_node import SchemaNode

Location = tuple[str | int, ...]

_GO_SCALARS = {"string": "string", "boolean": "bool", "number": "float64"}
_READS_ITSELF = {"quantity", "date-time"}


def path(location: Iterable[str | int]) -> str:
    """`spec.containers[0].image`."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def in_document_order(locations: Iterable[Location], document: Any) -> list[Location]:
    """As the decoder meets them, not as the schema lists its fields."""

    def position(location: Location) -> list[int]:
        order, value = [], document
        for step in location:
            if isinstance(value, Mapping):
                order.append(list(value).index(step) if step in value else len(value))
                value = value.get(step)
            elif isinstance(value, Sequence) and isinstance(step, int):
                order.append(step)
                value = value[step]
        return order

    return sorted(locations, key=position)


def decode_error(root: SchemaNode, error: Mapping[str, Any]) -> str:
    """One of pydantic-core's errors, in the decoder's words."""
    if error["type"] == SCALAR_ERROR:
        return error["msg"]
    node, struct, fields = root, root.go_type, []
    for step in error["loc"]:
        if node.is_struct:
            struct = node.go_type or struct
            fields.append(step)
        child = node.child(step)
        if child is None:
            break
        node = child
    value = error["input"]
    if node.int_or_string:
        return f"json: cannot unmarshal {_json_type(value)} into Go value of type int32"
    if node.format in _READS_ITSELF:
        return f"json: cannot unmarshal {_json_type(value)} into Go value of type string"
    found = _json_type(value)
    if found == "number" and node.type == "integer":
        found = f"number {value}"
    if not fields:
        return f"json: cannot unmarshal {found} into Go value of type {_go_type(node)}"
    return f"json: cannot unmarshal {found} into Go struct field {struct}.{'.'.join(fields)} of type {_go_type(node)}"


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _go_type(node: SchemaNode) -> str:
    if node.is_struct:
        return ".".join(node.ref.split(".")[-2:]) if node.ref else "struct"
    if node.format == "byte":
        return "[]uint8"
    match node.type:
        case "array":
            return f"[]{_go_type(node.items) if node.items else 'interface {}'}"
        case "object":
            return f"map[string]{_go_type(node.additional) if node.additional else 'interface {}'}"
        case "integer":
            return node.format or "int64"
        case kind:
            return _GO_SCALARS.get(kind, "interface {}")
