"""Cron schedules: which minutes they name, and the next or latest of them.

    ┌ minute 0-59  ┌ hour 0-23  ┌ day of month 1-31  ┌ month 1-12 or JAN-DEC  ┌ day of week 0-6 or SUN-SAT (7 is Sunday too)
    0             */6           *                    *                       MON-FRI

A field is `*` (or `?`), numbers, ranges `a-b` and steps `/n`, in a list with commas.  Where both days are restricted, either is enough.
`@hourly`, `@daily` (`@midnight`), `@weekly`, `@monthly` and `@yearly` (`@annually`) are short for the obvious; `@every` is not a
calendar and is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_YEARS_AHEAD_MAX = 8
"""29 February can be eight years away; a schedule without a time in so long (30 February) has none."""
_WINDOWS = tuple(timedelta(hours=hours) for hours in (1, 24, 24 * 31, 24 * 366, 24 * 366 * _YEARS_AHEAD_MAX))


class InvalidSchedule(ValueError):
    """The message says which field, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Schedule:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    """Day of month or day of week is `*`: the other alone decides."""

    def next_after(self, moment: datetime, zone: tzinfo = UTC) -> datetime | None:
        """The first scheduled minute after `moment`, on the clocks of `zone`; in UTC.  None: there is none."""
        return next(self._after(moment, zone), None)

    def latest(self, after: datetime, until: datetime, zone: tzinfo = UTC) -> datetime | None:
        """The last scheduled minute in (after, until].  Looks back in growing windows, so that a year of missed minutes costs no more than an hour."""
        for window in _WINDOWS:
            start = max(after, until - window)
            found = None
            for moment in self._after(start, zone):
                if moment > until:
                    break
                found = moment
            if found is not None or start == after:
                return found
        return None

    def count(self, after: datetime, until: datetime, zone: tzinfo = UTC, *, limit: int) -> int:
        """How many scheduled minutes are in (after, until], counted up to `limit`."""
        total = 0
        for moment in self._after(after, zone):
            if moment > until or total == limit:
                break
            total += 1
        return total

    def _after(self, moment: datetime, zone: tzinfo) -> Iterator[datetime]:
        """All scheduled minutes after `moment`.  Local time is walked; an hour that a clock change skips or repeats never goes backwards."""
        local = moment.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0) + timedelta(minutes=1)
        last = moment
        end = local.year + _YEARS_AHEAD_MAX
        while local.year <= end:
            if local.month not in self.months:
                local = (local.replace(day=1, hour=0, minute=0) + timedelta(days=32)).replace(day=1)
            elif not self._on_day(local):
                local = local.replace(hour=0, minute=0) + timedelta(days=1)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in self.minutes:
                local += timedelta(minutes=1)
            else:
                found = local.replace(tzinfo=zone).astimezone(UTC)
                if found > last:
                    yield found
                    last = found
                    end = local.year + _YEARS_AHEAD_MAX
                local += timedelta(minutes=1)

    def _on_day(self, local: datetime) -> bool:
        by_month, by_week = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return (by_month and by_week) if self.any_day else (by_month or by_week)


def parse(text: str) -> Schedule:
    """Raises InvalidSchedule."""
    fields = _SHORT.get(text.strip(), text).split()
    if len(fields) != 5:
        raise InvalidSchedule(f"expected exactly 5 fields, found {len(fields)}: {text!r}")
    minute, hour, day, month, weekday = fields
    weekdays = frozenset(number % 7 for number in _field("day of week", weekday, 0, 7, _DAYS))
    return Schedule(
        _field("minute", minute, 0, 59),
        _field("hour", hour, 0, 23),
        _field("day of month", day, 1, 31),
        _field("month", month, 1, 12, _MONTHS),
        weekdays,
        any_day=_is_star(day) or _is_star(weekday),
    )


def _is_star(field: str) -> bool:
    return any(part.partition("/")[0] in ("*", "?") for part in field.split(","))


def _field(what: str, text: str, low: int, high: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    numbers: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(what, step_text, 1, high, ()) if slash else 1
        if span in ("*", "?"):
            first, last = low, high
        else:
            first_text, dash, last_text = span.partition("-")
            first = _number(what, first_text, low, high, names)
            last = _number(what, last_text, low, high, names) if dash else (high if slash else first)
        if first > last:
            raise InvalidSchedule(f"{what}: the range {span!r} ends before it begins")
        numbers.update(range(first, last + 1, step))
    return frozenset(numbers)


def _number(what: str, text: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text.upper() in names:
        return names.index(text.upper()) + low if low else names.index(text.upper())
    if not (text.isascii() and text.isdigit()):
        raise InvalidSchedule(f"{what}: {text!r} is not a number")
    if not low <= int(text) <= high:
        raise InvalidSchedule(f"{what}: {text} is not between {low} and {high}")
    return int(text)
