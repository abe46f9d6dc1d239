"""From a `SchemaNode` to a pydantic-core validator: one pass that type-checks, fills defaults and finds unknown fields.

It decodes as Go decodes into structs: nothing is required, numbers have a width, times and quantities are normalized, null means absent
(`schema` takes nulls out before).  Custom resources, of which every wrong value is told, have an engine of their own: `structural`.

pydantic-core coerces unless told not to: every schema made here is strict.  The few scalars that it has no strict form for
(a number that may be an integer, IntOrString, times) are functions.
"""

from collections.abc import Callable
from typing import Any

from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, core_schema

from k8sfromscratch.api import scalars
from k8sfromscratch.api.schema_node import SchemaNode

SCALAR_ERROR = "scalar"
"""The type of errors whose message is already in upstream's words."""

_MICRO_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"
_BOUNDS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def compile_validator(root: SchemaNode) -> SchemaValidator:
    compiler = _Compiler()
    schema = compiler.schema(root)
    return SchemaValidator(core_schema.definitions_schema(schema, compiler.definitions))


def _scalar(read: Callable[[Any], Any], *wanted: type) -> CoreSchema:
    """A validator from a reader that raises ValueError; `wanted` are the JSON types it takes."""

    def validate(value: Any) -> Any:
        if type(value) not in wanted:
            raise PydanticCustomError("string_type", "")
        try:
            return read(value)
        except ValueError as error:
            raise PydanticCustomError(SCALAR_ERROR, "{why}", {"why": str(error)}) from None

    return core_schema.no_info_plain_validator_function(validate)


def _json_number(value: Any) -> Any:
    if type(value) is not int and type(value) is not float:
        raise PydanticCustomError("float_type", "")
    return value


def _int_or_string(value: Any) -> Any:
    if type(value) is str or (type(value) is int and -(2**31) <= value < 2**31):
        return value
    raise PydanticCustomError("int_or_string", "")


_STRING = core_schema.str_schema(strict=True)
_BOOLEAN = core_schema.bool_schema(strict=True)
_ANY = core_schema.any_schema()
_INT_OR_STRING = core_schema.no_info_plain_validator_function(_int_or_string)
_NUMBER = core_schema.no_info_plain_validator_function(_json_number)
_TIME = _scalar(scalars.time, str)
_MICRO = _scalar(scalars.micro_time, str)
_BASE64 = _scalar(scalars.base64, str)
_QUANTITY = _scalar(scalars.quantity, str, int, float, bool, dict, list)


class _Compiler:
    def __init__(self) -> None:
        self._started: set[str] = set()
        self.definitions: list[CoreSchema] = []

    def schema(self, node: SchemaNode) -> CoreSchema:
        if not node.is_struct or not node.ref:
            return self._inline(node)
        if node.ref not in self._started:
            self._started.add(node.ref)
            self.definitions.append({**self._struct(node), "ref": node.ref})
        return core_schema.definition_reference_schema(node.ref)

    def _inline(self, node: SchemaNode) -> CoreSchema:
        if node.int_or_string:
            return _INT_OR_STRING
        match node.type:
            case "string":
                return self._string(node)
            case "integer":
                lowest, highest = _BOUNDS.get(node.format, _BOUNDS["int64"])
                return core_schema.int_schema(strict=True, ge=lowest, le=highest)
            case "number":
                return _NUMBER
            case "boolean":
                return _BOOLEAN
            case "array":
                return core_schema.list_schema(self.schema(node.items) if node.items else _ANY, strict=True)
            case "object" if node.is_struct:
                return self._struct(node)
            case "object":
                return core_schema.dict_schema(_STRING, self.schema(node.additional) if node.additional else _ANY, strict=True)
            case _:
                return _ANY

    def _struct(self, node: SchemaNode) -> CoreSchema:
        fields = {name: core_schema.typed_dict_field(self.schema(child), required=False) for name, child in node.properties.items()}
        if node.free_form:
            return core_schema.typed_dict_schema(fields, extra_behavior="allow", extras_schema=_ANY, strict=True)
        return core_schema.typed_dict_schema(fields, extra_behavior="forbid", strict=True)

    def _string(self, node: SchemaNode) -> CoreSchema:
        match node.format:
            case "date-time":
                return _MICRO if node.ref == _MICRO_TIME else _TIME
            case "byte":
                return _BASE64
            case "quantity":
                return _QUANTITY
            case _:
                return _STRING
