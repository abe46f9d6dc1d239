"""Command lines as pydantic models: each field is a flag, `lease_duration` is `--lease-duration`.

As upstream's (pflag): `--name value` or `--name=value`; a boolean alone means true and takes a value only behind `=`; a list may be repeated
or separated by commas; `key=value` pairs likewise.  Imports nothing that runs: pyinfra's roles read these models under gevent.
"""

import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?(?:h|ms|m|s|us|µs|ns))+")


def duration_s(value: object) -> object:
    """Go's form (`1m30s`) as seconds; a bare number is seconds already.  Raises ValueError."""
    if not isinstance(value, str) or re.fullmatch(r"\d+(\.\d*)?", value):
        return value
    if not _DURATION.fullmatch(value):
        raise ValueError("not a duration such as 40s or 1m30s")
    return sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(r"(\d+(?:\.\d*)?)(h|ms|m|s|us|µs|ns)", value))


Duration = Annotated[float, BeforeValidator(duration_s)]
"""Seconds; on a command line also in Go's form."""


class FlagError(Exception):
    """The message is one line for the user: which flag, what is wrong with it."""


class Flags(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def argv(self) -> list[str]:
        """The flags that differ from their defaults, as a command line: what a service's unit holds."""
        words: list[str] = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value != field.get_default(call_default_factory=True):
                words.append(f"--{name.replace('_', '-')}={_text(value)}")
        return words

    @classmethod
    def parse(cls, argv: Sequence[str]) -> Self:
        """Raises FlagError; `--help` prints all flags and raises SystemExit(0)."""
        given: dict[str, list[str]] = {}
        words = list(argv)
        while words:
            word = words.pop(0)
            if word in ("-h", "--help"):
                print(cls.help())
                raise SystemExit(0)
            if not word.startswith("--"):
                raise FlagError(f"unexpected argument {word!r}: flags start with --")
            name, equals, value = word[2:].partition("=")
            field = cls._field(name)
            if not equals:
                if _kind(cls.model_fields[field].annotation) is bool:
                    value = "true"
                elif words:
                    value = words.pop(0)
                else:
                    raise FlagError(f"flag needs an argument: --{name}")
            given.setdefault(field, []).append(value)
        return cls._build({field: _value(cls.model_fields[field].annotation, f"--{field.replace('_', '-')}", texts) for field, texts in given.items()})

    @classmethod
    def help(cls) -> str:
        lines = [(cls.__doc__ or "").strip(), "", "Flags:"]
        for name, field in cls.model_fields.items():
            note = "(required)" if field.is_required() else f"(default {_text(field.get_default(call_default_factory=True))!r})"
            lines.append(f"  --{name.replace('_', '-')}\n        {field.description or ''} {note}")
        return "\n".join(lines)

    @classmethod
    def _field(cls, flag: str) -> str:
        field = flag.replace("-", "_")
        if field not in cls.model_fields or "_" in flag:
            raise FlagError(f"unknown flag: --{flag}")
        return field

    @classmethod
    def _build(cls, values: Mapping[str, Any]) -> Self:
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            flag = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else "flags"
            if first["type"] == "missing":
                raise FlagError(f"{flag} is required") from error
            raise FlagError(f"invalid value for {flag}: {first['msg'].removeprefix('Value error, ')} (given: {first['input']!r})") from error


F = TypeVar("F", bound=Flags)


def parse_flags(cls: type[F], argv: Sequence[str]) -> F:
    return cls.parse(argv)


def _kind(annotation: Any) -> Any:
    """bool, list, dict, or anything else that pydantic reads from text; an optional type counts as what it may be."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return _kind(next(a for a in typing.get_args(annotation) if a is not type(None)))
    return origin or annotation


def _value(annotation: Any, flag: str, texts: list[str]) -> Any:
    kind = _kind(annotation)
    if kind in (list, tuple):
        return [part for text in texts for part in text.split(",") if part]
    if kind is dict:
        pairs = [part.partition("=") for text in texts for part in text.split(",") if part]
        for key, equals, _ in pairs:
            if not equals:
                raise FlagError(f"invalid value for {flag}: {key!r} is not of the form key=value")
        return {key: value for key, _, value in pairs}
    if kind is bool:
        if texts[-1].lower() not in ("true", "false", "1", "0", "t", "f"):
            raise FlagError(f"invalid value for {flag}: {texts[-1]!r} is neither true nor false")
        return texts[-1].lower() in ("true", "1", "t")
    return texts[-1]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(str(v) for v in value)
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in value.items())
    return str(value)
