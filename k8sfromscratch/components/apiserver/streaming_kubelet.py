"""How the apiserver reaches kubelets: their address, our client certificate, and one connection each request.

    node.status.addresses (--kubelet-preferred-address-types) : node.status.daemonEndpoints.kubeletEndpoint.Port

Kubelets check our certificate; we check theirs against --kubelet-certificate-authority, and where that is not given not at all, as
upstream.  Nothing is pooled: these are logs, terminals and a scrape now and then.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from k8sfromscratch.api.errors import ApiError, InternalError, ServiceUnavailable, not_found
from k8sfromscratch.api.registry import NODES
from k8sfromscratch.components.apiserver.authentication import WEBSOCKET_BEARER
from k8sfromscratch.components.apiserver.config import ApiServerFlags
from k8sfromscratch.core.admission.types import View
from k8sfromscratch.process.http import Response
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.sockets import watch_peer
from k8sfromscratch.process.tls import TlsError, TlsFiles, client_context

CONNECT_TIMEOUT_S = 10.0
CHUNK_BYTES = 64 * 1024
HEAD_BYTES_MAX = 64 * 1024
ERROR_BYTES_MAX = 100 * 1024
"""Of a kubelet's error that is passed on."""

_CONNECTION_HEADERS = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "host"})
_CREDENTIALS = frozenset({"authorization", "x-remote-user", "x-remote-group", "x-remote-uid"})
_CREDENTIAL_PREFIXES = ("impersonate-", "x-remote-extra-")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`context` None: plain HTTP.  `server_name`: whose certificate it must be, where that is not the host's."""

    host: str
    port: int
    context: ssl.SSLContext | None
    server_name: str = ""

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'http' if self.context is None else 'https'}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Kubelets:
    """`context` None (plain HTTP) is for tests only; real kubelets speak TLS.  `unchecked`: the same without a look at their certificate."""

    context: ssl.SSLContext | None
    unchecked: ssl.SSLContext | None = None
    address_types: tuple[str, ...] = ("InternalIP", "Hostname")

    def endpoint(self, node_name: str, view: View, *, unchecked: bool = False) -> Endpoint:
        """Raises NotFound, ServiceUnavailable."""
        node = view.get(NODES, node_name)
        if node is None:
            raise not_found(NODES.plural, node_name)
        status = node.get("status") or {}
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
        addresses = {address["type"]: address["address"] for address in reversed(status.get("addresses") or [])}
        host = next((addresses[kind] for kind in self.address_types if kind in addresses), None)
        if not host or not port:
            raise ServiceUnavailable(f'node "{node_name}" tells no address of a kubelet: it serves no logs and runs no commands')
        return Endpoint(host, port, self.unchecked if unchecked else self.context)


NO_KUBELETS = Kubelets(None, address_types=())
"""For simulated nodes, which tell addresses that nobody listens on."""


def kubelets_from_flags(flags: ApiServerFlags) -> Kubelets:
    """Raises StartError."""
    files = TlsFiles(flags.kubelet_client_certificate, flags.kubelet_client_key) if flags.kubelet_client_certificate else None
    authority = flags.kubelet_certificate_authority
    try:
        unchecked = client_context(files=files, insecure=True)
        context = client_context(ca_file=authority, files=files) if authority else unchecked
    except TlsError as error:
        raise StartError(str(error)) from error
    return Kubelets(context, unchecked, tuple(flags.kubelet_preferred_address_types))


async def dial(endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises InternalError."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=endpoint.context, server_hostname=endpoint.server_name or None, limit=HEAD_BYTES_MAX
            )
    except (OSError, TimeoutError) as error:
        raise _unreachable(endpoint, error) from error
    watch_peer(writer.get_extra_info("socket"), untaken_s=0)
    return reader, writer


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """A client's headers as a backend may see them: nothing of its connection to us, nothing of its identity."""
    kept = {
        name: value
        for name, value in headers.items()
        if name not in _CONNECTION_HEADERS and name not in _CREDENTIALS and not name.startswith(_CREDENTIAL_PREFIXES)
    }
    protocols = kept.get("sec-websocket-protocol")
    if protocols is not None and WEBSOCKET_BEARER in protocols:
        kept["sec-websocket-protocol"] = ", ".join(part for part in protocols.split(",") if not part.strip().startswith(WEBSOCKET_BEARER))
    return kept


async def fetch(endpoint: Endpoint, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> "Fetched":
    """An HTTP request, whose answer is read as it comes.  `target`: path and query, encoded.  Raises InternalError."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=endpoint.context or False, force_close=True, socket_factory=_socket),
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
    )
    try:
        url, name = URL(endpoint.url + target, encoded=True), endpoint.server_name or None
        answer = await session.request(method, url, headers=headers, data=body or None, allow_redirects=False, server_hostname=name)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        await session.close()
        raise _unreachable(endpoint, error) from error
    except BaseException:
        await session.close()
        raise
    return Fetched(session, answer)


class Fetched:
    """An answer under way; the owner reads its body, or closes it.  `response` hands both duties to whoever sends it on."""

    def __init__(self, session: aiohttp.ClientSession, answer: aiohttp.ClientResponse) -> None:
        self._session, self._answer = session, answer

    @property
    def status(self) -> int:
        return self._answer.status

    async def text(self) -> str:
        """Of an error: read as far as it is worth showing, then closed."""
        body = b""
        try:
            while len(body) < ERROR_BYTES_MAX and (chunk := await self._answer.content.readany()):
                body += chunk
        except aiohttp.ClientError:
            body += b" (broken off)"
        finally:
            await self.aclose()
        return body[:ERROR_BYTES_MAX].decode(errors="replace")

    def response(self) -> Response:
        headers = {name: value for name, value in self._answer.headers.items() if name.lower() not in _CONNECTION_HEADERS | {"content-type"}}
        return Response(self.status, self, self._answer.headers.get("Content-Type", ""), headers)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._answer.content.readany()
        except aiohttp.ClientError as error:
            await self.aclose()
            raise ConnectionResetError(f"the backend broke off: {error}") from error
        if not chunk:
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self._answer.close()
        await self._session.close()


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """For aiohttp: `address` is one of getaddrinfo's answers."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    watch_peer(made, untaken_s=0)
    return made


def _unreachable(endpoint: Endpoint, error: BaseException) -> ApiError:
    reason = "timed out" if isinstance(error, TimeoutError) else str(error)
    return InternalError(f"error dialing backend: {endpoint.authority}: {reason}")
