"""From a `SchemaNode` to a pydantic-core validator: one pass that type-checks, fills defaults and finds unknown fields.

Two dialects share the engine, for their decoders differ upstream:

    built-in     Go structs: nothing is required while decoding, numbers have a width, times and quantities are normalized,
                 null means absent (`schema_nulls` takes nulls out before)
    structural   a CustomResourceDefinition: required fields, nullable, defaults, bounds and patterns; keywords that need more than
                 one value at a time (allOf, anyOf, oneOf, not, x-kubernetes-validations) are refused

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

_UNSUPPORTED = ("allOf", "anyOf", "oneOf", "not", "x-kubernetes-validations")


class UnsupportedSchema(ValueError):
    """A structural schema uses what this engine does not check."""


def compile_validator(root: SchemaNode, *, structural: bool) -> SchemaValidator:
    """Raises UnsupportedSchema."""
    compiler = _Compiler(structural)
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
    def __init__(self, structural: bool) -> None:
        self._structural = structural
        self._started: set[str] = set()
        self.definitions: list[CoreSchema] = []

    def schema(self, node: SchemaNode) -> CoreSchema:
        if self._structural and node.ref:
            # A built-in definition within a custom resource (its metadata) keeps its own dialect.
            self._structural = False
            try:
                return self.schema(node)
            finally:
                self._structural = True
        if not node.is_struct or not node.ref:
            made = self._inline(node)
        else:
            if node.ref not in self._started:
                self._started.add(node.ref)
                self.definitions.append({**self._struct(node), "ref": node.ref})
            made = core_schema.definition_reference_schema(node.ref)
        return core_schema.nullable_schema(made) if self._structural and node.nullable else made

    def _inline(self, node: SchemaNode) -> CoreSchema:
        if self._structural:
            unsupported = [key for key in _UNSUPPORTED if key in node.raw and not (key in ("allOf", "anyOf") and node.int_or_string)]
            if unsupported:
                raise UnsupportedSchema(f"{unsupported[0]} is not supported in a schema")
        if node.int_or_string:
            return _INT_OR_STRING
        match node.type:
            case "string":
                made = self._string(node)
            case "integer":
                made = self._integer(node)
            case "number":
                made = self._number(node)
            case "boolean":
                made = _BOOLEAN
            case "array":
                made = core_schema.list_schema(
                    self.schema(node.items) if node.items else _ANY, min_length=node.raw.get("minItems"), max_length=node.raw.get("maxItems"), strict=True
                )
            case "object":
                made = self._struct(node) if node.is_struct or node.embedded_resource else self._map(node)
            case _:
                made = _ANY
        return self._one_of_enum(node, made)

    def _map(self, node: SchemaNode) -> CoreSchema:
        if node.additional is None and not node.free_form and self._structural:
            return core_schema.typed_dict_schema({}, extra_behavior="forbid", strict=True)
        return core_schema.dict_schema(
            _STRING,
            self.schema(node.additional) if node.additional else _ANY,
            min_length=node.raw.get("minProperties"),
            max_length=node.raw.get("maxProperties"),
            strict=True,
        )

    def _struct(self, node: SchemaNode) -> CoreSchema:
        fields = {name: self._field(child, self._structural and name in node.required) for name, child in node.properties.items()}
        if node.embedded_resource:
            for name in ("apiVersion", "kind"):
                fields[name] = core_schema.typed_dict_field(_STRING, required=True)
            fields.setdefault("metadata", core_schema.typed_dict_field(core_schema.dict_schema(_STRING, _ANY, strict=True), required=False))
        if node.free_form:
            return core_schema.typed_dict_schema(fields, extra_behavior="allow", extras_schema=_ANY, strict=True)
        return core_schema.typed_dict_schema(fields, extra_behavior="forbid", strict=True)

    def _field(self, node: SchemaNode, required: bool) -> core_schema.TypedDictField:
        made = self.schema(node)
        if self._structural and "default" in node.raw:
            return core_schema.typed_dict_field(core_schema.with_default_schema(made, default=node.raw["default"], validate_default=True), required=False)
        return core_schema.typed_dict_field(made, required=required)

    def _string(self, node: SchemaNode) -> CoreSchema:
        if not self._structural:
            match node.format:
                case "date-time":
                    return _MICRO if node.ref == _MICRO_TIME else _TIME
                case "byte":
                    return _BASE64
                case "quantity":
                    return _QUANTITY
                case _:
                    return _STRING
        return core_schema.str_schema(strict=True, min_length=node.raw.get("minLength"), max_length=node.raw.get("maxLength"), pattern=node.raw.get("pattern"))

    def _integer(self, node: SchemaNode) -> CoreSchema:
        lowest, highest = _BOUNDS.get(node.format, _BOUNDS["int64"])
        if not self._structural:
            return core_schema.int_schema(strict=True, ge=lowest, le=highest)
        return core_schema.int_schema(strict=True, **self._bounds(node, lowest, highest))

    def _number(self, node: SchemaNode) -> CoreSchema:
        if not self._structural or not any(key in node.raw for key in ("minimum", "maximum", "multipleOf")):
            return _NUMBER
        # Integers stay integers, which pydantic-core's float schema would not leave them.
        bounds = self._bounds(node, None, None)
        return core_schema.union_schema([core_schema.int_schema(strict=True, **bounds), core_schema.float_schema(strict=True, **bounds)], mode="left_to_right")

    @staticmethod
    def _bounds(node: SchemaNode, lowest: float | None, highest: float | None) -> dict[str, Any]:
        bounds: dict[str, Any] = {}
        for side, word, exclusive, default in (("g", "minimum", "exclusiveMinimum", lowest), ("l", "maximum", "exclusiveMaximum", highest)):
            bound = node.raw.get(word, default)
            if bound is not None:
                bounds[side + ("t" if node.raw.get(exclusive) else "e")] = bound
        if "multipleOf" in node.raw:
            bounds["multiple_of"] = node.raw["multipleOf"]
        return bounds

    def _one_of_enum(self, node: SchemaNode, made: CoreSchema) -> CoreSchema:
        allowed = node.raw.get("enum")
        if allowed is None:
            return made

        def check(value: Any) -> Any:
            # `1 == True` in Python, not in JSON.
            if not any(type(value) is type(choice) and value == choice for choice in allowed):
                raise PydanticCustomError("enum", "")
            return value

        return core_schema.no_info_after_validator_function(check, made)
