"""What a crash can do to the log is mended; what it cannot is refused."""

import struct
import zlib
from pathlib import Path

import pytest

from k8sfromscratch.storage import wal
from k8sfromscratch.storage.wal import Wal, WalError


def write(folder: Path, batches: list[list[bytes]]) -> None:
    log = Wal(folder)
    list(log.open(0))
    for batch in batches:
        log.append([(1, payload) for payload in batch])
    log.close()


def read(folder: Path, after: int = 0) -> list[tuple[int, bytes]]:
    log = Wal(folder)
    found = [(record.index, record.payload) for record in log.open(after)]
    log.close()
    return found


BATCHES = [[b"a"], [b"b", b"c" * 100], [b""], [b"d"]]
ALL = [(1, b"a"), (2, b"b"), (3, b"c" * 100), (4, b""), (5, b"d")]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    assert read(tmp_path) == ALL
    assert read(tmp_path, after=3) == ALL[3:]


def test_a_log_torn_at_any_byte_of_its_last_frame_loses_only_that(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    (segment,) = tmp_path.glob("*.wal")
    whole = segment.read_bytes()
    last = whole.rindex(wal.MAGIC)
    for cut in range(last, len(whole)):
        segment.write_bytes(whole[:cut])
        assert read(tmp_path) == ALL[:4], cut
        assert segment.read_bytes() == whole[:last]
    for flipped in range(last, len(whole)):
        segment.write_bytes(whole[:flipped] + bytes([whole[flipped] ^ 0xFF]) + whole[flipped + 1 :])
        assert read(tmp_path) == ALL[:4], flipped


def test_damage_before_the_last_frame_is_refused_and_names_its_place(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    (segment,) = tmp_path.glob("*.wal")
    whole = segment.read_bytes()
    last = whole.rindex(wal.MAGIC)
    for flipped in range(last):
        segment.write_bytes(whole[:flipped] + bytes([whole[flipped] ^ 0xFF]) + whole[flipped + 1 :])
        with pytest.raises(WalError, match=str(segment)):
            read(tmp_path)


def test_appending_goes_on_behind_a_mended_end(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    (segment,) = tmp_path.glob("*.wal")
    segment.write_bytes(segment.read_bytes()[:-1])
    log = Wal(tmp_path)
    list(log.open(0))
    log.append([(1, b"new")])
    log.close()
    assert read(tmp_path) == [*ALL[:4], (5, b"new")]


def test_segments_rotate_and_are_dropped_when_they_are_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "SEGMENT_BYTES", 50)
    write(tmp_path, [[b"x" * 30] for _ in range(10)])
    segments = sorted(tmp_path.glob("*.wal"))
    assert len(segments) > 3
    assert [index for index, _ in read(tmp_path)] == list(range(1, 11))
    log = Wal(tmp_path)
    list(log.open(0))
    log.drop_below(6)
    log.close()
    assert [index for index, _ in read(tmp_path, after=5)] == [6, 7, 8, 9, 10]
    with pytest.raises(WalError, match="segments are missing"):
        read(tmp_path)


def test_a_missing_segment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "SEGMENT_BYTES", 50)
    write(tmp_path, [[b"x" * 30] for _ in range(10)])
    sorted(tmp_path.glob("*.wal"))[1].unlink()
    with pytest.raises(WalError, match="a segment is missing"):
        read(tmp_path)


def first_format(records: list[bytes]) -> bytes:
    """A frame as the first format had it."""
    body = b"".join(struct.pack("<IB", len(payload), 1) + payload for payload in records)
    return struct.pack("<4sII", wal.FIRST_MAGIC, len(body), zlib.crc32(body)) + body


def test_a_log_of_the_first_format_is_read_mended_and_gone_on_with_in_a_new_segment(tmp_path: Path) -> None:
    (tmp_path / f"{1:016x}.wal").write_bytes(first_format([b"a", b"b"]) + first_format([b"c"])[:-1])
    log = Wal(tmp_path)
    assert [record.payload for record in log.open(0)] == [b"a", b"b"]
    log.append([(1, b"new")])
    log.close()
    assert read(tmp_path) == [(1, b"a"), (2, b"b"), (3, b"new")]
    assert len(list(tmp_path.glob("*.wal"))) == 2


def test_damage_in_the_first_format_is_refused(tmp_path: Path) -> None:
    whole = first_format([b"a"]) + first_format([b"b"])
    (tmp_path / f"{1:016x}.wal").write_bytes(whole[:14] + b"!" + whole[15:])
    with pytest.raises(WalError, match="good ones follow"):
        read(tmp_path)


@pytest.mark.parametrize("hidden", ["the log itself", "the first format"])
def test_a_torn_frame_whose_value_looks_like_a_log_is_torn(tmp_path: Path, hidden: str) -> None:
    """Somebody keeps a copy of a log in etcd, and the power fails while it is written."""
    write(tmp_path, BATCHES)
    (segment,) = tmp_path.glob("*.wal")
    copy = segment.read_bytes() if hidden == "the log itself" else first_format([b"x"]) * 3
    before = segment.stat().st_size
    log = Wal(tmp_path)
    list(log.open(0))
    log.append([(1, copy * 2 + b"the end")])
    log.close()
    whole = segment.read_bytes()
    for torn in (whole[:-1], whole[:before] + b"\0" * 16 + whole[before + 16 :], whole[: before + 5] + bytes([whole[before + 5] ^ 1]) + whole[before + 6 :]):
        segment.write_bytes(torn)
        assert read(tmp_path) == ALL
        assert segment.stat().st_size == before


def test_bytes_behind_a_damaged_frame_prove_that_it_was_synced(tmp_path: Path) -> None:
    """The next frame was begun, and torn in its header; the damaged one before it had been acknowledged."""
    write(tmp_path, BATCHES)
    (segment,) = tmp_path.glob("*.wal")
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) + wal.MAGIC[:2])
    with pytest.raises(WalError, match="is damaged"):
        read(tmp_path)


def test_a_segment_that_a_crash_left_without_its_header_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "SEGMENT_BYTES", 10)
    write(tmp_path, BATCHES[:2])
    for left in (b"", b"kfsW", b"\0" * 20):
        (tmp_path / f"{4:016x}.wal").write_bytes(left)
        assert read(tmp_path) == ALL[:3]
    log = Wal(tmp_path)
    list(log.open(0))
    log.append([(1, b"")])
    log.close()
    assert read(tmp_path) == ALL[:4]


def test_a_segment_of_an_unknown_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    (segment,) = tmp_path.glob("*.wal")
    segment.write_bytes(b"kfslog9\n" + segment.read_bytes()[8:])
    with pytest.raises(WalError, match="of a newer version"):
        read(tmp_path)
