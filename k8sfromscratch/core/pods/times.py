"""metav1.Time to and from datetimes, for code that has moments as arguments and clocks not at all."""

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str | None) -> datetime | None:
    """None for an absent time.  Raises ValueError for one that is not RFC 3339."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
