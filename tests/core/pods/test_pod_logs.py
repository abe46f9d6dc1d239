from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.pods.logs import LogFilter, MalformedLog, moment, parse_line, tail_offset

LOG = (
    b"2026-01-02T03:04:05.000000001Z stdout F one\n"
    b"2026-01-02T03:04:06.000000001Z stderr F two\n"
    b"2026-01-02T03:04:07.000000001Z stdout P thr\n"
    b"2026-01-02T03:04:07.000000002Z stdout F ee\n"
    b"2026-01-02T03:04:08Z stdout F \n"
)


def test_the_text_is_what_the_container_wrote():
    assert LogFilter().feed(LOG) == b"one\ntwo\nthree\n\n"


def test_timestamps_are_shown_once_a_line():
    lines = LogFilter(timestamps=True).feed(LOG).splitlines()
    assert lines[0] == b"2026-01-02T03:04:05.000000001Z one"
    assert lines[2] == b"2026-01-02T03:04:07.000000001Z three"


def test_since_limit_and_stream():
    assert LogFilter(since=datetime(2026, 1, 2, 3, 4, 7, tzinfo=UTC)).feed(LOG) == b"three\n\n"
    assert LogFilter(stream="stderr").feed(LOG) == b"two\n"
    limited = LogFilter(limit_bytes=6)
    assert limited.feed(LOG) == b"one\ntw"
    assert limited.exhausted
    assert limited.feed(LOG) == b""


@given(st.integers(0, len(LOG)), st.integers(0, len(LOG)))
def test_pieces_of_any_size_give_the_same(a, b):
    first, second = sorted((a, b))
    log_filter = LogFilter(timestamps=True)
    out = log_filter.feed(LOG[:first]) + log_filter.feed(LOG[first:second]) + log_filter.feed(LOG[second:])
    assert out == LogFilter(timestamps=True).feed(LOG)


@pytest.mark.parametrize("lines", range(7))
def test_the_tail_is_that_many_records(lines):
    assert LOG[tail_offset(LOG, lines) :].count(b"\n") == min(lines, 5)


def test_times_with_any_fraction_and_zone():
    assert moment("2026-01-02T03:04:05.123456789+01:00").isoformat() == "2026-01-02T03:04:05.123456+01:00"
    assert moment("2026-01-02T03:04:05.1Z").microsecond == 100000


@pytest.mark.parametrize("line", [b"", b"nonsense", b"2026-01-02T03:04:05Z stdin F x"])
def test_what_is_no_record_is_refused(line):
    with pytest.raises(MalformedLog):
        parse_line(line)


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_refused(data):
    try:
        out = LogFilter(since=datetime(2026, 1, 1, tzinfo=UTC)).feed(data + b"\n")
    except MalformedLog:
        return
    assert isinstance(out, bytes)
