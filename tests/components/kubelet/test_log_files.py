import asyncio
from pathlib import Path

import pytest

from k8sfromscratch.components.kubelet.log_files import LogOptions, read_log, rotate


def record(text: str, second: int = 0) -> bytes:
    return f"2026-01-02T03:04:{second:02}.0Z stdout F {text}\n".encode()


async def whole(path: Path, options: LogOptions) -> bytes:
    return b"".join([chunk async for chunk in read_log(path, options, lambda: False)])


@pytest.mark.parametrize("lines", [0, 1, 3, 10_000, 20_000])
def test_the_tail_of_a_long_log(tmp_path, lines):
    path = tmp_path / "0.log"
    path.write_bytes(b"".join(record(f"line {i}") for i in range(10_000)))
    out = asyncio.run(whole(path, LogOptions(tail_lines=lines))).splitlines()
    assert len(out) == min(lines, 10_000)
    assert out[-1:] == ([b"line 9999"] if lines else [])


def test_following_goes_on_over_a_rotation_until_the_container_ends(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(record("one"))
    ended = asyncio.Event()

    async def main() -> list[bytes]:
        seen = []
        async for chunk in read_log(path, LogOptions(follow=True), lambda: not ended.is_set()):
            seen.append(chunk)
            if len(seen) == 1:
                with path.open("ab") as stream:
                    stream.write(record("two"))
                rotate(path, keep_files=3, stamp="1")
                path.write_bytes(record("three"))
            elif len(seen) == 3:
                with path.open("ab") as stream:
                    stream.write(record("four"))
                ended.set()
        return seen

    assert b"".join(asyncio.run(main())) == b"one\ntwo\nthree\nfour\n"


def test_a_limit_ends_the_reading(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(record("abcdef"))
    assert asyncio.run(whole(path, LogOptions(limit_bytes=3))) == b"abc"


def test_rotation_keeps_as_many_files_as_wanted(tmp_path):
    path = tmp_path / "0.log"
    for stamp in ("1", "2", "3", "4"):
        path.write_bytes(record(stamp))
        rotate(path, keep_files=3, stamp=stamp)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.log.3", "0.log.4"]
