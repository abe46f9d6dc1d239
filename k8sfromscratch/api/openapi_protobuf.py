"""OpenAPI v2 in protobuf (gnostic's openapi.v2.Document): the only form in which kubectl before 1.29 reads `/openapi/v2`.

Written from the JSON document, message by message; field numbers are OpenAPIv2.proto's.  Only what our documents contain is written.
"""

from collections.abc import Mapping
from typing import Any

import orjson

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""What clients ask for."""
CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What they are answered: the name they ask by is no valid media type, and they refuse to parse it."""

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}


def encode(document: Mapping[str, Any]) -> bytes:
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    paths = b"".join(_message(2, _text(1, path) + _message(2, _path_item(item))) for path, item in document["paths"].items())
    return b"".join((_text(1, document["swagger"]), _message(2, info), _message(8, paths), _message(9, _named_schemas(document["definitions"]))))


def _path_item(item: Mapping[str, Any]) -> bytes:
    operations = b"".join(_message(_METHODS[method], _operation(of)) for method, of in item.items() if method in _METHODS)
    return operations + b"".join(_message(9, _parameter(parameter)) for parameter in item.get("parameters", ()))


def _operation(operation: Mapping[str, Any]) -> bytes:
    return b"".join(
        (
            *(_text(1, tag) for tag in operation.get("tags", ())),
            _text(5, operation["operationId"]),
            *(_text(7, kind) for kind in operation.get("consumes", ())),
            *(_message(8, _parameter(parameter)) for parameter in operation.get("parameters", ())),
            _message(9, b"".join(_message(1, _text(1, code) + _message(2, _response(of))) for code, of in operation["responses"].items())),
            _extensions(13, operation),
        )
    )


def _response(response: Mapping[str, Any]) -> bytes:
    schema = response.get("schema")
    content = _text(1, response["description"]) + (_message(2, _message(1, _schema(schema))) if schema else b"")
    return _message(1, content)


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    """A ParametersItem.  Query and path parameters have messages of their own, whose numbers differ behind `name`."""
    required, where, name = _flag(1, parameter.get("required")), parameter["in"], parameter["name"]
    if where == "body":
        body = _text(2, name) + _text(3, where) + _flag(4, parameter.get("required")) + _message(5, _schema(parameter["schema"]))
        return _message(1, _message(1, body))
    type_number, unique_number, sub_schema = (6, 20, 3) if where == "query" else (5, 19, 4)
    content = required + _text(2, where) + _text(4, name) + _text(type_number, parameter["type"]) + _flag(unique_number, parameter.get("uniqueItems"))
    return _message(1, _message(2, _message(sub_schema, content)))


def _named_schemas(schemas: Mapping[str, Any]) -> bytes:
    return b"".join(_message(1, _text(1, name) + _message(2, _schema(schema))) for name, schema in schemas.items())


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = [
        _text(1, schema.get("$ref", "")),
        _text(2, schema.get("format", "")),
        _text(4, schema.get("description", "")),
        *(_text(19, name) for name in schema.get("required", ())),
        *(_message(20, _any(value)) for value in schema.get("enum", ())),
    ]
    if "default" in schema:
        parts.append(_message(5, _any(schema["default"])))
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        parts.append(_message(21, _message(1, _schema(additional))))
    if "type" in schema:
        parts.append(_message(22, _text(1, schema["type"])))
    if "items" in schema:
        parts.append(_message(23, _message(1, _schema(schema["items"]))))
    if "properties" in schema:
        parts.append(_message(25, _named_schemas(schema["properties"])))
    parts.append(_extensions(31, schema))
    return b"".join(parts)


def _extensions(number: int, of: Mapping[str, Any]) -> bytes:
    """What begins with `x-`: a value's text, as YAML, of which JSON is a part."""
    return b"".join(_message(number, _text(1, name) + _message(2, _any(value))) for name, value in of.items() if name.startswith("x-"))


def _any(value: Any) -> bytes:
    return _bytes(2, orjson.dumps(value))


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode()) if text else b""


def _message(number: int, content: bytes) -> bytes:
    return _bytes(number, content)


def _flag(number: int, value: Any) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
