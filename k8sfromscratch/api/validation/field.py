"""How a wrong field is reported: the kinds of causes, in upstream's wording.

    invalid("spec.replicas", -1, "must be …")    Cause(FieldValueInvalid, "Invalid value: -1: must be …", "spec.replicas")

Paths are plain text, built with f-strings.  Source: apimachinery's util/validation/field.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from k8sfromscratch.api.errors import Cause

Object = dict[str, Any]
Check = Callable[[str], list[str]]
"""One of `api.names`: a value's faults as messages."""

IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"


def required(path: str, detail: str = "") -> Cause:
    return _cause("FieldValueRequired", "Required value", path, detail)


def invalid(path: str, value: Any, detail: str) -> Cause:
    return _cause("FieldValueInvalid", f"Invalid value: {_shown(value)}", path, detail)


def duplicate(path: str, value: Any) -> Cause:
    return _cause("FieldValueDuplicate", f"Duplicate value: {_shown(value)}", path)


def not_found(path: str, value: Any) -> Cause:
    return _cause("FieldValueNotFound", f"Not found: {_shown(value)}", path)


def not_supported(path: str, value: Any, supported: Iterable[str]) -> Cause:
    listed = ", ".join(json.dumps(one) for one in supported)
    return _cause("FieldValueNotSupported", f"Unsupported value: {_shown(value)}", path, f"supported values: {listed}")


def forbidden(path: str, detail: str) -> Cause:
    return _cause("FieldValueForbidden", "Forbidden", path, detail)


def too_long(path: str, bytes_max: int) -> Cause:
    return _cause("FieldValueTooLong", "Too long", path, f"may not be more than {bytes_max} byte{'' if bytes_max == 1 else 's'}")


def too_many(path: str, count: int, count_max: int) -> Cause:
    return _cause("FieldValueTooMany", f"Too many: {count}", path, f"must have at most {count_max} item{'' if count_max == 1 else 's'}")


def _cause(reason: str, what: str, path: str, detail: str = "") -> Cause:
    return Cause(reason, f"{what}: {detail}" if detail else what, path)


def _shown(value: Any) -> str:
    if value is None:
        return '"null"'
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# -- checks that many kinds share


def checked(path: str, value: str, check: Check) -> list[Cause]:
    return [invalid(path, value, message) for message in check(value)]


def required_and_checked(path: str, value: str | None, check: Check) -> list[Cause]:
    return checked(path, value, check) if value else [required(path)]


def one_of(path: str, value: str | None, supported: Iterable[str]) -> list[Cause]:
    """An enum that defaulting should have filled in: absent is `Required`."""
    if not value:
        return [required(path)]
    return optional_one_of(path, value, supported)


def optional_one_of(path: str, value: str | None, supported: Iterable[str]) -> list[Cause]:
    allowed = tuple(supported)
    return [] if value is None or value in allowed else [not_supported(path, value, allowed)]


def not_negative(of: Mapping[str, Any], path: str, *keys: str) -> list[Cause]:
    return [invalid(f"{path}.{key}", of[key], NOT_NEGATIVE) for key in keys if of.get(key, 0) < 0]


def immutable(path: str, new: Any, old: Any) -> list[Cause]:
    return [] if new == old else [invalid(path, new, IMMUTABLE)]


def indexed(of: Mapping[str, Any], key: str, path: str) -> Iterable[tuple[str, Object]]:
    """(path, object) for each object of the list `key`."""
    prefix = f"{path}.{key}" if path else key
    for index, one in enumerate(of.get(key) or ()):
        yield f"{prefix}[{index}]", one


def duplicates(found: Iterable[tuple[str, Any]]) -> list[Cause]:
    """Causes for every (path, value) whose value came before; empty values do not count."""
    seen: set[Any] = set()
    causes = []
    for path, value in found:
        if value in seen:
            causes.append(duplicate(path, value))
        elif value:
            seen.add(value)
    return causes
