"""Ports for servers that tests start by number: nobody else gets them before that, nor between two starts of one server.

A port that the kernel gave and that was let go again may be the next it gives: of the nine of a cluster of three, two were the same in one of 300
clusters.  So each stays bound, by a socket that never listens.  The kernel gives it to nobody then who asks for any port, or connects; who asks for
it by its number gets it, as both have set SO_REUSEADDR.
"""

import os
import socket
from collections import deque

HELD_MAX = 256
"""Far more than servers that are there at the same time, and fewer than files that a process may open."""

_held: deque[int] = deque()


def free_port() -> int:
    """On 127.0.0.1, for a server that sets SO_REUSEADDR: those of asyncio, libuv, http.server and Go do."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = int(holder.getsockname()[1])
        _held.append(holder.detach())
    if len(_held) > HELD_MAX:
        os.close(_held.popleft())
    return port
