"""Where our answers may differ from the recorded ones: only by rows that say why.

    wordings:                                                  messages that a later release words otherwise
      - {was: "a DNS-1123 label", is: "a lowercase RFC 1123 label", why: "…"}
    deviations:
      - why: "1.21 gave Services internalTrafficPolicy"
        differs: ["+object.spec.internalTrafficPolicy"]        as `differences` names it; `*` stands for anything
        in: ["services/*"]                                     theme/scenario/step

Every pattern of every row must explain something, else the row is out of date.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from k8sfromscratch.testing.recorded.facts import Facts


@dataclass(slots=True)
class Row:
    why: str
    differs: Sequence[str]
    where: Sequence[str]
    used: set[str] = field(default_factory=set)

    def explains(self, step: str, difference: str) -> bool:
        where = [pattern for pattern in self.where if _glob(pattern, step)]
        what = [pattern for pattern in self.differs if _glob(pattern, difference)]
        if not where or not what:
            return False
        self.used |= {*where, *what}
        return True

    @property
    def stale(self) -> list[str]:
        return [pattern for pattern in (*self.where, *self.differs) if pattern not in self.used]


@dataclass(slots=True)
class Wording:
    was: re.Pattern[str]
    now: str
    why: str
    used: bool = False


class Deviations:
    def __init__(self, rows: Iterable[Row], wordings: Iterable[Wording]) -> None:
        self.rows = list(rows)
        self.wordings = list(wordings)

    @classmethod
    def load(cls, path: Path) -> "Deviations":
        document = yaml.safe_load(path.read_text())
        return cls(
            [Row(one["why"], one["differs"], one["in"]) for one in document["deviations"]],
            [Wording(re.compile(one["was"]), one["is"], one["why"]) for one in document["wordings"]],
        )

    def unexplained(self, step: str, recorded: Facts, ours: Facts) -> list[str]:
        found = []
        for difference in differences(recorded, ours, self._reworded):
            explaining = [row for row in self.rows if row.explains(step, difference)]
            if not explaining:
                found.append(difference)
        return found

    def stale(self) -> list[str]:
        """What explains nothing any more.  After all steps were compared."""
        rows = [f"{row.why}: {pattern}" for row in self.rows for pattern in row.stale]
        return rows + [f"{one.why}: {one.was.pattern}" for one in self.wordings if not one.used]

    def _reworded(self, message: str) -> str:
        for wording in self.wordings:
            reworded = wording.was.sub(wording.now, message)
            wording.used |= reworded != message
            message = reworded
        return message


def differences(recorded: Facts, ours: Facts, reworded: Any = lambda message: message) -> Iterator[str]:
    """`code 500 → 422`, `-cause FieldValueRequired spec.x`, `+object.spec.x` (only we have it), `-…` (only upstream), `~…` (both, not the same)."""
    if recorded["code"] != ours["code"]:
        yield f"code {recorded['code']} → {ours['code']}"
        return
    if "reason" in recorded and "reason" in ours:
        yield from _errors(recorded, ours, reworded)
        return
    for key in sorted({*recorded, *ours} - {"code"}):
        yield from _values(key, recorded.get(key, _ABSENT), ours.get(key, _ABSENT))


def _errors(recorded: Facts, ours: Facts, reworded: Any) -> Iterator[str]:
    if recorded["reason"] != ours["reason"]:
        yield f"reason {recorded['reason']} → {ours['reason']}"
    then, now = recorded.get("details") or {}, ours.get("details") or {}
    for key in ("kind", "name", "group"):
        if then.get(key) != now.get(key):
            yield f"details.{key} {then.get(key)} → {now.get(key)}"
    were, are = _causes(then.get("causes") or ()), _causes(now.get("causes") or ())
    for one in were:
        if one not in are:
            yield f"-cause {one}"
    for one in are:
        if one not in were:
            yield f"+cause {one}"
    for one in were:
        # Upstream asks some questions twice.
        told, tell = sorted(set(map(reworded, were[one]))), sorted(set(are.get(one, ())))
        if one in are and (len(told) != len(tell) or not all(map(_same_message, told, tell))):
            yield f"message of {one}: {told} → {tell}"
    # The whole message repeats the causes.
    if not were and not are and reworded(recorded["message"]) != ours["message"]:
        yield f"message {reworded(recorded['message'])} → {ours['message']}"


def _causes(causes: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    """(reason, field) → messages."""
    found: dict[str, list[str]] = {}
    for reason, where, message in causes:
        found.setdefault(f"{reason} {where}", []).append(message)
    return found


# A value that older releases showed in Go's syntax and newer ones show as JSON.
_GO_VALUE = re.compile(r"(?P<what>\w+ value: )(\*?\[\]|map\[|\w+\.\w+\{).*?\}+(?P<detail>: [^}]*)?", re.DOTALL)


def _same_message(recorded: str, ours: str) -> bool:
    go = _GO_VALUE.fullmatch(recorded)
    if go is None:
        return recorded == ours
    return ours.startswith(go["what"]) and ours.endswith(go["detail"] or "")


_ABSENT = object()


def _values(path: str, recorded: Any, ours: Any) -> Iterator[str]:
    if recorded is _ABSENT:
        yield f"+{path}"
    elif ours is _ABSENT:
        yield f"-{path}"
    elif isinstance(recorded, Mapping) and isinstance(ours, Mapping):
        for key in sorted({*recorded, *ours}):
            yield from _values(f"{path}.{key}", recorded.get(key, _ABSENT), ours.get(key, _ABSENT))
    elif isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
        for index, (then, now) in enumerate(zip(recorded, ours, strict=True)):
            yield from _values(f"{path}.{index}", then, now)
    elif recorded != ours:
        yield f"~{path}: {recorded!r} → {ours!r}"


def _glob(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None
