"""A machine that ends says no goodbye: without this an operation there would wait for ever."""

import socket
from typing import Any

from pyinfra.connectors.ssh import SSHConnector

ASKED_EVERY_S = 5


def keep_alive(connector: SSHConnector, *, unanswered_s: int) -> None:
    """The connection breaks when the other side has acknowledged nothing for so long."""
    transport = connector.client.get_transport() if connector.client is not None else None
    if transport is None:
        return
    transport.set_keepalive(ASKED_EVERY_S)
    wire: Any = transport.sock
    if hasattr(wire, "setsockopt"):  # by way of another machine (ProxyJump, ProxyCommand) it is no socket
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unanswered_s * 1000)
