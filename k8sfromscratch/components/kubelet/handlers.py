"""Asking a container something: the handlers that probes and lifecycle hooks share (exec, httpGet, tcpSocket, sleep)."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from k8sfromscratch.core.pods.probes import port_number
from k8sfromscratch.runtime.interface import NotInRuntime, Runtime, RuntimeFailure, RuntimeTimeout, RuntimeUnavailable

Object = dict[str, Any]

OUTPUT_BYTES_MAX = 10 * 1024
USER_AGENT = "kube-probe/1.35"


@dataclass(frozen=True, slots=True)
class Answer:
    """`message` says why not; for a hook's command, with its exit code."""

    success: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A running container of a pod that has an address."""

    container: Object
    container_id: str
    pod_ip: str


class Handlers:
    """Needs a running event loop; `close` when done."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False, force_close=True, limit=0), auto_decompress=False)

    async def ask(self, handler: str, action: Mapping[str, Any], target: Target, timeout_s: float) -> Answer | None:
        """None: it could not be found out (the runtime is away, or the container), which counts as nothing."""
        match handler:
            case "exec":
                return await self._exec(action, target, timeout_s)
            case "httpGet":
                return await self._http_get(action, target, timeout_s)
            case "tcpSocket":
                return await self._tcp_socket(action, target, timeout_s)
            case "sleep":
                await asyncio.sleep(float(action.get("seconds", 0)))
                return Answer(True)
        return Answer(False, f"handlers of type {handler} are not supported")

    async def close(self) -> None:
        await self._http.close()

    async def _exec(self, action: Mapping[str, Any], target: Target, timeout_s: float) -> Answer | None:
        command = list(action.get("command") or [])
        try:
            async with asyncio.timeout(timeout_s):
                result = await self._runtime.exec_sync(target.container_id, command, timeout_s)
        except (TimeoutError, RuntimeTimeout):
            return Answer(False, f"command timed out: {command} timed out after {timeout_s:g}s")
        except (RuntimeUnavailable, NotInRuntime):
            return None
        except RuntimeFailure as error:
            return Answer(False, str(error))
        if result.exit_code == 0:
            return Answer(True)
        output = (result.stdout + result.stderr)[:OUTPUT_BYTES_MAX].decode(errors="replace").rstrip("\n")
        return Answer(False, output or f"command {command} exited with {result.exit_code}")

    async def _http_get(self, action: Mapping[str, Any], target: Target, timeout_s: float) -> Answer:
        try:
            url = _url(action, target)
        except ValueError as error:
            return Answer(False, str(error))
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*"} | {h["name"]: str(h.get("value", "")) for h in action.get("httpHeaders") or []}
        try:
            async with self._http.get(url, headers=headers, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=timeout_s)) as response:
                await response.content.read(OUTPUT_BYTES_MAX)
        except TimeoutError:
            return Answer(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')
        except aiohttp.ClientConnectorError as error:
            return Answer(False, f'Get "{url}": dial tcp: {_reason(error.os_error)}')
        except (aiohttp.ClientError, OSError) as error:
            return Answer(False, f'Get "{url}": {error}')
        if 200 <= response.status < 400:
            return Answer(True)
        return Answer(False, f"HTTP probe failed with statuscode: {response.status}")

    async def _tcp_socket(self, action: Mapping[str, Any], target: Target, timeout_s: float) -> Answer:
        host = action.get("host") or target.pod_ip
        try:
            port = port_number(target.container, action["port"])
        except ValueError as error:
            return Answer(False, str(error))
        try:
            async with asyncio.timeout(timeout_s):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return Answer(False, f"dial tcp {host}:{port}: i/o timeout")
        except OSError as error:
            return Answer(False, f"dial tcp {host}:{port}: {_reason(error)}")
        writer.close()
        try:
            await writer.wait_closed()
        except OSError as error:
            return Answer(True, f"the peer reset the connection: {error}")
        return Answer(True)


def _reason(error: OSError) -> str:
    """`connect: connection refused`, whatever words the library has around it."""
    return f"connect: {os.strerror(error.errno).lower()}" if error.errno else str(error)


def _url(action: Mapping[str, Any], target: Target) -> str:
    host = action.get("host") or target.pod_ip
    bracketed = f"[{host}]" if ":" in host else host
    path = action.get("path") or "/"
    return f"{(action.get('scheme') or 'HTTP').lower()}://{bracketed}:{port_number(target.container, action['port'])}/{path.lstrip('/')}"
