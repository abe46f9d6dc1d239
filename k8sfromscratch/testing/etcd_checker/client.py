"""An etcd client that says of every call what is known: it was done, it was not, or nobody can tell."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.channel import Channel, RpcError
from k8sfromscratch.storage.interface import Unavailable
from k8sfromscratch.testing.etcd_checker import sandbox
from k8sfromscratch.testing.etcd_checker.history import Operation, Outcome

CALL_S = 1.2
"""About what the election of a leader takes here; what is not answered by then is given up."""
NOT_DONE = (grpc.INVALID_ARGUMENT, grpc.NOT_FOUND, grpc.RESOURCE_EXHAUSTED, grpc.FAILED_PRECONDITION, grpc.OUT_OF_RANGE)
"""With these etcd refuses a request, before or while applying it; any other error may come although the request was, or will be, applied."""
CLIENT_PORT, PEER_PORT = 2379, 2380
METHODS = {
    "Range": ("KV/Range", m.RangeResponse),
    "Put": ("KV/Put", m.PutResponse),
    "DeleteRange": ("KV/DeleteRange", m.DeleteRangeResponse),
    "Txn": ("KV/Txn", m.TxnResponse),
    "Compact": ("KV/Compact", m.CompactionResponse),
    "LeaseGrant": ("Lease/LeaseGrant", m.LeaseGrantResponse),
    "LeaseRevoke": ("Lease/LeaseRevoke", m.LeaseRevokeResponse),
    "Status": ("Maintenance/Status", m.StatusResponse),
    "HashKV": ("Maintenance/HashKV", m.HashKVResponse),
    "AlarmDisarm": ("Maintenance/Alarm", m.AlarmResponse),
}


class Refused(Exception):
    """Not done, and never will be."""


class Unknown(Exception):
    """Done, or not, or later."""


class Client:
    """Of one member."""

    def __init__(self, member: int) -> None:
        self.member = member
        self._channel = Channel([f"http://{sandbox.address(member)}:{CLIENT_PORT}"])

    async def close(self) -> None:
        await self._channel.close()

    async def call(self, method: str, request: Any, *, timeout_s: float = CALL_S) -> Any:
        """Raises Refused, Unknown."""
        path, kind = METHODS[method]
        try:
            async with asyncio.timeout(timeout_s):
                raw = await self._channel.call(f"/etcdserverpb.{path}", request.SerializeToString())
        except RpcError as error:
            raise (Refused if error.code in NOT_DONE else Unknown)(error.text) from error
        except (Unavailable, TimeoutError) as error:
            raise Unknown(str(error) or "no answer in time") from error
        return kind.FromString(raw)

    async def operate(self, operation: Operation, *, timeout_s: float = CALL_S) -> Operation:
        """Fills in what becomes of it."""
        operation.member, operation.called = self.member, time.monotonic()
        try:
            operation.answer = await self.call(operation.method, operation.request, timeout_s=timeout_s)
            operation.outcome = Outcome.OK
        except Refused:
            operation.outcome = Outcome.FAILED
        except Unknown:
            operation.outcome = Outcome.UNKNOWN
        operation.returned = time.monotonic()
        return operation

    async def keep_alive(self, lease: int) -> bool:
        """One renewal; whether the lease is there.  Raises Unknown."""
        request = m.LeaseKeepAliveRequest(ID=lease)
        try:
            async with asyncio.timeout(CALL_S):
                stream = await self._channel.open("/etcdserverpb.Lease/LeaseKeepAlive")
                try:
                    stream.send(request.SerializeToString())
                    async for raw in stream:
                        return bool(m.LeaseKeepAliveResponse.FromString(raw).TTL > 0)
                finally:
                    stream.cancel()
        except (Unavailable, RpcError, TimeoutError) as error:
            raise Unknown(str(error)) from error
        raise Unknown("the stream ended")

    async def watch(self, request: Any, *, silence_s: float, progress_every_s: float = 0.0) -> AsyncGenerator[Any, None]:
        """Its answers.  Ends by Unknown when the stream does, or when nothing came for `silence_s`; asks for progress as often as it is told to."""
        try:
            async with asyncio.timeout(CALL_S):
                stream = await self._channel.open("/etcdserverpb.Watch/Watch")
        except (Unavailable, TimeoutError) as error:
            raise Unknown(str(error)) from error
        asking = None
        try:
            stream.send(m.WatchRequest(create_request=request).SerializeToString())
            if progress_every_s:
                asking = asyncio.create_task(self._ask_for_progress(stream, progress_every_s))
            messages = aiter(stream)
            while True:
                async with asyncio.timeout(silence_s):
                    raw = await anext(messages)
                yield m.WatchResponse.FromString(raw)
        except (Unavailable, RpcError, TimeoutError, StopAsyncIteration) as error:
            raise Unknown(str(error)) from error
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            stream.cancel()

    async def _ask_for_progress(self, stream: Any, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            stream.send(m.WatchRequest(progress_request=m.WatchProgressRequest()).SerializeToString())
