"""etcd's KV and Watch services: each method is a function (request bytes, call).

Writes are answered when a quorum has them and they are applied here.  Reads are answered from what is applied here, when that has everything that was
acknowledged anywhere before the read (`linearizable`); serializable ones at once.  A member alone applies only what is on its disk: no read can see
what a crash could take back, and none has to wait.
"""

from typing import Any

from k8sfromscratch.components.etcd.connection import Call, OpenStream, Unary
from k8sfromscratch.components.etcd.member import Member, fail, refusing
from k8sfromscratch.components.etcd.watch import WatchHub, WatchStream
from k8sfromscratch.core.mvcc.auth import READ
from k8sfromscratch.core.rpc import etcd_convert as convert
from k8sfromscratch.core.rpc import etcd_responses as responses
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.machine import Kind


class KvServices:
    def __init__(self, member: Member) -> None:
        self._member, self._engine = member, member.engine
        self.header = member.written_header
        self.hub = WatchHub(member)

    def unary(self) -> dict[str, Unary]:
        return {
            "/etcdserverpb.KV/Range": self.range,
            "/etcdserverpb.KV/Put": self.put,
            "/etcdserverpb.KV/DeleteRange": self.delete_range,
            "/etcdserverpb.KV/Txn": self.txn,
            "/etcdserverpb.KV/Compact": self.compact,
        }

    def streams(self) -> dict[str, OpenStream]:
        return {"/etcdserverpb.Watch/Watch": lambda call: WatchStream(call, self.hub)}

    # KV

    @refusing
    def range(self, data: bytes, call: Call) -> None:
        request = m.RangeRequest.FromString(data)
        op = convert.range_op(request)

        def answer() -> None:
            self._member.check_sound()  # now: this member may have heard only meanwhile that the alarm was disarmed
            if self._member.auth.enabled:
                self._member.auth.check(self._member.who(call), op.key, op.range_end, READ)
            result = self._engine.store.range(op)
            call.reply(responses.range_response(result, self.header(result.revision)))

        if request.serializable:
            answer()
        else:
            self._member.read(call, answer)

    @refusing
    def put(self, data: bytes, call: Call) -> None:
        op = responses.plain_put(data) or convert.put_op(m.PutRequest.FromString(data))
        self._member.check_sound()
        if not self._member.has_room(data, call):
            return

        def done(result: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(responses.put_response(result.responses[0], self.header(result.revision)))

        self._member.propose(call, Kind.PUT, data, op, done)

    @refusing
    def delete_range(self, data: bytes, call: Call) -> None:
        op = convert.delete_op(m.DeleteRangeRequest.FromString(data))
        self._member.check_sound()

        def done(result: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(responses.delete_response(result.responses[0], self.header(result.revision)))

        self._member.propose(call, Kind.DELETE, data, op, done)

    @refusing
    def txn(self, data: bytes, call: Call) -> None:
        request = m.TxnRequest.FromString(data)
        op = convert.txn_op(request, self._member.txn_ops_max)
        if not op.writes:

            def answer() -> None:
                self._member.check_sound()
                if self._member.auth.enabled:
                    self._engine.machine.check(self._member.who(call), Kind.TXN, op)
                result, _ = self._engine.store.txn(op)
                call.reply(responses.txn_response(result, self.header))

            if _serializable(request):
                answer()
            else:
                self._member.read(call, answer)
            return
        self._member.check_sound()
        if not self._member.has_room(data, call, puts=op.puts):
            return

        def done(result: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(responses.txn_response(result, self.header))

        self._member.propose(call, Kind.TXN, data, op, done)

    @refusing
    def compact(self, data: bytes, call: Call) -> None:
        request = m.CompactionRequest.FromString(data)

        def reply() -> None:
            call.reply(m.CompactionResponse(header=self._member.header_now()).SerializeToString())

        async def reply_when_gone() -> None:
            await self._engine.flush()
            reply()

        def done(_: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            elif request.physical:  # answered when what was compacted is gone from this member's file too
                self._member.spawn(reply_when_gone(), call)
            else:
                reply()

        self._member.propose(call, Kind.COMPACT, data, request.revision, done)


def _serializable(request: Any) -> bool:
    """Whether each read of a transaction without writes may be answered from what this member has."""
    return all(op.request_range.serializable for op in (*request.success, *request.failure) if op.WhichOneof("request") == "request_range")
