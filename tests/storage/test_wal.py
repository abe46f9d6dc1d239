"""What a crash can do to the log is mended; what it cannot is refused."""

import os
import struct
import zlib
from pathlib import Path

import pytest

from k8sfromscratch.core.raft.types import Entry, HardState
from k8sfromscratch.storage import frames, wal
from k8sfromscratch.storage.wal import Found, Wal, WalError

STATE = HardState(1, 7, 0)


def opened(folder: Path, filed: int = 0, filed_term: int = 0, keep: int = 0) -> tuple[Wal, Found]:
    log = Wal(folder)
    found = log.read(filed, filed_term, keep)
    log.begin(found, found.state or STATE)
    return log, found


def entries(first: int, payloads: list[bytes], term: int = 1) -> list[Entry]:
    return [Entry(term, first + at, payload) for at, payload in enumerate(payloads)]


def write(folder: Path, batches: list[list[bytes]]) -> None:
    log, _ = opened(folder)
    for batch in batches:
        log.append(entries(log.next_index, batch), None)
    log.close()


def read(folder: Path, after: int = 0) -> list[tuple[int, bytes]]:
    log, found = opened(folder, after, 1 if after else 0)
    log.close()
    return [(entry.index, entry.data) for entry in found.entries]


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
    last = whole.rindex(frames.MAGIC)
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
    last = whole.rindex(frames.MAGIC)
    for flipped in range(last):
        segment.write_bytes(whole[:flipped] + bytes([whole[flipped] ^ 0xFF]) + whole[flipped + 1 :])
        with pytest.raises(WalError, match=str(segment)):
            read(tmp_path)


def test_appending_goes_on_behind_a_mended_end(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    (segment,) = tmp_path.glob("*.wal")
    segment.write_bytes(segment.read_bytes()[:-1])
    log, _ = opened(tmp_path)
    log.append(entries(5, [b"new"]), None)
    log.close()
    assert read(tmp_path) == [*ALL[:4], (5, b"new")]


def test_entries_take_the_place_of_those_from_their_index_on(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    log, _ = opened(tmp_path)
    log.append(entries(3, [b"other"], term=2), HardState(2, 0, 2))
    log.append(entries(4, [b"behind"], term=2), None)
    log.close()
    log, found = opened(tmp_path)
    log.close()
    assert [(e.index, e.term, e.data) for e in found.entries] == [(1, 1, b"a"), (2, 1, b"b"), (3, 2, b"other"), (4, 2, b"behind")]
    assert found.state == HardState(2, 0, 2) and log.next_index == 5


def test_an_entry_that_leaves_a_gap_is_refused(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    log, _ = opened(tmp_path)
    log.append(entries(7, [b"x"]), None)
    log.close()
    with pytest.raises(WalError, match="entry 7 does not follow"):
        read(tmp_path)


def test_the_last_hard_state_counts_and_outlives_the_segment_it_was_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "SEGMENT_BYTES", 10)
    log, _ = opened(tmp_path)
    log.append(entries(1, [b"a"]), HardState(3, 2, 0))
    for index in range(2, 6):
        log.append(entries(index, [b"a"]), None)
    log.drop_below(5)
    log.close()
    assert len(list(tmp_path.glob("*.wal"))) == 1
    log, found = opened(tmp_path, 4, 1)
    log.close()
    assert found.state == HardState(3, 2, 0) and [e.index for e in found.entries] == [5]


def test_a_log_that_was_restarted_behind_a_snapshot_has_nothing_of_before(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    log, _ = opened(tmp_path)
    log.restart(3, 4, entries(4, [b"after"], term=4), HardState(4, 0, 3))
    log.append(entries(5, [b"more"], term=4), None)
    log.close()
    assert len(list(tmp_path.glob("*.wal"))) == 1
    log, found = opened(tmp_path, 3, 4)
    log.close()
    assert (found.offset, found.offset_term, found.state, found.void) == (3, 4, HardState(4, 0, 3), False)
    assert [(e.index, e.data) for e in found.entries] == [(4, b"after"), (5, b"more")]


@pytest.mark.parametrize(("filed", "term"), [(9, 1), (3, 2)], ids=["the log ends before", "the log has another entry there"])
def test_a_log_that_does_not_fit_to_the_file_gives_way(tmp_path: Path, filed: int, term: int) -> None:
    """A crash between a leader's snapshot and the restart of the log."""
    write(tmp_path, BATCHES)
    log, found = opened(tmp_path, filed, term)
    assert found.void and not found.entries and (found.offset, found.offset_term, found.state) == (filed, term, STATE)
    log.append(entries(filed + 1, [b"next"], term), None)
    log.close()
    log, found = opened(tmp_path, filed, term)
    log.close()
    assert not found.void and [(e.index, e.data) for e in found.entries] == [(filed + 1, b"next")]


def test_entries_that_the_file_has_are_kept_for_members_that_lag(tmp_path: Path) -> None:
    write(tmp_path, [[b"%d" % index for index in range(1, 3001)]])
    log, found = opened(tmp_path, 2500, 1, keep=100)
    log.close()
    assert (found.offset, found.offset_term) == (2400, 1)
    assert [(e.index, e.data) for e in found.entries] == [(index, b"%d" % index) for index in range(2401, 3001)]


def test_segments_rotate_and_are_dropped_when_they_are_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "SEGMENT_BYTES", 100)
    write(tmp_path, [[b"x" * 30] for _ in range(10)])
    segments = sorted(tmp_path.glob("*.wal"))
    assert len(segments) > 3
    assert [index for index, _ in read(tmp_path)] == list(range(1, 11))
    log, _ = opened(tmp_path)
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
    return struct.pack("<4sII", frames.FIRST_MAGIC, len(body), zlib.crc32(body)) + body


def old(folder: Path, after: int = 0) -> list[tuple[int, bytes]]:
    return [(record.index, record.payload) for record in Wal(folder).old_records(after)]


def test_a_log_of_the_first_format_is_read_and_mended(tmp_path: Path) -> None:
    segment = tmp_path / f"{1:016x}.wal"
    segment.write_bytes(first_format([b"a", b"b"]) + first_format([b"c"])[:-1])
    assert old(tmp_path) == [(1, b"a"), (2, b"b")]
    assert segment.read_bytes() == first_format([b"a", b"b"])
    (tmp_path / f"{3:016x}.wal").write_bytes(first_format([b"c"]))
    assert old(tmp_path, after=1) == [(2, b"b"), (3, b"c")]
    with pytest.raises(WalError, match="segments are missing"):
        segment.unlink()
        old(tmp_path)


def test_damage_in_the_first_format_is_refused(tmp_path: Path) -> None:
    whole = first_format([b"a"]) + first_format([b"b"])
    (tmp_path / f"{1:016x}.wal").write_bytes(whole[:14] + b"!" + whole[15:])
    with pytest.raises(WalError, match="good ones follow"):
        old(tmp_path)


@pytest.mark.parametrize("hidden", ["the log itself", "the first format"])
def test_a_torn_frame_whose_value_looks_like_a_log_is_torn(tmp_path: Path, hidden: str) -> None:
    """Somebody keeps a copy of a log in etcd, and the power fails while it is written."""
    write(tmp_path, BATCHES)
    (segment,) = tmp_path.glob("*.wal")
    copy = segment.read_bytes() if hidden == "the log itself" else first_format([b"x"]) * 3
    before = segment.stat().st_size
    log, _ = opened(tmp_path)
    log.append(entries(6, [copy * 2 + b"the end"]), None)
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
    segment.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) + frames.MAGIC[:2])
    with pytest.raises(WalError, match="is damaged"):
        read(tmp_path)


def test_a_segment_that_a_crash_left_without_its_header_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "SEGMENT_BYTES", 10)
    write(tmp_path, BATCHES[:2])
    segments = list(tmp_path.glob("*.wal"))
    for left in (b"", b"kfsW", b"\0" * 20):
        (tmp_path / f"{len(segments):016x}-{4:016x}.wal").write_bytes(left)
        assert read(tmp_path) == ALL[:3]
    log, _ = opened(tmp_path)
    log.append(entries(4, [b""]), None)
    log.close()
    assert read(tmp_path) == ALL[:4]


def test_a_segment_of_an_unknown_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    (segment,) = tmp_path.glob("*.wal")
    segment.write_bytes(b"kfslog9\n" + segment.read_bytes()[8:])
    with pytest.raises(WalError, match="of a newer version"):
        read(tmp_path)


def test_entries_give_way_in_a_later_segment_than_they_stood_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower's that no leader could commit: where they began is dropped, and what is left of them comes before what replaced them."""
    log, _ = opened(tmp_path)
    log.append(entries(1, [b""] * 3), None)
    monkeypatch.setattr(wal, "SEGMENT_BYTES", 0)
    log.append(entries(4, [b"never"] * 3), None)
    monkeypatch.setattr(wal, "SEGMENT_BYTES", 10_000)
    log.append(entries(3, [b"new"] * 5, term=2), None)
    log.drop_below(5)
    log.close()
    assert len(list(tmp_path.glob("*.wal"))) == 1
    log, found = opened(tmp_path, 5, 2)
    log.close()
    assert not found.void and [(e.index, e.term, e.data) for e in found.entries] == [(6, 2, b"new"), (7, 2, b"new")]


def test_entries_give_way_that_were_not_kept_while_the_log_is_read(tmp_path: Path) -> None:
    log, _ = opened(tmp_path)
    log.append(entries(1, [b"never"] * 3000), None)
    log.append(entries(500, [b"new"] * 3500, term=2), None)
    log.close()
    log, found = opened(tmp_path, 3900, 2, keep=10)
    log.close()
    assert (found.offset, found.offset_term, found.void) == (3890, 2, False)
    assert [(e.index, e.term) for e in found.entries] == [(index, 2) for index in range(3891, 4000)]


def test_what_a_snapshot_has_gives_way_to_nothing(tmp_path: Path) -> None:
    log, _ = opened(tmp_path)
    log.restart(5, 1, entries(6, [b"behind"]), None)
    log.append(entries(5, [b"x"], term=2), None)
    log.close()
    with pytest.raises(WalError, match="entry 5 does not follow"):
        read(tmp_path)


def test_the_last_frame_is_written_again_and_synced_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was killed before its sync, or whose sync failed, finds in the kernel's memory what the disk may not have."""
    write(tmp_path, BATCHES)
    (segment,) = tmp_path.glob("*.wal")
    whole = segment.read_bytes()
    last = whole.rindex(frames.MAGIC)
    synced: list[bytes] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink() == segment:
            synced.append(segment.read_bytes())
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", watched)
        before = segment.stat().st_mtime_ns
        assert read(tmp_path) == ALL
        assert synced == [whole] and segment.stat().st_mtime_ns > before
        segment.write_bytes(whole[:-1])
        assert read(tmp_path) == ALL[:4]
        assert synced[1:] == [whole[:last]]

        def broken(descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        patched.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output"):
            read(tmp_path)


def test_a_log_that_gives_way_behind_a_segment_with_nothing_in_it_leaves_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two crashes: one while the log was restarted behind a snapshot, the next before what it replaces is gone."""
    write(tmp_path, BATCHES)
    (tmp_path / f"{1:016x}-{10:016x}.wal").write_bytes(b"")
    unlink = Path.unlink

    def crash(path: Path, missing_ok: bool = False) -> None:
        if path.stat().st_size:
            raise OSError(5, "the power fails")
        unlink(path)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="power"):
        patched.setattr(Path, "unlink", crash)
        opened(tmp_path, 9, 1)
    assert len(list(tmp_path.glob("*.wal"))) == 2
    log, found = opened(tmp_path, 9, 1)
    log.close()
    assert (found.offset, found.void, found.entries) == (9, False, [])


def test_a_disk_that_takes_a_part_of_a_segments_header_gets_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:7]))
    write(tmp_path, BATCHES)
    assert read(tmp_path) == ALL
