"""Is this a cron schedule, or a time zone for one?  Five fields (minute, hour, day, month, weekday) or one of the `@` words, as robfig/cron reads them."""

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_FIELDS = (("minute", 0, 59, ()), ("hour", 0, 23, ()), ("day of month", 1, 31, ()),
           ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
           ("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")))  # fmt: skip
_WORDS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_DURATION = re.compile(r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")


def fault(schedule: str) -> str | None:
    """What is wrong with it, None for a good one."""
    if schedule.startswith("@every "):
        duration = schedule.removeprefix("@every ")
        return None if _DURATION.fullmatch(duration) else f'failed to parse duration {schedule}: time: invalid duration "{duration}"'
    if schedule.startswith("@"):
        return None if schedule in _WORDS else f"unrecognized descriptor: {schedule}"
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    for text, (name, lowest, highest, words) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            why = _part_fault(part, lowest, highest, words)
            if why:
                return f"{why} in {name}"
    return None


def _part_fault(part: str, lowest: int, highest: int, words: tuple[str, ...]) -> str | None:
    span, slash, step = part.partition("/")
    if slash and (not step.isdecimal() or int(step) == 0):
        return f"step of range should be a positive number: {part}"
    if span in ("*", "?"):
        return None
    ends = [_number(end, words, lowest) for end in span.split("-")]
    if len(ends) > 2:
        return f"too many hyphens: {part}"
    numbers = [end for end in ends if end is not None]
    if len(numbers) != len(ends):
        return f"failed to parse int from {span}"
    if numbers[0] < lowest:
        return f"beginning of range ({numbers[0]}) below minimum ({lowest}): {part}"
    if numbers[-1] > highest:
        return f"end of range ({numbers[-1]}) above maximum ({highest}): {part}"
    if numbers[0] > numbers[-1]:
        return f"beginning of range ({numbers[0]}) beyond end of range ({numbers[-1]}): {part}"
    return None


def _number(text: str, words: tuple[str, ...], lowest: int) -> int | None:
    if text.lower() in words:
        return words.index(text.lower()) + lowest
    return int(text) if text.isascii() and text.isdecimal() else None


def zone_fault(zone: str) -> str | None:
    """What is wrong with a time zone's name.  Where no zone is known at all (a machine without their data), any name will do: the controller tells."""
    if not zone or zone.lower() == "local":
        return "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
    if _is_zone(zone) or not _is_zone("UTC"):
        return None
    return f"unknown time zone {zone}"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
