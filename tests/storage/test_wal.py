"""What a crash can do to the log is mended; what it cannot is refused."""

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
