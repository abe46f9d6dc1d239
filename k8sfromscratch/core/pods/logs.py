"""CRI's log format, one line a record: `2026-01-02T03:04:05.000000006Z stdout F text`.

The tag is F for a whole line and P for a piece of one that was too long: the pieces up to the next F make one line.  `LogFilter` is fed the
bytes of a log as they come and gives back what `kubectl logs` is to print; finding the end of `tailLines` in files, following and
rotation are the shell's.
"""

from dataclasses import dataclass, field
from datetime import datetime


class MalformedLog(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class LogLine:
    """`content` ends with a newline unless it is a partial piece."""

    timestamp: str
    stream: str
    partial: bool
    content: bytes


def parse_line(line: bytes) -> LogLine:
    """One record without its newline.  Raises MalformedLog."""
    parts = line.split(b" ", 3)
    if len(parts) < 3:
        raise MalformedLog(f"not a log record: {line[:80]!r}")
    stamp, stream, tags = parts[0].decode(errors="replace"), parts[1].decode(errors="replace"), parts[2].split(b":")
    if stream not in ("stdout", "stderr"):
        raise MalformedLog(f"unknown stream in log record: {line[:80]!r}")
    partial = tags[0] == b"P"
    content = parts[3] if len(parts) == 4 else b""
    return LogLine(stamp, stream, partial, content if partial else content + b"\n")


def moment(stamp: str) -> datetime:
    """A record's time, to the microsecond: the wire has nanoseconds."""
    head, dot, fraction = stamp.partition(".")
    digits = ""
    for character in fraction:
        if not character.isdigit():
            break
        digits += character
    zone = fraction[len(digits) :] if dot else ""
    text = f"{head}.{digits[:6].ljust(6, '0')}{zone}" if dot else head
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise MalformedLog(f"not a time of a log record: {stamp!r}") from error


@dataclass(slots=True)
class LogFilter:
    """`since`: records before it are left out.  `limit_bytes`: nothing after so many bytes of output.  `stream`: stdout or stderr only."""

    since: datetime | None = None
    timestamps: bool = False
    limit_bytes: int | None = None
    stream: str = ""
    _rest: bytes = b""
    _in_partial: dict[str, bool] = field(default_factory=dict)
    _sent_bytes: int = 0

    @property
    def exhausted(self) -> bool:
        return self.limit_bytes is not None and self._sent_bytes >= self.limit_bytes

    def feed(self, data: bytes) -> bytes:
        """What is to be printed of it; an unfinished record waits for the next call."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        out = b"".join(self._render(line) for line in lines if line)
        if self.limit_bytes is not None:
            out = out[: max(self.limit_bytes - self._sent_bytes, 0)]
        self._sent_bytes += len(out)
        return out

    def _render(self, line: bytes) -> bytes:
        record = parse_line(line)
        if self.stream and record.stream != self.stream:
            return b""
        if self.since is not None and moment(record.timestamp) < self.since:
            return b""
        continued = self._in_partial.get(record.stream, False)
        self._in_partial[record.stream] = record.partial
        if self.timestamps and not continued:
            return record.timestamp.encode() + b" " + record.content
        return record.content


def tail_offset(data: bytes, lines: int) -> int:
    """Where the last so many records of a whole log begin.  A trailing record without a newline counts as none."""
    end = data.rfind(b"\n")
    if lines <= 0 or end < 0:
        return end + 1
    position = end
    for _ in range(lines):
        position = data.rfind(b"\n", 0, position)
        if position < 0:
            return 0
    return position + 1
