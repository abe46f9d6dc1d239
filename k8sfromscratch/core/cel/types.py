"""The static types of expressions, and which type may stand where another is wanted.

A type is a kind with parameters: `list(int)`, `map(string, dyn)`, `optional_type(bool)`; objects have fields, opaque types (quantities, URLs,
the caller's own) only a name.  `dyn` fits everywhere and everything fits it; what it holds is then checked at evaluation.
Type parameters (`param`) occur in function signatures only and are bound while a call is checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """A property: `name` as in JSON, reached under its escaped name in expressions."""

    name: str
    type: "CelType"


@dataclass(frozen=True, slots=True)
class CelType:
    kind: str
    params: tuple["CelType", ...] = ()
    name: str = ""
    fields: Mapping[str, Field] = field(default_factory=dict, compare=False, repr=False)
    nullable: bool = field(default=False, compare=False)
    """Comparison with null is allowed."""
    list_type: str = field(default="atomic", compare=False)
    """`set` and `map` lists compare without order and join by `+` as sets, as their merge does."""
    map_keys: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        if self.kind in ("list", "map", "optional_type", "type"):
            return f"{self.kind}({', '.join(map(str, self.params))})" if self.params else self.kind
        return self.name or _DISPLAY.get(self.kind, self.kind)


_DISPLAY = {"null": "null_type", "timestamp": "timestamp", "duration": "duration"}

BOOL = CelType("bool")
INT = CelType("int")
UINT = CelType("uint")
DOUBLE = CelType("double")
STRING = CelType("string")
BYTES = CelType("bytes")
NULL = CelType("null")
TIMESTAMP = CelType("timestamp")
DURATION = CelType("duration")
DYN = CelType("dyn")
TYPE = CelType("type")
A = CelType("param", name="A")
B = CelType("param", name="B")


def list_of(element: CelType) -> CelType:
    return CelType("list", (element,))


def map_of(key: CelType, value: CelType) -> CelType:
    return CelType("map", (key, value))


def optional_of(value: CelType) -> CelType:
    return CelType("optional_type", (value,))


def object_of(name: str, properties: Mapping[str, CelType]) -> CelType:
    """An object whose properties all have names that need no escaping."""
    return CelType("object", name=name, fields={key: Field(key, value) for key, value in properties.items()})


def opaque(name: str) -> CelType:
    """A type of which only its functions know anything: `kubernetes.Quantity`, or a caller's host object."""
    return CelType("opaque", name=name)


QUANTITY = opaque("kubernetes.Quantity")
URL = opaque("kubernetes.URL")
IP = opaque("net.IP")
CIDR = opaque("net.CIDR")
SEMVER = opaque("kubernetes.Semver")
NAMED_FORMAT = opaque("kubernetes.NamedFormat")

NAMED_TYPES: dict[str, CelType] = {
    "bool": BOOL,
    "int": INT,
    "uint": UINT,
    "double": DOUBLE,
    "string": STRING,
    "bytes": BYTES,
    "null_type": NULL,
    "type": TYPE,
    "list": CelType("list"),
    "map": CelType("map"),
    "optional_type": CelType("optional_type"),
    "google.protobuf.Timestamp": TIMESTAMP,
    "google.protobuf.Duration": DURATION,
    **{each.name: each for each in (QUANTITY, URL, IP, CIDR, SEMVER, NAMED_FORMAT)},
}
"""Types that expressions may name: `type(x) == int`."""


def type_name(type_: CelType) -> str:
    """How `string(type(x))` and the results of programs spell it."""
    return {"timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration", "null": "null_type"}.get(type_.kind, type_.name or type_.kind)


Bindings = dict[str, CelType]


def assignable(given: CelType, wanted: CelType, bound: Bindings) -> bool:
    """May a value of `given` stand where `wanted` is asked for?  Parameters of `wanted` are bound on the way, widened to dyn never."""
    if wanted.kind == "param":
        earlier = bound.get(wanted.name)
        if earlier is None or (earlier.kind == "dyn" and given.kind != "dyn"):
            bound[wanted.name] = given
            return True
        if assignable(given, earlier, bound):
            if _has_dyn(earlier) and not _has_dyn(given):
                bound[wanted.name] = given
            return True
        return assignable(earlier, given, bound)
    if given.kind == "dyn" or wanted.kind == "dyn":
        return True
    if given.kind == "null":
        return wanted.kind == "null" or wanted.nullable or wanted.kind in ("object", "timestamp", "duration", "opaque")
    if wanted.kind == "null":
        return given.nullable or given.kind in ("object", "timestamp", "duration", "opaque")
    if given.kind != wanted.kind:
        return False
    if given.kind == "type":
        return True
    if given.kind in ("object", "opaque"):
        return given.name == wanted.name
    return all(assignable(one, other, bound) for one, other in zip(given.params, wanted.params, strict=False))


def _has_dyn(type_: CelType) -> bool:
    return type_.kind == "dyn" or any(map(_has_dyn, type_.params))


def substitute(type_: CelType, bound: Bindings) -> CelType:
    """The type with its parameters filled in; an unbound one is dyn."""
    if type_.kind == "param":
        return bound.get(type_.name, DYN)
    if not type_.params:
        return type_
    return CelType(type_.kind, tuple(substitute(each, bound) for each in type_.params), type_.name, nullable=type_.nullable)


def joined(types: list[CelType]) -> CelType:
    """The one type of several values, dyn where they differ."""
    if not types:
        return DYN
    first = types[0]
    return first if all(each == first for each in types) else DYN


Value = Any
"""See `values`: plain Python, with classes of its own for what JSON has not."""
