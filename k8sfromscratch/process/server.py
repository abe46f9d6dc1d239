"""An HTTP server around one Handler: it listens, and looks after its certificate and its end.

What happens on a connection is `http_connection`'s.
"""

import asyncio
import contextlib
import logging

from k8sfromscratch.process.http import Handler
from k8sfromscratch.process.http_connection import HttpConnection, Shared
from k8sfromscratch.process.tls import RELOAD_EVERY_S, CertificateReload, TlsError, TlsFiles, server_context

log = logging.getLogger(__name__)

BODY_MAX_BYTES = 3 * 1024 * 1024
"""Upstream's limit of a request's body."""
FLUSH_S = 1.0
"""How long a server that stops waits for its answers to be taken, and for clients to close their side."""


class Server:
    """A listening server; made by `serve`."""

    def __init__(self, shared: Shared, listener: asyncio.base_events.Server, renewing: asyncio.Task[None] | None) -> None:
        self._shared, self._listener, self._renewing = shared, listener, renewing
        self.port = int(listener.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._shared.open)

    async def close(self, grace_s: float = 5.0) -> None:
        """Takes no more connections, lets requests end for `grace_s`, then cuts what is left."""
        self._listener.close()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        shared = self._shared
        shared.draining = True
        for connection in list(shared.open):
            connection.close_idle()
        if busy := self._tasks(busy=True):
            await asyncio.wait(busy, timeout=grace_s)
        if shared.open and not self._tasks(busy=True):
            # The last answers are on their way still.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(grace_s, FLUSH_S)):
                    await shared.empty.wait()
        left = self._tasks()
        for connection in list(shared.open):
            connection.abort()
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        await self._listener.wait_closed()

    def _tasks(self, *, busy: bool = False) -> list[asyncio.Task[None]]:
        return [connection.task for connection in self._shared.open if connection.task is not None and (connection.busy or not busy)]


async def serve(
    handler: Handler,
    *,
    host: str,
    port: int,
    tls: TlsFiles | None = None,
    client_ca_file: str = "",
    body_max_bytes: int = BODY_MAX_BYTES,
) -> Server:
    """Port 0 lets the system choose.  Certificate files that change are read again.
    Raises OSError where the address cannot be had, TlsError where a certificate cannot be used."""
    context = server_context(tls, client_ca_file=client_ca_file) if tls is not None else None
    shared = Shared(handler, body_max_bytes)
    listener = await asyncio.get_running_loop().create_server(lambda: HttpConnection(shared), host, port, ssl=context, backlog=1024)
    renewing = asyncio.create_task(_renew(CertificateReload(context, tls)), name="certificate") if context is not None and tls is not None else None
    return Server(shared, listener, renewing)


async def _renew(certificate: CertificateReload) -> None:
    while True:
        await asyncio.sleep(RELOAD_EVERY_S)
        try:
            if certificate.look():
                log.info("serving the new certificate of %s", certificate.files.cert_file)
        except TlsError as error:
            log.error("keeping the certificate served so far: %s", error)
