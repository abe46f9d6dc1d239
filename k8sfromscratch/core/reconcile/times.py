"""The API's timestamps as datetimes and back."""

from datetime import UTC, datetime


def parse(text: str) -> datetime:
    """`2026-01-02T03:04:05Z`, with or without a fraction.  Raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def parse_or(text: str | None, default: datetime) -> datetime:
    return parse(text) if text else default


def text(moment: datetime) -> str:
    """metav1.Time: whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_until(moment: datetime, now: datetime) -> float:
    return (moment - now).total_seconds()
