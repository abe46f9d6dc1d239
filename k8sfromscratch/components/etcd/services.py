"""etcd's KV, Watch and Lease services over one member: each method is a function (request bytes, call).

Reads are answered at once from what is applied; writes when they are durable.  A single member that applies only what is on its disk is
linearizable by itself: no read can see what a crash could take back.
"""

from typing import Any

from google.protobuf.message import DecodeError

from k8sfromscratch.components.etcd.connection import Call, OpenStream, Unary
from k8sfromscratch.components.etcd.member import Member, fail, refusing
from k8sfromscratch.components.etcd.watch import WatchHub, WatchStream
from k8sfromscratch.core.mvcc import errors
from k8sfromscratch.core.mvcc.auth import READ
from k8sfromscratch.core.rpc import etcd_convert as convert
from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.engine import TXN_OPS_MAX
from k8sfromscratch.storage.machine import Kind

LEASE_TTL_MAX_S = 9_000_000_000
LEASE_TTL_MIN_S = 2
"""Shorter ones would end before a new leader is elected; upstream's, with its default timeouts."""


class KvServices:
    def __init__(self, member: Member) -> None:
        self._member, self._engine, self._env = member, member.engine, member.env
        self.header = member.header
        self.hub = WatchHub(member)
        member.engine.subscribe(self.hub.publish)

    def unary(self) -> dict[str, Unary]:
        return {
            "/etcdserverpb.KV/Range": self.range,
            "/etcdserverpb.KV/Put": self.put,
            "/etcdserverpb.KV/DeleteRange": self.delete_range,
            "/etcdserverpb.KV/Txn": self.txn,
            "/etcdserverpb.KV/Compact": self.compact,
            "/etcdserverpb.Lease/LeaseGrant": self.lease_grant,
            "/etcdserverpb.Lease/LeaseRevoke": self.lease_revoke,
            "/etcdserverpb.Lease/LeaseTimeToLive": self.lease_time_to_live,
            "/etcdserverpb.Lease/LeaseLeases": self.lease_leases,
        }

    def streams(self) -> dict[str, OpenStream]:
        return {
            "/etcdserverpb.Watch/Watch": lambda call: WatchStream(call, self.hub),
            "/etcdserverpb.Lease/LeaseKeepAlive": lambda call: KeepAlives(call, self),
        }

    # KV

    @refusing
    def range(self, data: bytes, call: Call) -> None:
        op = convert.range_op(m.RangeRequest.FromString(data))
        self._member.check_sound()
        if self._member.auth.enabled:
            self._member.auth.check(self._member.who(call), op.key, op.range_end, READ)
        result = self._engine.store.range(op)
        call.reply(convert.range_response(result, self.header(result.revision)).SerializeToString())

    @refusing
    def put(self, data: bytes, call: Call) -> None:
        op = convert.put_op(m.PutRequest.FromString(data))
        self._member.check_sound()
        if not self._member.has_room(data, call):
            return

        def done(result: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(convert.put_response(result.responses[0], self.header(result.revision)).SerializeToString())

        self._member.propose(call, Kind.PUT, data, op, done)

    @refusing
    def delete_range(self, data: bytes, call: Call) -> None:
        op = convert.delete_op(m.DeleteRangeRequest.FromString(data))
        self._member.check_sound()

        def done(result: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(convert.delete_response(result.responses[0], self.header(result.revision)).SerializeToString())

        self._member.propose(call, Kind.DELETE, data, op, done)

    @refusing
    def txn(self, data: bytes, call: Call) -> None:
        op = convert.txn_op(m.TxnRequest.FromString(data), TXN_OPS_MAX)
        self._member.check_sound()
        if not op.writes:
            if self._member.auth.enabled:
                self._engine.machine.check(self._member.who(call), Kind.TXN, op)
            result, _ = self._engine.store.txn(op)
            call.reply(convert.txn_response(result, self.header).SerializeToString())
            return
        if not self._member.has_room(data, call, puts=op.puts):
            return

        def done(result: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(convert.txn_response(result, self.header).SerializeToString())

        self._member.propose(call, Kind.TXN, data, op, done)

    @refusing
    def compact(self, data: bytes, call: Call) -> None:
        def done(_: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(m.CompactionResponse(header=self.header(self._engine.store.revision)).SerializeToString())

        self._member.propose(call, Kind.COMPACT, data, m.CompactionRequest.FromString(data).revision, done)

    # Lease

    @refusing
    def lease_grant(self, data: bytes, call: Call) -> None:
        request = m.LeaseGrantRequest.FromString(data)
        if request.TTL > LEASE_TTL_MAX_S:
            call.finish(grpc.OUT_OF_RANGE, "etcdserver: too large lease TTL")
            return
        if not self._member.has_room(data, call):
            return
        # The identifier is chosen before the record is written, so that reading the log again gives the same lease.
        granted = m.LeaseGrantRequest(ID=request.ID or self._env.rng.getrandbits(62) + 1, TTL=max(request.TTL, LEASE_TTL_MIN_S))

        def done(lease: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(m.LeaseGrantResponse(header=self.header(self._engine.store.revision), ID=lease.id, TTL=lease.ttl_s).SerializeToString())

        self._member.propose(call, Kind.GRANT, granted.SerializeToString(), (granted.ID, granted.TTL), done)

    @refusing
    def lease_revoke(self, data: bytes, call: Call) -> None:
        def done(_: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(m.LeaseRevokeResponse(header=self.header(self._engine.store.revision)).SerializeToString())

        self._member.propose(call, Kind.REVOKE, data, m.LeaseRevokeRequest.FromString(data).ID, done)

    @refusing
    def lease_time_to_live(self, data: bytes, call: Call) -> None:
        request = m.LeaseTimeToLiveRequest.FromString(data)
        if self._member.auth.enabled and request.keys:
            self._engine.machine.check_lease_read(self._member.who(call), request.ID)
        response = m.LeaseTimeToLiveResponse(header=self.header(self._engine.store.revision), ID=request.ID, TTL=-1)
        if request.ID in self._engine.store.leases:
            lease = self._engine.store.leases.get(request.ID)
            response.TTL = max(int(lease.expires_at - self._env.clock.monotonic()), 0)
            response.grantedTTL = lease.ttl_s
            if request.keys:
                response.keys.extend(sorted(lease.keys))
        call.reply(response.SerializeToString())

    def lease_leases(self, data: bytes, call: Call) -> None:
        leases = [m.LeaseStatus(ID=lease.id) for lease in self._engine.store.leases.all()]
        call.reply(m.LeaseLeasesResponse(header=self.header(self._engine.store.revision), leases=leases).SerializeToString())

    def keep_alive(self, lease: int) -> bytes:
        """A lease that is gone has TTL 0."""
        try:
            ttl_s = self._engine.store.leases.keep_alive(lease, self._env.clock.monotonic()).ttl_s
        except errors.LeaseNotFound:
            ttl_s = 0
        message = m.LeaseKeepAliveResponse(header=self.header(self._engine.store.revision), ID=lease, TTL=ttl_s)
        return bytes(message.SerializeToString())


class KeepAlives:
    """One LeaseKeepAlive call: each request is answered."""

    def __init__(self, call: Call, services: KvServices) -> None:
        self._call, self._services = call, services

    def message(self, data: bytes) -> None:
        try:
            lease = m.LeaseKeepAliveRequest.FromString(data).ID
        except DecodeError as error:
            fail(self._call, error)
            return
        self._call.send(self._services.keep_alive(lease))

    def half_closed(self) -> None:
        self._call.finish()

    def closed(self) -> None:
        return None
