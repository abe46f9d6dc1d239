"""Is this document an object of that kind?  Decoding of request bodies, and the schemas that merging needs.

    decode(PODS, body)            bytes → (object, warnings); raises BadRequest in upstream's words
    check(PODS, obj)              the same for a dict that is already parsed
    field_schema(PODS)            the tree that strategic merge patch and server-side apply walk

Custom resources are `structural_decode`'s.
Each kind is compiled on its first use (a Pod in a few milliseconds), never at import.  Objects come out normalized: quantities and
times in canonical form, nulls gone.  Defaults are `api.defaults`', meaning is `api.validation`'s.
"""

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

from pydantic_core import SchemaValidator, ValidationError

from k8sfromscratch.api import json_body, registry, schema_data
from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.api.schema_compile import compile_validator
from k8sfromscratch.api.schema_node import SchemaNode
from k8sfromscratch.api.schema_wording import Location, decode_error, in_document_order, path

Object = dict[str, Any]
FieldValidation = Literal["Strict", "Warn", "Ignore"]
Kind = Resource | tuple[str, str]
"""A resource, or (apiVersion, kind) for what is no resource: Scale, Eviction, DeleteOptions, TokenRequest, …"""

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
STRICT_ERRORS_MAX = 100
"""More unknown fields than these tell nobody anything; upstream stops at the same number."""


class Checked(NamedTuple):
    """`problems` are pydantic-core's errors; while there are any, `value` is what was given.  `unknown` are the paths that were pruned."""

    value: Any
    unknown: tuple[Location, ...] = ()
    problems: tuple[Mapping[str, Any], ...] = ()


class Schema:
    def __init__(self, root: SchemaNode) -> None:
        self.root = root

    @cached_property
    def _validator(self) -> SchemaValidator:
        return compile_validator(self.root)

    def check(self, value: Any) -> Checked:
        """Types and pruning.  The given value is not changed."""
        try:
            return Checked(self._validator.validate_python(value))
        except ValidationError as error:
            errors = error.errors(include_url=False)
        if any(e["input"] is None for e in errors):
            without = without_nulls(self.root, value)
            if without != value:
                return self.check(without)
        unknown = tuple(in_document_order((e["loc"] for e in errors if e["type"] == "extra_forbidden"), value))
        problems = tuple(e for e in errors if e["type"] != "extra_forbidden")
        if problems:
            return Checked(value, unknown, problems)
        return Checked(self._validator.validate_python(_pruned(value, unknown)), unknown)


def decode(kind: Kind, body: bytes, *, field_validation: FieldValidation = "Warn") -> tuple[Object, list[str]]:
    """A request's body as an object of `kind`, with the warnings to send back.  Raises BadRequest."""
    try:
        value, doubled = json_body.parse(body)
    except BadRequest as error:
        raise BadRequest(f"the object provided is unrecognized (must be of type {_names(kind)[1]}): {error.message}") from None
    return _decoded(kind, value, doubled, field_validation)


def check(kind: Kind, obj: Any, *, field_validation: FieldValidation = "Warn") -> tuple[Object, list[str]]:
    """`decode` for what is parsed already, a patched object for one.  Raises BadRequest."""
    return _decoded(kind, obj, [], field_validation)


def schema_of(kind: Kind) -> Schema:
    """The built-in schema.  Raises KeyError for a kind that is not built in."""
    return _schema(*_names(kind))


def field_schema(kind: Kind) -> SchemaNode:
    return schema_of(kind).root


@cache
def definition(name: str) -> SchemaNode:
    """The node of a packed definition by its full name.  Raises KeyError."""
    return SchemaNode(schema_data.structures()[name], definition, name)


@cache
def _schema(api_version: str, kind: str) -> Schema:
    return Schema(definition(schema_data.definition_names()[api_version, kind]))


def _names(kind: Kind) -> tuple[str, str]:
    return (kind.api_version, kind.kind) if isinstance(kind, Resource) else kind


def _decoded(kind: Kind, value: Any, doubled: list[str], field_validation: FieldValidation) -> tuple[Object, list[str]]:
    api_version, name = _names(kind)
    if not isinstance(value, dict):
        raise BadRequest(f"the object provided is unrecognized (must be of type {name}): couldn't get version/kind; json parse error: not an object")
    check_kind(value, api_version, name)
    used = _schema(api_version, name)
    checked = used.check(value)
    if checked.problems:
        raise _cannot_be_handled(api_version, name, _first_problem(used.root, checked, value))
    strict = [f'unknown field "{path(location)}"' for location in checked.unknown[:STRICT_ERRORS_MAX]]
    strict += [f'duplicate field "{where}"' for where in doubled[: STRICT_ERRORS_MAX - len(strict)]]
    if strict and field_validation == "Strict":
        raise _cannot_be_handled(api_version, name, f"strict decoding error: {', '.join(strict)}")
    obj: Object = {"apiVersion": api_version, "kind": name, **checked.value}
    obj["apiVersion"], obj["kind"] = api_version, name
    return obj, strict if field_validation == "Warn" else []


def check_kind(value: Mapping[str, Any], api_version: str, name: str) -> None:
    """A body may leave out what the path says anyway, but not contradict it.  Raises BadRequest."""
    for field in ("apiVersion", "kind"):
        if not isinstance(value.get(field) or "", str):
            message = f"couldn't get version/kind; json parse error: json: cannot unmarshal into Go struct field .{field} of type string"
            raise BadRequest(f"the object provided is unrecognized (must be of type {name}): {message}")
    given_version, given_kind = value.get("apiVersion") or api_version, value.get("kind") or name
    if given_version != api_version:
        raise BadRequest(f"the API version in the data ({given_version}) does not match the expected API version ({api_version})")
    if given_kind == name:
        return
    version = api_version.rsplit("/", 1)[-1]
    if registry.find_kind(given_version, given_kind) is None:
        raise BadRequest(
            f'{given_kind} in version "{version}" cannot be handled as a {name}: no kind "{given_kind}" is registered for version "{given_version}"'
        )
    raise BadRequest(
        f'{given_kind} in version "{version}" cannot be handled as a {name}: converting ({version}.{given_kind}) to ({version}.{name}): unknown conversion'
    )


def _first_problem(root: SchemaNode, checked: Checked, document: Any) -> str:
    by_location = {tuple(problem["loc"]): problem for problem in reversed(checked.problems)}
    return decode_error(root, by_location[in_document_order(by_location, document)[0]])


def _cannot_be_handled(api_version: str, kind: str, why: str) -> BadRequest:
    return BadRequest(f'{kind} in version "{api_version.rsplit("/", 1)[-1]}" cannot be handled as a {kind}: {why}')


def _pruned(value: Any, unknown: tuple[Location, ...]) -> Any:
    """A copy, along the given paths only, without what they name."""
    by_step: dict[str | int, list[Location]] = {}
    for location in unknown:
        by_step.setdefault(location[0], []).append(location[1:])
    copied = value.copy()
    for step, rests in by_step.items():
        if () in rests:
            del copied[step]
        else:
            copied[step] = _pruned(value[step], tuple(rests))
    return copied


_ZERO: Mapping[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}


def without_nulls(node: SchemaNode | None, value: Any) -> Any:
    """As Go decodes: a null field is an absent one, a null in a list or map the zero value of its type.  Free-form JSON keeps its nulls."""
    if node is None or not (node.properties or node.items or node.additional):
        return value
    if isinstance(value, dict):
        if not node.is_struct:
            return {name: _zero_or(node.additional, child) for name, child in value.items()}
        return {
            name: without_nulls(node.properties.get(name), child) for name, child in value.items() if child is not None or node.properties.get(name) is None
        }
    if isinstance(value, list):
        return [_zero_or(node.items, child) for child in value]
    return value


def _zero_or(node: SchemaNode | None, value: Any) -> Any:
    if value is not None or node is None:
        return without_nulls(node, value)
    if node.type == "array":
        return []
    if node.type == "object":
        return {}
    return "0" if node.format == "quantity" else _ZERO.get(node.type)
