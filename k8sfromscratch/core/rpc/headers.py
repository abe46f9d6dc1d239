"""Header blocks (HPACK, RFC 7541) of one connection, made fast for gRPC, whose headers are nearly always the same:

a memo           a block that does not change the decoder's table decodes to the same headers as before: one dict lookup
plain literals   what we send never enters the peer's table, so a reply's header bytes are constant
"""

from collections.abc import Iterable, Sequence

import hpack

Headers = tuple[tuple[str, str], ...]

MEMO_MAX, MEMO_BLOCK_MAX_BYTES = 256, 1024
"""Blocks remembered; a connection repeats a few short ones."""


class HeaderError(ValueError):
    """A block that cannot be read: the connection's compression state is lost with it."""


class HeaderReader:
    """invariant: the memo holds only blocks that, read now, would give those headers and leave the table as it is."""

    def __init__(self, size_max_bytes: int) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=size_max_bytes)
        self._memo: dict[bytes, Headers] = {}

    def read(self, block: bytes) -> Headers:
        """Raises HeaderError."""
        known = self._memo.get(block)
        if known is not None:
            return known
        table = self._decoder.header_table
        before = (table.dynamic_entries[0] if table.dynamic_entries else None, table.maxsize)
        try:
            headers = tuple((str(name), str(value)) for name, value in self._decoder.decode(block))
        except (hpack.HPACKError, UnicodeDecodeError) as error:
            raise HeaderError(f"headers that cannot be read: {error}") from error
        after = (table.dynamic_entries[0] if table.dynamic_entries else None, table.maxsize)
        if before[0] is not after[0] or before[1] != after[1]:
            self._memo.clear()  # the same bytes may mean something else now
        elif len(self._memo) < MEMO_MAX and len(block) <= MEMO_BLOCK_MAX_BYTES:
            self._memo[block] = headers
        return headers


def encode_headers(headers: Iterable[tuple[str, str]]) -> bytes:
    """A block of literals that never enter a table (RFC 7541 §6.2.2): the same bytes on every connection."""
    out = bytearray()
    for name, value in headers:
        raw_name, raw_value = name.encode(), value.encode()
        out += b"\0" + _integer(len(raw_name)) + raw_name + _integer(len(raw_value)) + raw_value
    return bytes(out)


def _integer(value: int) -> bytes:
    """A length with a 7-bit prefix (RFC 7541 §5.1)."""
    if value < 127:
        return bytes([value])
    out, rest = bytearray([127]), value - 127
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    out.append(rest)
    return bytes(out)


def header(headers: Sequence[tuple[str, str]], name: str) -> str:
    """The value of a header, or ""."""
    return next((value for key, value in headers if key == name), "")
