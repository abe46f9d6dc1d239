"""DNS messages: bytes in, values out, and back (RFC 1035, EDNS0 of RFC 6891).

A reader of outside input: whatever arrives gives a `Query` or a `FormatError` that says what to answer, never anything else.
Names are tuples of lower-case labels without the root: ("www", "example", "org").
"""

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
IN, CHAOS = 1, 3
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

CLASSIC_SIZE_BYTES = 512
"""What fits in a UDP answer to a client without EDNS0 (RFC 1035 §2.3.4)."""
EDNS_SIZE_BYTES = 1232
"""What we offer and never exceed on UDP: passes unfragmented everywhere (DNS flag day 2020)."""
_POINTERS_MAX = 32
_HEADER = struct.Struct("!HHHHHH")

Name = tuple[str, ...]


class FormatError(ValueError):
    """`ident` is the message's, where it could be read; without it nothing can be answered."""

    def __init__(self, message: str, ident: int | None = None, rcode: int = FORMERR) -> None:
        super().__init__(message)
        self.ident, self.rcode = ident, rcode


@dataclass(frozen=True, slots=True)
class Query:
    """One question.  `name` is lower case; `asked` is the name as sent, which the answer repeats (clients mix cases on purpose)."""

    ident: int
    name: Name
    asked: bytes
    type: int
    klass: int
    recursion_desired: bool
    udp_size_bytes: int
    edns: bool
    edns_version: int = 0
    checking_disabled: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """`data` by type: A and AAAA an address text, PTR, CNAME and NS a Name, SRV (priority, weight, port, Name),
    TXT a tuple of bytes, SOA (mname, rname, serial, refresh, retry, expire, minimum)."""

    name: Name
    type: int
    ttl_s: int
    data: object
    klass: int = IN


@dataclass(frozen=True, slots=True)
class Answer:
    rcode: int = NOERROR
    records: Sequence[Record] = ()
    authority: Sequence[Record] = ()
    additional: Sequence[Record] = ()
    authoritative: bool = True


def parse_query(packet: bytes) -> Query:
    """Raises FormatError; with NOTIMP where it is a valid message that we do not serve (another opcode)."""
    if len(packet) < _HEADER.size:
        raise FormatError("shorter than a header")
    ident, flags, questions, _, _, additional = _HEADER.unpack_from(packet)
    if flags & 0x8000:
        raise FormatError("an answer, not a query")
    if (flags >> 11) & 0xF:
        raise FormatError("opcode is not QUERY", ident, NOTIMP)
    if questions != 1:
        raise FormatError(f"{questions} questions; exactly one is answered", ident)
    try:
        labels, offset = _read_name(packet, _HEADER.size)
        asked = packet[_HEADER.size : offset]
        qtype, qclass = struct.unpack_from("!HH", packet, offset)
        offset += 4
        size, edns, version = CLASSIC_SIZE_BYTES, False, 0
        for _ in range(additional):
            _, offset = _read_name(packet, offset)
            rtype, rclass, ttl, length = struct.unpack_from("!HHIH", packet, offset)
            offset += 10 + length
            if offset > len(packet):
                raise FormatError("a record reaches past the end", ident)
            if rtype == OPT:
                if edns:
                    raise FormatError("two OPT records", ident)
                size, edns, version = max(CLASSIC_SIZE_BYTES, min(rclass, EDNS_SIZE_BYTES)), True, (ttl >> 16) & 0xFF
    except (struct.error, IndexError) as error:
        raise FormatError("ends in the middle", ident) from error
    except FormatError as error:
        raise FormatError(str(error), ident, error.rcode) from error
    name = tuple(label.lower().decode("latin-1") for label in labels)
    return Query(ident, name, asked, qtype, qclass, bool(flags & 0x0100), size, edns, version, bool(flags & 0x0010))


def build_answer(query: Query, answer: Answer, size_max_bytes: int) -> bytes:
    """The reply.  Where not all fits, optional records are left out first, then all of them with the TC bit, so that the client asks again by TCP."""
    full = _assemble(query, answer, answer.records, answer.additional, truncated=False)
    if len(full) <= size_max_bytes:
        return full
    lean = _assemble(query, answer, answer.records, (), truncated=False)
    if len(lean) <= size_max_bytes:
        return lean
    return _assemble(query, Answer(answer.rcode, authoritative=answer.authoritative), (), (), truncated=True)


def build_error(ident: int, rcode: int) -> bytes:
    """A reply to something whose question could not be read."""
    return _HEADER.pack(ident, 0x8000 | rcode, 0, 0, 0, 0)


def _assemble(query: Query, answer: Answer, records: Sequence[Record], additional: Sequence[Record], *, truncated: bool) -> bytes:
    flags = 0x8000 | (0x0400 if answer.authoritative else 0) | (0x0200 if truncated else 0) | (0x0100 if query.recursion_desired else 0) | 0x0080
    flags |= (0x0010 if query.checking_disabled else 0) | (answer.rcode & 0xF)
    out = bytearray(_HEADER.pack(query.ident, flags, 1, len(records), len(answer.authority), len(additional) + query.edns))
    known: dict[Name, int] = {}
    _remember(known, query.name, len(out))
    out += query.asked + struct.pack("!HH", query.type, query.klass)
    for record in (*records, *answer.authority, *additional):
        _write_record(out, record, known)
    if query.edns:
        out += b"\0" + struct.pack("!HHIH", OPT, EDNS_SIZE_BYTES, (answer.rcode >> 4) << 24, 0)
    return bytes(out)


def _write_record(out: bytearray, record: Record, known: dict[Name, int]) -> None:
    _write_name(out, record.name, known)
    out += struct.pack("!HHIH", record.type, record.klass, record.ttl_s, 0)
    start = len(out)
    data = record.data
    if record.type in (A, AAAA):
        out += ipaddress.ip_address(str(data)).packed
    elif record.type in (PTR, CNAME, NS):
        assert isinstance(data, tuple)
        _write_name(out, data, known)
    elif record.type == SRV:
        assert isinstance(data, tuple)
        priority, weight, port, target = data
        out += struct.pack("!HHH", priority, weight, port)
        _write_name(out, target, {})  # RFC 2782: the target is not compressed
    elif record.type == TXT:
        assert isinstance(data, tuple)
        for text in data:
            out += bytes([len(text)]) + text
    elif record.type == SOA:
        assert isinstance(data, tuple)
        mname, rname, *numbers = data
        _write_name(out, mname, known)
        _write_name(out, rname, known)
        out += struct.pack("!IIIII", *numbers)
    else:
        raise AssertionError(f"a record of type {record.type} was built")
    struct.pack_into("!H", out, start - 2, len(out) - start)


def _write_name(out: bytearray, name: Name, known: dict[Name, int]) -> None:
    """With compression: a suffix that stands earlier in the message becomes a pointer to it (RFC 1035 §4.1.4)."""
    for i, label in enumerate(name):
        place = known.get(name[i:])
        if place is not None:
            out += struct.pack("!H", 0xC000 | place)
            return
        if len(out) < 0x4000:
            known[name[i:]] = len(out)
        raw = label.encode("latin-1")
        out += bytes([len(raw)]) + raw
    out += b"\0"


def _remember(known: dict[Name, int], name: Name, offset: int) -> None:
    for i, label in enumerate(name):
        known[name[i:]] = offset
        offset += len(label) + 1


def _read_name(packet: bytes, offset: int) -> tuple[list[bytes], int]:
    """The labels, and where reading goes on.  Pointers must go back, so no loop is possible; their number is bounded all the same."""
    labels: list[bytes] = []
    end: int | None = None
    length_total = 0
    for _ in range(_POINTERS_MAX + 128):
        length = packet[offset]
        if length == 0:
            return labels, end if end is not None else offset + 1
        if length >= 0xC0:
            target = ((length & 0x3F) << 8) | packet[offset + 1]
            if target >= offset:
                raise FormatError("a compression pointer that does not go back")
            end = end if end is not None else offset + 2
            offset = target
            continue
        if length > 63:
            raise FormatError("a label type that is not known")
        label = packet[offset + 1 : offset + 1 + length]
        length_total += length + 1
        if len(label) < length or length_total > 254:
            raise FormatError("a name that is too long or cut off")
        labels.append(label)
        offset += 1 + length
    raise FormatError("a name of too many parts")


def question_of(packet: bytes) -> tuple[Name, int, int]:
    """The one question of any message, its name in lower case.  Raises FormatError."""
    try:
        if struct.unpack_from("!H", packet, 4)[0] != 1:
            raise FormatError("not one question")
        labels, offset = _read_name(packet, _HEADER.size)
        qtype, qclass = struct.unpack_from("!HH", packet, offset)
    except (struct.error, IndexError) as error:
        raise FormatError("ends in the middle") from error
    return tuple(label.lower().decode("latin-1") for label in labels), qtype, qclass


def min_ttl_s(packet: bytes) -> int:
    """How long an answer from elsewhere may be kept: its lowest TTL; 0 where it was cut off, failed or cannot be read."""
    try:
        _, flags, questions, answers, authority, _ = _HEADER.unpack_from(packet)
        if flags & 0x0200 or flags & 0xF not in (NOERROR, NXDOMAIN):
            return 0
        offset = _HEADER.size
        for _ in range(questions):
            offset = _read_name(packet, offset)[1] + 4
        ttls = []
        for _ in range(answers + authority):
            _, offset = _read_name(packet, offset)
            _, _, ttl, length = struct.unpack_from("!HHIH", packet, offset)
            ttls.append(ttl)
            offset += 10 + length
    except (struct.error, IndexError, FormatError):
        return 0
    return min(ttls, default=0)
