"""The columns of a custom resource: its name, and what additionalPrinterColumns name by a path.

Source: apiextensions-apiserver's pkg/registry/customresource/tableconvertor.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from k8sfromscratch.api.columns import Column
from k8sfromscratch.api.columns.text import since
from k8sfromscratch.api.jsonpath import JsonPath, compile_path

_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "How long ago the object was created."}
"""What is shown where a definition names nothing."""

Object = dict[str, Any]


class CustomColumns:
    """`described` are additionalPrinterColumns whose paths have been checked."""

    def __init__(self, described: Sequence[Mapping[str, Any]]) -> None:
        described = described or [_AGE]
        self._paths: list[tuple[str, JsonPath]] = [(one["type"], compile_path(one["jsonPath"])) for one in described]
        self.columns: tuple[Column, ...] = (
            Column("Name", "string", "name", "The object's name, unique among its kind and namespace."),
            *(Column(one["name"], one["type"], one.get("format", ""), one.get("description", ""), one.get("priority", 0)) for one in described),
        )

    def cells(self, obj: Object, now: datetime) -> list[Any]:
        return [obj["metadata"]["name"], *(_cell(kind, path.find(obj), now) for kind, path in self._paths)]


def _cell(kind: str, found: Sequence[Any], now: datetime) -> Any:
    """None where there is nothing of that type."""
    value = found[0] if found else None
    match kind, value:
        case _, None:
            return None
        case "string", str():
            return value
        case "string", _:
            return orjson.dumps(value).decode()
        case "boolean", bool():
            return value
        case (("integer" | "number" | "boolean"), bool()):
            return None
        case "integer", int() | float():
            return int(value)
        case "number", int() | float():
            return value
        case "date", str():
            try:
                return since(value, now)
            except (ValueError, TypeError):
                return "<invalid>"
    return None
