"""Patterns and formats of strings in structural schemas.

Patterns come from whoever may write a CustomResourceDefinition and meet every string that anyone sends: they are matched in linear time, by the
regular expressions of pydantic-core (Rust's, whose syntax is that of Go but for rarities).

Source of the formats: apiextensions' supported formats, kube-openapi's strfmt.  A format that is not named here is not checked, as upstream.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from urllib.parse import urlsplit

from pydantic_core import SchemaError, SchemaValidator, core_schema

from k8sfromscratch.api import scalars


class BadPattern(ValueError):
    """Not a regular expression."""


class Pattern:
    """Raises BadPattern."""

    def __init__(self, text: str) -> None:
        self._validator = _compiled(text)

    def found_in(self, value: str) -> bool:
        return self._validator.isinstance_python(value)


@lru_cache(maxsize=1024)
def _compiled(text: str) -> SchemaValidator:
    try:
        return SchemaValidator(core_schema.str_schema(strict=True, pattern=text, regex_engine="rust-regex"))
    except SchemaError as error:
        raise BadPattern(str(error).strip().splitlines()[-1].strip()) from None


def is_of_format(form: str, value: str) -> bool:
    """True for a format that is not known."""
    check = _FORMATS.get(form.replace("-", ""))
    return check is None or check(value)


def _reads(read: Callable[[str], object]) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            read(value)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda value: compiled.fullmatch(value) is not None


def _uri(value: str) -> None:
    if not urlsplit(value).scheme:
        raise ValueError("no scheme")


def _date(value: str) -> None:
    if len(value) != len("2006-01-02"):
        raise ValueError("not a date")
    date.fromisoformat(value)


_HEX = "[0-9a-fA-F]"
_LABEL = "[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
_DURATION = r"[-+]?((\d+(\.\d*)?|\.\d+)\s?(ns|nano|us|µs|μs|micro|ms|milli|s|sec|m|min|h|hr|hour|d|day|w|week|wk)\s*)+|0"

_FORMATS: Mapping[str, Callable[[str], bool]] = {
    "datetime": _reads(scalars.micro_time),
    "date": _reads(_date),
    "duration": _matches(_DURATION),
    "byte": _reads(lambda value: base64.b64decode(value, validate=True)),
    "uri": _reads(_uri),
    "email": _matches(r"[^@\s<>]+@[^@\s<>]+"),
    "hostname": _matches(rf"{_LABEL}(\.{_LABEL})*\.?"),
    "ipv4": _reads(ipaddress.IPv4Address),
    "ipv6": _reads(ipaddress.IPv6Address),
    "cidr": _reads(lambda value: ipaddress.ip_interface(value) if "/" in value else int("")),
    "mac": _matches(rf"{_HEX}{{2}}([:-]{_HEX}{{2}}){{5}}"),
    "uuid": _matches(rf"{_HEX}{{8}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{12}}"),
    "uuid3": _matches(rf"{_HEX}{{8}}-?{_HEX}{{4}}-?3{_HEX}{{3}}-?{_HEX}{{4}}-?{_HEX}{{12}}"),
    "uuid4": _matches(rf"{_HEX}{{8}}-?{_HEX}{{4}}-?4{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}"),
    "uuid5": _matches(rf"{_HEX}{{8}}-?{_HEX}{{4}}-?5{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}"),
    "bsonobjectid": _matches(rf"{_HEX}{{24}}"),
    "hexcolor": _matches(rf"#?({_HEX}{{3}}|{_HEX}{{6}})"),
}
