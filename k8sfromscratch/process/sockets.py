"""Finding out that a peer is gone: a machine that lost its power says nothing, and TCP alone would wait for hours.

Two of the kernel's mechanisms, set once a connection and free afterwards:

keepalive       probes an idle connection; without answers it fails
user timeout    fails a connection whose data is not taken for so long: the peer is dead, or it does not read
"""

import socket

IDLE_S, PROBE_EVERY_S, PROBES = 15, 10, 3
"""Go's defaults for the idle time; a dead peer is found in 45 s, less than the 60 s after which leases and nodes count as lost."""


def watch_peer(sock: socket.socket, *, untaken_s: float) -> None:
    """`untaken_s` bounds how long sent data may wait to be taken; 0 leaves that to TCP's own retries."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(untaken_s * 1000))
