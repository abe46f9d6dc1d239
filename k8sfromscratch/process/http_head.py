"""The heads of HTTP/1.1 messages: a request's target and header lines read, a response's written.

Clients repeat themselves: the same header names, the same few kinds of answer.  So names are decoded once, and the lines of an answer that
depend on its status and type alone are kept.
"""

from http import HTTPStatus
from urllib.parse import unquote, unquote_plus

import httptools

from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.process.http import Response

_KEPT_MAX = 512
"""Different names and answers remembered; more than clients and handlers use, few enough for a hostile client to fill without harm."""

_names: dict[bytes, str] = {}
_starts: dict[tuple[int, str], bytes] = {}


def header_name(raw: bytes) -> str:
    """In lower case."""
    name = _names.get(raw)
    if name is None:
        name = raw.decode("latin-1").lower()
        if len(_names) < _KEPT_MAX:
            _names[raw] = name
    return name


def target(raw: bytes) -> tuple[str, str, dict[str, list[str]]]:
    """(path and query as sent, decoded path, query) of a request's target: `/path?query`, `http://host/path?query`, or `*`.  Raises BadRequest."""
    # What is no UTF-8 shows as U+FFFD: such a path names nothing, and an answer can quote it.
    text = raw.decode("utf-8", "replace")
    if raw[:1] != b"/" and raw != b"*":
        try:
            url = httptools.parse_url(raw)
        except httptools.HttpParserInvalidURLError as error:
            raise BadRequest("the request's target is not a URL") from error
        path, query = (url.path or b"/").decode("utf-8", "replace"), (url.query or b"").decode("utf-8", "replace")
        # Who passes the target on means its path: a host of the client's choice is nobody's to dial.
        text = f"{path}?{query}" if query else path
    else:
        # A fragment goes no further: where it were taken for a part of the path, that would be another path than was judged.
        text = text.partition("#")[0]
        path, _, query = text.partition("?")
    return text, unquote(path) if "%" in path else path, _query(query) if query else {}


def _query(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in text.split("&"):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        if "%" in pair or "+" in pair:
            name, value = unquote_plus(name), unquote_plus(value)
        found.setdefault(name, []).append(value)
    return found


def response_head(response: Response, date: bytes, *, length: int | None, keep_alive: bool, http11: bool) -> bytes:
    """Up to the empty line.  `length` None: the body comes in chunks, or, to an HTTP/1.0 client, until the connection ends."""
    start = _starts.get((response.status, response.content_type))
    if start is None:
        start = _start(response.status, response.content_type)
        if len(_starts) < _KEPT_MAX:
            _starts[response.status, response.content_type] = start
    parts = [start, date]
    if response.headers:
        # A line break within a value would begin another header.
        parts += [f"{name}: {value}\r\n".replace("\r", " ").replace("\n", " ").rstrip().encode() + b"\r\n" for name, value in response.headers.items()]
    if length is not None:
        parts.append(b"Content-Length: %d\r\n" % length)
    elif http11 and response.status not in BODILESS:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    if not keep_alive:
        parts.append(b"Connection: close\r\n")
    elif not http11:
        parts.append(b"Connection: keep-alive\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


BODILESS = frozenset({204, 304})


def _start(status: int, content_type: str) -> bytes:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    line = f"HTTP/1.1 {status} {phrase}\r\n"
    return (line + f"Content-Type: {content_type}\r\n" if content_type and status not in BODILESS else line).encode()
