"""Asks the outside: queries that are not the cluster's go to the machine's nameservers, as they came.

The packet is passed on with an identifier of our own, over a socket of its own for each query, so that a forged answer would have to guess the
port, the identifier and the question (RFC 5452).  Answers are kept as long as their lowest TTL, 30 s at most.
"""

import asyncio
import struct
from collections import OrderedDict
from pathlib import Path

from k8sfromscratch.core.network.dns_message import Query, min_ttl_s, question_of
from k8sfromscratch.process.clock import Env

TRY_S = 2.0
CACHE_ENTRIES_MAX = 10_000
CACHE_TTL_MAX_S = 30
UNDER_WAY_MAX = 1_000
"""Queries waiting for the outside at once; further ones get SERVFAIL, so that a dead upstream cannot eat all memory."""


class ForwardError(Exception):
    """No nameserver gave a usable answer."""


class Forwarder:
    def __init__(self, servers: list[str], env: Env) -> None:
        self._servers, self._env = servers, env
        self._cache: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._under_way = 0

    async def ask(self, query: Query, packet: bytes, *, tcp: bool) -> bytes:
        """The answer with the client's identifier.  Raises ForwardError."""
        if not self._servers:
            raise ForwardError("no upstream nameserver is configured")
        key = (b"t" if tcp else b"u") + packet[2:]
        now = self._env.clock.monotonic()
        known = self._cache.get(key)
        if known is not None and known[0] > now:
            return packet[:2] + known[1][2:]
        if self._under_way >= UNDER_WAY_MAX:
            raise ForwardError("too many queries are waiting for the outside")
        self._under_way += 1
        try:
            answer = await self._ask_any(query, packet, tcp)
        finally:
            self._under_way -= 1
        keep_s = min(min_ttl_s(answer), CACHE_TTL_MAX_S)
        if keep_s > 0:
            self._cache[key] = (now + keep_s, answer)
            self._cache.move_to_end(key)
            if len(self._cache) > CACHE_ENTRIES_MAX:
                self._cache.popitem(last=False)
        return packet[:2] + answer[2:]

    async def _ask_any(self, query: Query, packet: bytes, tcp: bool) -> bytes:
        errors = []
        for server in self._servers:
            ident = self._env.rng.getrandbits(16).to_bytes(2, "big")
            try:
                async with asyncio.timeout(TRY_S):
                    answer = await (_by_tcp if tcp else _by_udp)(server, ident + packet[2:])
                if question_of(answer) == question_of(packet):
                    return answer
                errors.append(f"{server}: answered another question")
            except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as error:
                errors.append(f"{server}: {error or 'no answer in time'}")
        raise ForwardError("; ".join(errors))


class _OneAnswer(asyncio.DatagramProtocol):
    def __init__(self, ident: bytes) -> None:
        self._ident = ident
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data[:2] == self._ident and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _by_udp(server: str, packet: bytes) -> bytes:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _OneAnswer(packet[:2]), remote_addr=(server, 53))
    try:
        transport.sendto(packet)
        return await protocol.answer
    finally:
        transport.close()


async def _by_tcp(server: str, packet: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server, 53)
    try:
        writer.write(struct.pack("!H", len(packet)) + packet)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = await reader.readexactly(length)
        if answer[:2] != packet[:2]:
            raise ValueError("the answer's identifier is not ours")
        return answer
    finally:
        writer.close()


def nameservers(resolv_conf: Path) -> list[str]:
    """The `nameserver` lines of a resolv.conf; empty where there is no such file."""
    if not resolv_conf.exists():
        return []
    lines = (line.split() for line in resolv_conf.read_text().splitlines())
    return [parts[1] for parts in lines if len(parts) >= 2 and parts[0] == "nameserver"]
