"""JSON values compared and copied as JSON has them: `true` is not 1, and 1 is 1.0."""

from typing import Any

Json = Any


def same(a: Json, b: Json) -> bool:
    """RFC 6902 §4.6.  Python's own `==` takes True for 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict | list) or isinstance(b, dict | list):
        return False
    return bool(a == b)


def copied(value: Json) -> Json:
    """A deep copy: JSON has no cycles and no shared parts, so that this beats copy.deepcopy by far."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def copied_object(obj: dict[str, Json]) -> dict[str, Json]:
    return {key: copied(item) for key, item in obj.items()}
