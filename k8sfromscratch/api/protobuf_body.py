"""Bodies in Kubernetes' protobuf: what typed Go clients send (`kubectl create deployment`), read into the dict that JSON would give.

    "k8s\\0"  Unknown{ 1: TypeMeta{ 1: apiVersion, 2: kind }, 2: the object, 3: its encoding }

Field numbers are in protobuf_fields.txt, a line a message: `NUMBER:JSON NAME:TYPE …`, where a type is a scalar or a message, `[]T` a
list, `{}T` a map with string keys, `*T` a pointer and `T?` a field that JSON omits when it is zero (Go writes those zeros on the wire;
a pointer's zero means zero).  A field without a name is embedded: its message's fields are its parent's own.

Answers are JSON always: those clients take it too.  Source: runtime/generated.proto, and the struct tags of k8s.io/api v0.33.
"""

import base64
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from k8sfromscratch.api.errors import BadRequest

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\0"
# No type of the API nests deeper; a message that does is an attack on the stack.
DEPTH_MAX = 64

_FILE = Path(__file__).parent / "protobuf_fields.txt"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Malformed(Exception):
    pass


def decode(body: bytes) -> dict[str, Any]:
    """The object, with apiVersion and kind.  Raises BadRequest for what is not a message of a known kind."""
    if not body.startswith(MAGIC):
        raise BadRequest("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        envelope = dict(_fields(body[len(MAGIC) :]))
        type_meta = dict(_fields(_bytes(envelope.get(1, b""))))
        api_version, kind = _text(type_meta.get(1, b"")), _text(type_meta.get(2, b""))
        if envelope.get(3):
            raise _Malformed(f"content encoding {_text(envelope[3])!r} is not supported")
        message = _message_of(api_version, kind)
        return {"apiVersion": api_version, "kind": kind, **_message(message, _bytes(envelope.get(2, b"")), 0)}
    except _Malformed as error:
        raise BadRequest(f"the protobuf body cannot be decoded: {error}") from error


def _message_of(api_version: str, kind: str) -> str:
    """`apps/v1`, `Deployment` -> `apps.v1.Deployment`; DeleteOptions and their like belong to every group."""
    group, slash, version = api_version.rpartition("/")
    package = group.split(".", 1)[0] if slash else "core"
    for name in (f"{package}.{version}.{kind}", f"meta.v1.{kind}"):
        if name in _messages():
            return name
    raise _Malformed(f'no kind "{kind}" is known for version "{api_version}"')


# -- the schema


@dataclass(frozen=True, slots=True)
class _Field:
    """`shape` is `one`, `list` or `map`; `keeps_zero` false where JSON would omit a zero."""

    name: str
    type: str
    shape: str = "one"
    keeps_zero: bool = True


@cache
def _messages() -> Mapping[str, str]:
    """Message → its line, read field by field when it is first needed."""
    return dict(line.partition(" ")[::2] for line in _FILE.read_text().splitlines())


@cache
def _fields_of(message: str) -> Mapping[int, _Field]:
    fields: dict[int, _Field] = {}
    for text in _messages()[message].split():
        number, name, kind = text.split(":")
        shape = "list" if kind.startswith("[]") else "map" if kind.startswith("{}") else "one"
        keeps_zero = not kind.endswith("?") and shape == "one"
        fields[int(number)] = _Field(name, kind.removeprefix("[]").removeprefix("{}").removeprefix("*").removesuffix("?"), shape, keeps_zero)
    return fields


# -- values


def _message(message: str, data: bytes, depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        raise _Malformed("nested too deeply")
    schema = _fields_of(message)
    result: dict[str, Any] = {}
    for number, raw in _fields(data):
        field = schema.get(number)
        if field is None:
            continue  # of a release we do not know: dropped, as upstream does
        if field.shape == "map":
            pair = dict(_fields(_bytes(raw)))
            result.setdefault(field.name, {})[_text(pair.get(1, b""))] = _value(field.type, pair.get(2, _ZEROS.get(field.type, b"")), depth)
            continue
        value = _value(field.type, raw, depth)
        if field.shape == "list":
            result.setdefault(field.name, []).append(value)
        elif not field.name:
            result.update(value)
        elif value is not None and (value or field.keeps_zero):
            result[field.name] = value
    return result


def _value(kind: str, raw: "int | bytes", depth: int) -> Any:
    convert = _SCALARS.get(kind)
    if convert is not None:
        return convert(raw)
    return _message(kind, _bytes(raw), depth + 1)


def _text(raw: "int | bytes") -> str:
    try:
        return _bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise _Malformed("a string is not UTF-8") from error


def _bytes(raw: "int | bytes") -> bytes:
    if isinstance(raw, int):
        raise _Malformed("a number where bytes are expected")
    return raw


def _int(raw: "int | bytes") -> int:
    if isinstance(raw, bytes):
        raise _Malformed("bytes where a number is expected")
    return raw - (1 << 64) if raw >= 1 << 63 else raw


def _base64(raw: "int | bytes") -> str:
    return base64.b64encode(_bytes(raw)).decode()


def _double(raw: "int | bytes") -> float:
    return float(struct.unpack("<d", _int(raw).to_bytes(8, "little", signed=True))[0])


def _time(raw: "int | bytes", *, micro: bool = False) -> str | None:
    """An empty Timestamp is Go's zero time, which JSON writes as null."""
    parts = dict(_fields(_bytes(raw)))
    if not parts:
        return None
    try:
        moment = _EPOCH + timedelta(seconds=_int(parts.get(1, 0)), microseconds=_int(parts.get(2, 0)) // 1000)
    except OverflowError as error:
        raise _Malformed("a time out of range") from error
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _quantity(raw: "int | bytes") -> str:
    return _text(dict(_fields(_bytes(raw))).get(1, b"")) or "0"


def _int_or_string(raw: "int | bytes") -> int | str:
    parts = dict(_fields(_bytes(raw)))
    return _text(parts.get(3, b"")) if parts.get(1) == 1 else _int(parts.get(2, 0))


def _strings(raw: "int | bytes") -> list[str]:
    return [_text(value) for number, value in _fields(_bytes(raw)) if number == 1]


def _json(raw: "int | bytes") -> Any:
    """RawExtension and FieldsV1: JSON inside."""
    text = dict(_fields(_bytes(raw))).get(1, b"")
    if not text:
        return None
    try:
        return orjson.loads(_bytes(text))
    except orjson.JSONDecodeError as error:
        raise _Malformed(f"an embedded object is not JSON: {error}") from error


def _duration(raw: "int | bytes") -> str:
    """In Go's text form; the API's own types use it nowhere but in configuration."""
    return f"{_int(dict(_fields(_bytes(raw))).get(1, 0)) / 1e9:g}s"


_SCALARS: Mapping[str, Callable[["int | bytes"], Any]] = {
    "string": _text,
    "int": _int,
    "bool": lambda raw: _int(raw) != 0,
    "bytes": _base64,
    "double": _double,
    "Time": _time,
    "MicroTime": lambda raw: _time(raw, micro=True),
    "Duration": _duration,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "Strings": _strings,
    "RawExtension": _json,
    "FieldsV1": _json,
}
_ZEROS: Mapping[str, "int | bytes"] = {"int": 0, "bool": 0}


# -- the wire


def _fields(data: bytes) -> Iterator[tuple[int, "int | bytes"]]:
    """(field number, value) in the message's order: an int of wire types 0, 1 and 5, bytes of wire type 2."""
    position, size = 0, len(data)
    while position < size:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == 2:
            length, position = _varint(data, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise _Malformed(f"wire type {wire} is not supported")
        if number == 0 or position + length > size:
            raise _Malformed("the message ends in the middle of a field")
        chunk = data[position : position + length]
        position += length
        yield number, chunk if wire == 2 else int.from_bytes(chunk, "little")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise _Malformed("the message ends in the middle of a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
