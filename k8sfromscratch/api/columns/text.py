"""How kubectl writes what many columns share: ages, selectors, lists cut short.

Source: apimachinery's duration.HumanDuration, kubectl's and the server's printers.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

Object = dict[str, Any]

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_YEAR = 365 * _DAY

# below this many seconds: the unit, and the smaller unit shown beside it (0: none)
_STEPS = (
    (2 * _MINUTE, 1, 0),
    (10 * _MINUTE, _MINUTE, 1),
    (3 * _HOUR, _MINUTE, 0),
    (8 * _HOUR, _HOUR, _MINUTE),
    (2 * _DAY, _HOUR, 0),
    (8 * _DAY, _DAY, _HOUR),
    (2 * _YEAR, _DAY, 0),
    (8 * _YEAR, _YEAR, _DAY),
)
_SYMBOL = {1: "s", _MINUTE: "m", _HOUR: "h", _DAY: "d", _YEAR: "y"}


def duration(seconds: float) -> str:
    """`95s`, `4m10s`, `3h`, `5d12h`, `2y30d`: two to three digits of meaning."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    unit, smaller = next(((unit, smaller) for below, unit, smaller in _STEPS if whole < below), (_YEAR, 0))
    text = f"{whole // unit}{_SYMBOL[unit]}"
    rest = whole % unit // smaller if smaller else 0
    return f"{text}{rest}{_SYMBOL[smaller]}" if rest else text


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def since(text: str | None, now: datetime) -> str:
    return duration((now - moment(text)).total_seconds()) if text else UNKNOWN


def age(obj: Mapping[str, Any], now: datetime) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


def labels(of: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((of or {}).items())) or NONE


def selector(of: Mapping[str, Any] | None) -> str:
    """A metav1.LabelSelector in its text form."""
    of = of or {}
    terms = [(key, f"{key}={value}") for key, value in (of.get("matchLabels") or {}).items()]
    for expression in of.get("matchExpressions") or ():
        key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or ()))
        text = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key, "DoesNotExist": f"!{key}"}
        terms.append((key, text.get(expression.get("operator"), "")))
    return ",".join(text for _, text in sorted(terms)) or NONE


def cut(items: Sequence[str], shown_max: int, empty: str, joint: str = ",") -> str:
    """`a,b,c + 2 more...`"""
    shown = joint.join(items[:shown_max])
    rest = len(items) - shown_max
    return f"{shown} + {rest} more..." if rest > 0 else shown or empty


def truth(value: bool | None) -> str:
    return UNSET if value is None else str(value)


def containers(pod_spec: Mapping[str, Any]) -> tuple[str, str]:
    """Names and images, as the wide columns of workloads show them."""
    of: Iterable[Mapping[str, Any]] = pod_spec.get("containers") or ()
    return ",".join(one.get("name", "") for one in of), ",".join(one.get("image", "") for one in of)


def condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    return next((one for one in (obj.get("status") or {}).get("conditions") or () if one.get("type") == kind), None)


def has_condition(obj: Mapping[str, Any], kind: str) -> bool:
    found = condition(obj, kind)
    return found is not None and found.get("status") == "True"
