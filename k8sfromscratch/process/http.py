"""One request and one response, whichever way they travel.

A server component is a `Handler`: `async (Request) -> Response`.  `process.server` puts it behind HTTP/1.1 and TLS;
`client.transport.DirectTransport` calls it in the same process.  Upgrades (exec, attach, port-forward) need a socket, so they
take a way of their own: a handler answers with `Upgrade`, which only a real server can carry out.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Request:
    """`path` is percent-decoded and absolute; `raw_path` is as sent, with the query; `query` keeps every value of a repeated key,
    in order; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    remote: str = ""
    raw_path: str = ""
    peer_certificate: bytes | None = None
    """The client's TLS certificate, DER, already verified against the server's client CA; None without one."""
    direct_user: object | None = None
    """In one process only: who calls (the apiserver's `UserInfo`), set by the transport's maker, never from the wire."""
    repeated: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The values of headers that came more than once, in order; `headers` has them in one list, with commas between."""

    def arg(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        values = self.query.get(name)
        return values[-1] if values else default

    def header_values(self, name: str) -> Sequence[str]:
        """Of a header whose values may have commas in them, each as sent."""
        if name in self.repeated:
            return self.repeated[name]
        return (self.headers[name],) if name in self.headers else ()


@dataclass(slots=True)
class Response:
    """`body` is bytes, or an iterator of chunks for a watch or a followed log: each chunk is flushed as it comes.
    When the peer goes away the iterator is closed (`aclose`)."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Connection:
    """A raw byte stream after an upgrade.  `initial` are bytes that the peer sent behind its request head."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    initial: bytes = b""


@dataclass(slots=True)
class Upgrade:
    """Take over the connection: nothing has been answered yet; `run` writes the 101 (or an error) itself and owns the stream till it returns."""

    run: Callable[[Connection], Awaitable[None]]


Handler = Callable[[Request], Awaitable[Response | Upgrade]]
