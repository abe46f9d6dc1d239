"""bbolt's file format, as far as a snapshot needs it: upstream's etcdctl and etcdutl read what we write, and we read what they wrote.

    page 0, 1   meta        magic, version, page size, root bucket, checksum (FNV-1a); the one with the higher transaction counts
    page 2      freelist    empty in a file that is written in one go
    page 3 …    leaves and branches of each bucket, in the order of their keys; last the leaf that names the buckets

A page is a header (id 8 | flags 2 | count 2 | overflow 4), one fixed-size element an entry, then the entries' bytes; an element points at its
bytes relative to itself.  `overflow` says how many pages more belong to it.  All numbers are little-endian.  Nothing here changes a file.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

PAGE_BYTES = 4096
LEAF_FILL_BYTES = PAGE_BYTES
"""A leaf is closed when the next entry would not fit; one that is larger by itself overflows into the pages behind."""
DEPTH_MAX = 64
"""Deeper trees are a loop in a damaged file."""

_MAGIC, _VERSION = 0xED0CDAED, 2
_BRANCH, _LEAF, _META, _FREELIST = 0x01, 0x02, 0x04, 0x10
_BUCKET_ELEMENT = 0x01
_HEADER = struct.Struct("<QHHI")
_META_BODY = struct.Struct("<IIIIQQQQQ")
_LEAF_ELEMENT = struct.Struct("<IIII")
_BRANCH_ELEMENT = struct.Struct("<IIQ")
_BUCKET = struct.Struct("<QQ")


class BboltError(Exception):
    """The file is not one of bbolt's, or is damaged; the message says where."""


class Writer:
    """Writes a database in one go: each bucket once, its entries in the order of their keys."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._next = file, 3
        self._buckets: dict[bytes, int] = {}
        file.write(b"\0" * (3 * PAGE_BYTES))

    def bucket(self, name: bytes, entries: Iterable[tuple[bytes, bytes]]) -> None:
        self._buckets[name] = self._tree((0, key, value) for key, value in entries)

    def finish(self) -> int:
        """The file's length in bytes.  To be called once, behind the last bucket."""
        named = sorted(self._buckets.items())
        root = self._tree((_BUCKET_ELEMENT, name, _BUCKET.pack(page, 0)) for name, page in named)
        self._file.seek(0)
        for number in (0, 1):
            body = _META_BODY.pack(_MAGIC, _VERSION, PAGE_BYTES, 0, root, 0, 2, self._next, number)
            self._file.write((_HEADER.pack(number, _META, 0, 0) + body + struct.pack("<Q", _fnv1a(body))).ljust(PAGE_BYTES, b"\0"))
        self._file.write(_HEADER.pack(2, _FREELIST, 0, 0).ljust(PAGE_BYTES, b"\0"))
        self._file.seek(0, 2)
        return self._next * PAGE_BYTES

    def _tree(self, entries: Iterable[tuple[int, bytes, bytes]]) -> int:
        """The root page of a tree of these entries: (flags, key, value)."""
        level: list[tuple[bytes, int]] = []
        gathered: list[tuple[int, bytes, bytes]] = []
        size = _HEADER.size
        for flags, key, value in entries:
            length = _LEAF_ELEMENT.size + len(key) + len(value)
            if gathered and size + length > LEAF_FILL_BYTES:
                level.append((gathered[0][1], self._leaf(gathered)))
                gathered, size = [], _HEADER.size
            gathered.append((flags, key, value))
            size += length
        if gathered or not level:
            level.append((gathered[0][1] if gathered else b"", self._leaf(gathered)))
        while len(level) > 1:
            level = self._branches(level)
        return level[0][1]

    def _branches(self, level: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
        above: list[tuple[bytes, int]] = []
        gathered: list[tuple[bytes, int]] = []
        size = _HEADER.size
        for key, page in level:
            length = _BRANCH_ELEMENT.size + len(key)
            if len(gathered) > 1 and size + length > LEAF_FILL_BYTES:
                above.append((gathered[0][0], self._branch(gathered)))
                gathered, size = [], _HEADER.size
            gathered.append((key, page))
            size += length
        above.append((gathered[0][0], self._branch(gathered)))
        return above

    def _leaf(self, entries: Sequence[tuple[int, bytes, bytes]]) -> int:
        elements, data = bytearray(), bytearray()
        for number, (flags, key, value) in enumerate(entries):
            elements += _LEAF_ELEMENT.pack(flags, (len(entries) - number) * _LEAF_ELEMENT.size + len(data), len(key), len(value))
            data += key
            data += value
        return self._page(_LEAF, len(entries), elements + data)

    def _branch(self, entries: Sequence[tuple[bytes, int]]) -> int:
        elements, data = bytearray(), bytearray()
        for number, (key, page) in enumerate(entries):
            elements += _BRANCH_ELEMENT.pack((len(entries) - number) * _BRANCH_ELEMENT.size + len(data), len(key), page)
            data += key
        return self._page(_BRANCH, len(entries), elements + data)

    def _page(self, flags: int, count: int, body: bytes | bytearray) -> int:
        number = self._next
        pages = -(-(_HEADER.size + len(body)) // PAGE_BYTES)
        self._file.write((_HEADER.pack(number, flags, count, pages - 1) + body).ljust(pages * PAGE_BYTES, b"\0"))
        self._next += pages
        return number


class Reader:
    """Reads a database out of its bytes, or a memory map of them."""

    def __init__(self, data: bytes | memoryview) -> None:
        """Raises BboltError."""
        self._data = memoryview(data)
        self._page_bytes = PAGE_BYTES
        try:
            self._buckets = self._read_root()
        except BaseException:
            self.release()
            raise

    def _read_root(self) -> dict[bytes, bytes]:
        metas = [meta for meta in (self._meta(at) for at in self._meta_places()) if meta is not None]
        if not metas:
            raise BboltError("this is no bbolt database: neither of its first pages describes one")
        _, self._page_bytes, root = max(metas)
        return {key: value for flags, key, value in self._entries(root, 0) if flags & _BUCKET_ELEMENT}

    def bucket(self, name: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Its entries in the order of keys; none where there is no such bucket.  Raises BboltError."""
        value = self._buckets.get(name)
        if value is None:
            return
        (root, _) = _BUCKET.unpack_from(value)  # a small bucket has no page of its own: one without a number follows at once
        found = self._entries(root, 0) if root else self._page(memoryview(value), _BUCKET.size, 0)
        for _, key, data in found:
            yield key, data

    def release(self) -> None:
        """Lets go of the bytes: a memory map cannot be closed before."""
        self._data.release()

    def _meta_places(self) -> Iterator[int]:
        """The second meta lies one page behind the first, and how long a page is, the meta itself says."""
        yield 0
        page_bytes = 1024
        while page_bytes <= 65536:
            yield page_bytes
            page_bytes *= 2

    def _meta(self, at: int) -> tuple[int, int, int] | None:
        """(transaction, bytes of a page, page of the root bucket), if a whole one lies there."""
        start, end = at + _HEADER.size, at + _HEADER.size + _META_BODY.size
        if len(self._data) < end + 8:
            return None
        magic, version, page_bytes, _, root, _, _, _, transaction = _META_BODY.unpack_from(self._data, start)
        (checksum,) = struct.unpack_from("<Q", self._data, end)
        if magic != _MAGIC or version != _VERSION or checksum != _fnv1a(bytes(self._data[start:end])) or (at and at != page_bytes):
            return None
        return transaction, page_bytes, root

    def _entries(self, page: int, depth: int) -> Iterator[tuple[int, bytes, bytes]]:
        if depth > DEPTH_MAX:
            raise BboltError(f"page {page} lies {depth} pages deep: the tree has a loop")
        yield from self._page(self._data, page * self._page_bytes, depth)

    def _page(self, data: memoryview, at: int, depth: int) -> Iterator[tuple[int, bytes, bytes]]:
        """The entries of the page at a place, and of those below it.  No part of `data` is held on to between two of them."""
        try:
            number, flags, count, _ = _HEADER.unpack_from(data, at)
            if not flags & (_BRANCH | _LEAF):
                raise BboltError(f"page {number} is neither a leaf nor a branch")
            for index in range(count):
                if flags & _BRANCH:
                    yield from self._entries(_BRANCH_ELEMENT.unpack_from(data, at + _HEADER.size + index * _BRANCH_ELEMENT.size)[2], depth + 1)
                    continue
                place = at + _HEADER.size + index * _LEAF_ELEMENT.size
                kind, offset, key_bytes, value_bytes = _LEAF_ELEMENT.unpack_from(data, place)
                start = place + offset
                if start + key_bytes + value_bytes > len(data):
                    raise BboltError(f"page {number}: entry {index} reaches beyond the file")
                yield kind, bytes(data[start : start + key_bytes]), bytes(data[start + key_bytes : start + key_bytes + value_bytes])
        except struct.error as error:
            raise BboltError(f"a page at byte {at} is cut off") from error


def _fnv1a(data: bytes) -> int:
    checksum = 0xCBF29CE484222325
    for byte in data:
        checksum = ((checksum ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return checksum
