"""A request's JSON: parsed fast, and strictly where it matters.

orjson refuses NaN, numbers beyond a double, bad UTF-8 and deep nesting, but keeps the last of two equal keys in silence.  Two equal
keys shrink when written back; so a body that is byte for byte what orjson would write has none.  Only other bodies (spaces, escapes,
doubled keys) are read a second time, by a parser that shows every pair.
"""

import json
from typing import Any

import orjson

from k8sfromscratch.api.errors import BadRequest

DEPTH_MAX = 254
"""Levels of nesting: what can be written back, which is orjson's own bound."""


def parse(body: bytes) -> tuple[Any, list[str]]:
    """The value, and the paths of doubled keys (`spec.replicas`).  Raises BadRequest for what is not JSON."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"couldn't get version/kind; json parse error: {error}") from None
    try:
        canonical = orjson.dumps(value) == body
    except orjson.JSONEncodeError:
        raise BadRequest(f"json: exceeded max depth of {DEPTH_MAX}") from None
    return value, [] if canonical else _doubled(body)


def _doubled(body: bytes) -> list[str]:
    seen_twice: dict[int, list[str]] = {}
    kept: list[dict[str, Any]] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            keys = [key for key, _ in pairs]
            seen_twice[id(made)] = [key for key in made if keys.count(key) > 1]
            kept.append(made)
        return made

    root = json.loads(body, object_pairs_hook=collect)
    return _paths(root, "", seen_twice) if kept else []


def _paths(value: Any, path: str, seen_twice: dict[int, list[str]]) -> list[str]:
    found: list[str] = []
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        found += [prefix + key for key in seen_twice.get(id(value), ())]
        for key, child in value.items():
            found += _paths(child, prefix + key, seen_twice)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            found += _paths(child, f"{path}[{index}]", seen_twice)
    return found
