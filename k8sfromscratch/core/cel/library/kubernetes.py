"""Kubernetes' quantities, semantic versions and named formats.

quantity('1Gi').isGreaterThan(quantity('500Mi'))
semver('1.2.3').compareTo(semver('1.3.0')) == -1
!format.dns1123Label().validate('my-name').hasValue()
"""

import base64
import binascii
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from k8sfromscratch.api import names
from k8sfromscratch.api.quantity import format_quantity, parse_quantity
from k8sfromscratch.core.cel.errors import CelEvaluationError
from k8sfromscratch.core.cel.library.network import parse_url, parses
from k8sfromscratch.core.cel.overload import Overload, traversal
from k8sfromscratch.core.cel.types import BOOL, DOUBLE, INT, NAMED_FORMAT, QUANTITY, SEMVER, STRING, list_of, optional_of
from k8sfromscratch.core.cel.values import ABSENT, INT_MAX, INT_MIN, Opaque, Optional, parse_timestamp


@dataclass(frozen=True, slots=True)
class Quantity(Opaque):
    amount: Decimal
    cel_type = QUANTITY

    def __str__(self) -> str:
        return format_quantity(self.amount)


@dataclass(frozen=True, slots=True)
class Semver(Opaque):
    numbers: tuple[int, int, int]
    prerelease: tuple[str, ...]
    build: str = ""
    cel_type = SEMVER

    @property
    def precedence(self) -> tuple[Any, ...]:
        """Semantic Versioning §11: a pre-release comes before its release, numbers before words, build metadata does not count."""
        parts = tuple((0, int(each), "") if each.isdigit() else (1, 0, each) for each in self.prerelease)
        return (*self.numbers, not self.prerelease, parts)

    def __str__(self) -> str:
        text = ".".join(map(str, self.numbers))
        return text + ("-" + ".".join(self.prerelease) if self.prerelease else "") + ("+" + self.build if self.build else "")


@dataclass(frozen=True, slots=True)
class NamedFormat(Opaque):
    name: str
    check: Callable[[str], list[str]]
    cel_type = NAMED_FORMAT

    def __str__(self) -> str:
        return self.name


def _quantity(text: str) -> Quantity:
    try:
        return Quantity(parse_quantity(text))
    except ValueError as error:
        raise CelEvaluationError(str(error)) from None


def _as_integer(quantity: Quantity) -> int:
    if not _is_integer(quantity):
        raise CelEvaluationError("cannot convert value to integer")
    return int(quantity.amount)


def _is_integer(quantity: Quantity) -> bool:
    return quantity.amount == quantity.amount.to_integral_value() and INT_MIN <= quantity.amount <= INT_MAX


def _order(a: Any, b: Any) -> int:
    return int(a > b) - int(a < b)


def _amount(value: Quantity | int) -> Decimal:
    return value.amount if isinstance(value, Quantity) else Decimal(value)


_NUMBER = r"(0|[1-9][0-9]{0,17})"
_IDENTIFIER = r"(?:0|[1-9][0-9]{0,17}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?")
_SEMVER_LENGTH_MAX = 256


def _semver(text: str, normalize: bool = False) -> Semver:
    """`normalize`: a leading v, missing minor and patch and leading zeros are put right first."""
    shown = text
    if normalize:
        text = _normalized(text)
    found = _SEMVER.fullmatch(text) if len(text) <= _SEMVER_LENGTH_MAX else None
    if found is None:
        raise CelEvaluationError(f'semver parse error: "{shown}" is not a semantic version')
    return Semver((int(found[1]), int(found[2]), int(found[3])), tuple(found[4].split(".")) if found[4] else (), found[5] or "")


def _normalized(text: str) -> str:
    core = re.match(r"v?([0-9]*(?:\.[0-9]*){0,2})", text[:_SEMVER_LENGTH_MAX])
    assert core is not None
    parts = [part.lstrip("0") or "0" if part else part for part in core[1].split(".")]
    parts += ["0"] * (3 - len(parts))
    return ".".join(parts) + text[core.end() :]


def _date(text: str) -> list[str]:
    return [] if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) and parses(parse_timestamp, text) else ["invalid date"]


def _datetime(text: str) -> list[str]:
    return [] if len(text) > 10 and parses(parse_timestamp, text) else ["invalid datetime"]


def _byte(text: str) -> list[str]:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ["invalid base64"]
    return []


def _uuid(text: str) -> list[str]:
    try:
        uuid.UUID(text)
    except ValueError:
        return ["does not match the UUID format"]
    return []


def _uri(text: str) -> list[str]:
    return [] if parses(parse_url, text) else ["invalid URI"]


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """A name to which something is generated on: a dash at its end is no fault."""
    return lambda text: check(text[:-1] + "a" if text.endswith("-") else text)


FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": names.dns_label,
    "dns1123Subdomain": names.dns_subdomain,
    "dns1035Label": names.dns_1035_label,
    "dns1123LabelPrefix": _prefix(names.dns_label),
    "dns1123SubdomainPrefix": _prefix(names.dns_subdomain),
    "dns1035LabelPrefix": _prefix(names.dns_1035_label),
    "qualifiedName": names.qualified_name,
    "labelValue": names.label_value,
    "uri": _uri,
    "uuid": _uuid,
    "byte": _byte,
    "date": _date,
    "datetime": _datetime,
}


def _validate(format_: NamedFormat, text: str) -> Optional:
    found = format_.check(text)
    return Optional(found) if found else ABSENT


def _named(name: str) -> Optional:
    check = FORMATS.get(name)
    return Optional(NamedFormat(name, check)) if check is not None else ABSENT


def _formats() -> list[Overload]:
    return [Overload(f"format.{name}", (), NAMED_FORMAT, lambda value=NamedFormat(name, check): value) for name, check in FORMATS.items()]


def _quantities() -> list[Overload]:
    found: list[Overload] = []
    for other in (QUANTITY, INT):
        found += [
            Overload("add", (QUANTITY, other), QUANTITY, lambda a, b: Quantity(a.amount + _amount(b)), member=True),
            Overload("sub", (QUANTITY, other), QUANTITY, lambda a, b: Quantity(a.amount - _amount(b)), member=True),
        ]
    return found


def _orders() -> list[Overload]:
    found: list[Overload] = []
    keys: tuple[tuple[Any, Callable[[Any], Any]], ...] = ((QUANTITY, lambda value: value.amount), (SEMVER, lambda value: value.precedence))
    for type_, key in keys:
        found += [
            Overload("isGreaterThan", (type_, type_), BOOL, lambda a, b, key=key: key(a) > key(b), member=True),
            Overload("isLessThan", (type_, type_), BOOL, lambda a, b, key=key: key(a) < key(b), member=True),
            Overload("compareTo", (type_, type_), INT, lambda a, b, key=key: _order(key(a), key(b)), member=True),
        ]
    return found


OVERLOADS: tuple[Overload, ...] = (
    Overload("quantity", (STRING,), QUANTITY, _quantity, cost=traversal),
    Overload("isQuantity", (STRING,), BOOL, lambda text: parses(_quantity, text), cost=traversal),
    Overload("isInteger", (QUANTITY,), BOOL, _is_integer, member=True),
    Overload("asInteger", (QUANTITY,), INT, _as_integer, member=True),
    Overload("asApproximateFloat", (QUANTITY,), DOUBLE, lambda quantity: float(quantity.amount), member=True),
    Overload("sign", (QUANTITY,), INT, lambda quantity: _order(quantity.amount, 0), member=True),
    *_quantities(),
    *_orders(),
    Overload("semver", (STRING,), SEMVER, _semver, cost=traversal),
    Overload("semver", (STRING, BOOL), SEMVER, _semver, cost=traversal),
    Overload("isSemver", (STRING,), BOOL, lambda text: parses(_semver, text), cost=traversal),
    Overload("isSemver", (STRING, BOOL), BOOL, lambda text, normalize: parses(lambda each: _semver(each, normalize), text), cost=traversal),
    Overload("major", (SEMVER,), INT, lambda version: version.numbers[0], member=True),
    Overload("minor", (SEMVER,), INT, lambda version: version.numbers[1], member=True),
    Overload("patch", (SEMVER,), INT, lambda version: version.numbers[2], member=True),
    *_formats(),
    Overload("format.named", (STRING,), optional_of(NAMED_FORMAT), _named),
    Overload("validate", (NAMED_FORMAT, STRING), optional_of(list_of(STRING)), _validate, member=True, cost=traversal),
)
