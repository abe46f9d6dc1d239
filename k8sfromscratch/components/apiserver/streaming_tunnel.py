"""Upgraded connections between a client and a kubelet, in three ways, chosen by what the client speaks:

    SPDY client            its request with the kubelet's path, then bytes both ways
    WebSocket, exec/attach messages are translated to SPDY streams (`core.streams.remotecommand`)
    WebSocket, port-forward its messages carry the bytes of an SPDY connection, which are unwrapped (KEP-4006)

Either side's end is the connection's end: over TLS there is no half-close, that is what SPDY's FIN is for.  The server then waits for the client to
have read all (`process.upgrade`).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import orjson

from k8sfromscratch.api.errors import ApiError, InternalError
from k8sfromscratch.components.apiserver.streaming_kubelet import CHUNK_BYTES, ERROR_BYTES_MAX, Endpoint, dial, passed_on
from k8sfromscratch.core.streams.remotecommand import SPDY_PROTOCOL, Translator, Wanted
from k8sfromscratch.core.streams.spdy import SpdyError
from k8sfromscratch.core.streams.websocket import Closed, Message, WebSocketServer, accept_head
from k8sfromscratch.process.http import Connection, Request, Upgrade

log = logging.getLogger(__name__)

PORT_FORWARD_TUNNEL = "SPDY/3.1+portforward.k8s.io"
PORT_FORWARD_PROTOCOL = "portforward.k8s.io"

READY_TIMEOUT_S = 30.0
"""For the kubelet's answer, and for its streams: what runtimes themselves wait for streams."""

_PROTOCOL_HEADER = "x-stream-protocol-version"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def tunnel(request: Request, endpoint: Endpoint, target: str, identity: Sequence[tuple[str, str]] = ()) -> Upgrade:
    """What the client says goes to the kubelet as it is, once the kubelet has switched protocols, and not a byte before: as long as it speaks
    HTTP, the client would be sending it requests of its own under our certificate (CVE-2018-1002105)."""
    headers = passed_on(request.headers) | {"connection": "Upgrade", "upgrade": request.headers.get("upgrade", "")}

    async def talk(client: Connection, kubelet: Stream) -> None:
        reader, writer = kubelet
        client.writer.write(await _upgraded(kubelet, _head(request.method, target, endpoint, headers, identity)))
        writer.write(client.initial)
        await _either(_pump(client.reader, writer), _pump(reader, client.writer))

    return _upgrade(endpoint, talk)


def command(request: Request, endpoint: Endpoint, target: str, wanted: Wanted, protocol: str) -> Upgrade:
    """A WebSocket client of exec or attach, in the subprotocol that was agreed on."""

    async def talk(client: Connection, kubelet: Stream) -> None:
        await _upgraded(kubelet, _head("POST", target, endpoint, _spdy_headers(SPDY_PROTOCOL)))
        client.writer.write(accept_head(request.headers.get("sec-websocket-key", ""), protocol))
        await _translate(Translator(wanted, protocol), client, kubelet)

    return _upgrade(endpoint, talk)


def port_forward(request: Request, endpoint: Endpoint, target: str) -> Upgrade:
    """A WebSocket client of port-forward whose messages are SPDY."""

    async def talk(client: Connection, kubelet: Stream) -> None:
        await _upgraded(kubelet, _head("POST", target, endpoint, _spdy_headers(PORT_FORWARD_PROTOCOL)))
        client.writer.write(accept_head(request.headers.get("sec-websocket-key", ""), PORT_FORWARD_TUNNEL))
        await _unwrap(WebSocketServer(), client, kubelet)

    return _upgrade(endpoint, talk)


def _upgrade(endpoint: Endpoint, talk: Callable[[Connection, Stream], Awaitable[None]]) -> Upgrade:
    async def run(client: Connection) -> None:
        async with _answering(client), _connected(endpoint) as kubelet:
            await talk(client, kubelet)

    return Upgrade(run)


async def _translate(translator: Translator, client: Connection, kubelet: Stream) -> None:
    reader, writer = kubelet

    def write() -> tuple[bool, bool]:
        """Whether there was something for the kubelet, for the client.  Each direction waits only for its own sink: a command that does not read its
        input holds up the client's writing, and must not hold up its own output."""
        kubelet_data, client_data = translator.to_kubelet(), translator.to_client()
        writer.write(kubelet_data)
        client.writer.write(client_data)
        return bool(kubelet_data), bool(client_data)

    async def from_kubelet(until: Callable[[], bool]) -> None:
        while not until():
            data = await reader.read(CHUNK_BYTES)
            try:
                if not data:
                    raise SpdyError("the kubelet closed the connection before the command had ended")
                translator.from_kubelet(data)
            except SpdyError as error:
                translator.kubelet_gone(orjson.dumps(InternalError(f"error in the stream from the kubelet: {error}").status()))
            write()
            await client.writer.drain()

    async def from_client() -> None:
        data = client.initial or await client.reader.read(CHUNK_BYTES)
        while data:
            translator.from_client(data)
            for_kubelet, for_client = write()
            if for_kubelet:
                await writer.drain()
            if for_client:  # answers to pings
                await client.writer.drain()
            if translator.done:
                return
            data = await client.reader.read(CHUNK_BYTES)

    write()
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await from_kubelet(lambda: translator.ready or translator.done)
    except TimeoutError:
        translator.kubelet_gone(orjson.dumps(InternalError("the kubelet did not take the command's streams in time").status()))
        write()
        return
    await _either(from_client(), from_kubelet(lambda: translator.done))


async def _unwrap(websocket: WebSocketServer, client: Connection, kubelet: Stream) -> None:
    reader, writer = kubelet

    async def flush() -> None:
        if data := websocket.take():
            client.writer.write(data)
            await client.writer.drain()

    async def to_kubelet(data: bytes) -> bool:
        events = websocket.receive(data)
        writer.writelines([event.data for event in events if isinstance(event, Message)])
        await flush()
        await writer.drain()
        return not any(isinstance(event, Closed) for event in events)

    async def from_client() -> None:
        going = await to_kubelet(client.initial) if client.initial else True
        while going and (data := await client.reader.read(CHUNK_BYTES)):
            going = await to_kubelet(data)

    async def from_kubelet() -> None:
        while data := await reader.read(CHUNK_BYTES):
            websocket.send(data)
            await flush()
        websocket.close()
        await flush()

    await _either(from_client(), from_kubelet())


async def _either(*works: Awaitable[None]) -> None:
    """Until the first ends; the others are then of no use."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, ConnectionError):
            log.debug("stream ended: %s", result)
        elif isinstance(result, Exception):
            raise result


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK_BYTES):
        sink.write(data)
        await sink.drain()


@asynccontextmanager
async def _connected(endpoint: Endpoint) -> AsyncIterator[Stream]:
    reader, writer = await dial(endpoint)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # the other side was the first to go
            await writer.wait_closed()


@asynccontextmanager
async def _answering(client: Connection) -> AsyncIterator[None]:
    """An error before anything was said is the client's HTTP answer."""
    try:
        yield
    except ApiError as error:
        body = orjson.dumps(error.status())
        head = f"HTTP/1.1 {error.http_code} {error.status_reason or 'Error'}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        client.writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await client.writer.drain()


async def _upgraded(kubelet: Stream, head: bytes) -> bytes:
    """The kubelet's 101, as it came.  Raises ApiError with its words where it does not switch protocols."""
    reader, writer = kubelet
    writer.write(head)
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            answer = await reader.readuntil(b"\r\n\r\n")
            status_line, *lines = answer.decode("latin-1").split("\r\n")
            status = int(status_line.split(" ", 2)[1])
            if status == 101:
                return answer
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = min(int(headers.get("content-length") or 0), ERROR_BYTES_MAX)
            text = (await reader.readexactly(length)).decode(errors="replace").strip()
    except (OSError, EOFError, TimeoutError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
        raise InternalError(f"unable to upgrade connection: the kubelet gave no proper answer: {error}") from error
    raise InternalError(f"unable to upgrade connection: {text or status_line}", code=status if status >= 400 else None)


def _spdy_headers(protocol: str) -> Mapping[str, str]:
    return {"connection": "Upgrade", "upgrade": "SPDY/3.1", _PROTOCOL_HEADER: protocol, "content-length": "0"}


def _head(method: str, target: str, endpoint: Endpoint, headers: Mapping[str, str], more: Sequence[tuple[str, str]] = ()) -> bytes:
    """`more` are lines as they stand, whose names may repeat."""
    host = [] if any(name == "Host" for name, _ in more) else [f"Host: {endpoint.authority}"]
    lines = [f"{method} {target} HTTP/1.1", *host, *(f"{name}: {value}" for name, value in more)]
    for name, value in headers.items():
        # Clients offer their protocols a line each, and runtimes read them so.
        lines += [f"{name}: {part.strip()}" for part in (value.split(",") if name == _PROTOCOL_HEADER else [value])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
