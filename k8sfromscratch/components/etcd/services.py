"""etcd's v3 services over one engine: each method is a function (request bytes, call).

Reads are answered at once from what is applied; writes when they are durable.  A single member that applies only what is on its disk is
linearizable by itself: no read can see what a crash could take back.
"""

import random
import zlib
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from google.protobuf.message import DecodeError

from k8sfromscratch.components.etcd.connection import Call, OpenStream, Unary
from k8sfromscratch.components.etcd.watch import WatchHub, WatchStream
from k8sfromscratch.core.mvcc import errors
from k8sfromscratch.core.mvcc.types import RangeOp
from k8sfromscratch.core.rpc import etcd_convert as convert
from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.engine import TXN_OPS_MAX, Engine, Kind, Overloaded
from k8sfromscratch.storage.interface import StorageError

VERSION = "3.5.21"
"""The etcd whose behaviour we hold ourselves to; clients choose features by it."""
RAFT_TERM = 2
LEASE_TTL_MAX_S = 9_000_000_000
REQUEST_MAX_BYTES = 1_572_864
"""etcd's --max-request-bytes."""
ALARM_NOSPACE = 1

_CODES: Mapping[type[Exception], int] = {
    errors.Compacted: grpc.OUT_OF_RANGE,
    errors.FutureRevision: grpc.OUT_OF_RANGE,
    errors.LeaseNotFound: grpc.NOT_FOUND,
    errors.LeaseExists: grpc.FAILED_PRECONDITION,
    errors.DuplicateKey: grpc.INVALID_ARGUMENT,
    errors.KeyNotFound: grpc.INVALID_ARGUMENT,
    convert.RequestError: grpc.INVALID_ARGUMENT,
    Overloaded: grpc.RESOURCE_EXHAUSTED,
}


def fail(call: Call, error: Exception) -> None:
    """A refusal in etcd's words and code."""
    code = _CODES.get(type(error))
    if code is not None:
        call.finish(code, str(error))
    elif isinstance(error, StorageError):
        call.finish(grpc.UNAVAILABLE, f"etcdserver: {error}")
    elif isinstance(error, DecodeError):
        call.finish(grpc.INTERNAL, "grpc: the request cannot be read")
    else:
        raise error


def refusing(method: Callable[["Services", bytes, Call], None]) -> Callable[["Services", bytes, Call], None]:
    """What a method raises becomes the call's status."""

    @wraps(method)
    def guarded(self: "Services", data: bytes, call: Call) -> None:
        try:
            method(self, data, call)
        except (errors.MvccError, convert.RequestError, DecodeError, StorageError) as error:
            fail(call, error)

    return guarded


class Services:
    def __init__(self, engine: Engine, env: Env, *, name: str, cluster_token: str, peer_urls: list[str], client_urls: list[str]) -> None:
        self._engine, self._env = engine, env
        self._member = m.Member(ID=_identifier(name, *peer_urls), name=name, peerURLs=peer_urls, clientURLs=client_urls)
        self._cluster_id = _identifier(cluster_token, name, *peer_urls)
        self.hub = WatchHub(engine.store, self.header)
        engine.subscribe(self.hub.publish)

    def unary(self) -> dict[str, Unary]:
        services: dict[str, dict[str, Unary]] = {
            "KV": {"Range": self.range, "Put": self.put, "DeleteRange": self.delete_range, "Txn": self.txn, "Compact": self.compact},
            "Lease": {
                "LeaseGrant": self.lease_grant,
                "LeaseRevoke": self.lease_revoke,
                "LeaseTimeToLive": self.lease_time_to_live,
                "LeaseLeases": self.lease_leases,
            },
            "Cluster": {"MemberList": self.member_list},
            "Maintenance": {"Status": self.status, "Alarm": self.alarm, "HashKV": self.hash_kv},
        }
        return {f"/etcdserverpb.{service}/{name}": method for service, methods in services.items() for name, method in methods.items()}

    def streams(self) -> dict[str, OpenStream]:
        return {
            "/etcdserverpb.Watch/Watch": lambda call: WatchStream(call, self.hub),
            "/etcdserverpb.Lease/LeaseKeepAlive": lambda call: KeepAlives(call, self),
        }

    def header(self, revision: int) -> Any:
        return m.ResponseHeader(cluster_id=self._cluster_id, member_id=self._member.ID, revision=revision, raft_term=RAFT_TERM)

    # KV

    @refusing
    def range(self, data: bytes, call: Call) -> None:
        result = self._engine.store.range(convert.range_op(m.RangeRequest.FromString(data)))
        call.reply(convert.range_response(result, self.header(result.revision)).SerializeToString())

    @refusing
    def put(self, data: bytes, call: Call) -> None:
        op = convert.put_op(m.PutRequest.FromString(data))
        if not self._has_room(data, call):
            return

        def done(result: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(convert.put_response(result.responses[0], self.header(result.revision)).SerializeToString())

        self._engine.propose(Kind.PUT, data, op, done)

    @refusing
    def delete_range(self, data: bytes, call: Call) -> None:
        op = convert.delete_op(m.DeleteRangeRequest.FromString(data))

        def done(result: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(convert.delete_response(result.responses[0], self.header(result.revision)).SerializeToString())

        self._engine.propose(Kind.DELETE, data, op, done)

    @refusing
    def txn(self, data: bytes, call: Call) -> None:
        op = convert.txn_op(m.TxnRequest.FromString(data), TXN_OPS_MAX)
        if not op.writes:
            result, _ = self._engine.store.txn(op)
            call.reply(convert.txn_response(result, self.header).SerializeToString())
            return
        if not self._has_room(data, call, puts=op.puts):
            return

        def done(result: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(convert.txn_response(result, self.header).SerializeToString())

        self._engine.propose(Kind.TXN, data, op, done)

    @refusing
    def compact(self, data: bytes, call: Call) -> None:
        def done(_: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(m.CompactionResponse(header=self.header(self._engine.store.revision)).SerializeToString())

        self._engine.propose(Kind.COMPACT, data, m.CompactionRequest.FromString(data).revision, done)

    # Lease

    @refusing
    def lease_grant(self, data: bytes, call: Call) -> None:
        request = m.LeaseGrantRequest.FromString(data)
        if request.TTL > LEASE_TTL_MAX_S:
            call.finish(grpc.OUT_OF_RANGE, "etcdserver: too large lease TTL")
            return
        if not self._has_room(data, call):
            return
        # The identifier is chosen before the record is written, so that reading the log again gives the same lease.
        granted = m.LeaseGrantRequest(ID=request.ID or self._env.rng.getrandbits(62) + 1, TTL=max(request.TTL, 1))

        def done(lease: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(m.LeaseGrantResponse(header=self.header(self._engine.store.revision), ID=lease.id, TTL=lease.ttl_s).SerializeToString())

        self._engine.propose(Kind.GRANT, granted.SerializeToString(), (granted.ID, granted.TTL), done)

    @refusing
    def lease_revoke(self, data: bytes, call: Call) -> None:
        def done(_: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(m.LeaseRevokeResponse(header=self.header(self._engine.store.revision)).SerializeToString())

        self._engine.propose(Kind.REVOKE, data, m.LeaseRevokeRequest.FromString(data).ID, done)

    @refusing
    def lease_time_to_live(self, data: bytes, call: Call) -> None:
        request = m.LeaseTimeToLiveRequest.FromString(data)
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

    # Cluster and Maintenance

    def member_list(self, data: bytes, call: Call) -> None:
        call.reply(m.MemberListResponse(header=self.header(self._engine.store.revision), members=[self._member]).SerializeToString())

    def status(self, data: bytes, call: Call) -> None:
        size, in_use = self._engine.size_bytes()
        response = m.StatusResponse(
            header=self.header(self._engine.store.revision),
            version=VERSION,
            dbSize=size,
            dbSizeInUse=in_use,
            leader=self._member.ID,
            raftIndex=self._engine.applied,
            raftAppliedIndex=self._engine.applied,
            raftTerm=RAFT_TERM,
            errors=[f"memberID:{self._member.ID} alarm:NOSPACE"] if self._engine.over_quota else [],
        )
        call.reply(response.SerializeToString())

    @refusing
    def alarm(self, data: bytes, call: Call) -> None:
        request = m.AlarmRequest.FromString(data)
        if request.action == 1:
            call.finish(grpc.UNIMPLEMENTED, "etcdserver: alarms are raised by the server itself")
            return
        # Deactivating only tells what holds: the alarm follows the size of the database.
        alarms = [m.AlarmMember(memberID=self._member.ID, alarm=ALARM_NOSPACE)] if self._engine.over_quota else []
        call.reply(m.AlarmResponse(header=self.header(self._engine.store.revision), alarms=alarms).SerializeToString())

    @refusing
    def hash_kv(self, data: bytes, call: Call) -> None:
        """A checksum of everything readable at a revision: equal for members of ours with equal content."""
        revision = m.HashKVRequest.FromString(data).revision
        found = self._engine.store.range(RangeOp(b"\0", b"\0", revision=revision))
        checksum = 0
        for kv in found.kvs:
            checksum = zlib.crc32(b"%d %d %d " % (kv.create_revision, kv.mod_revision, kv.version) + kv.key + b"\0" + kv.value, checksum)
        store = self._engine.store
        call.reply(m.HashKVResponse(header=self.header(store.revision), hash=checksum, compact_revision=store.compact_revision).SerializeToString())

    def _has_room(self, data: bytes, call: Call, *, puts: bool = True) -> bool:
        """A full store still takes deletions: they and a compaction make room again."""
        if len(data) > REQUEST_MAX_BYTES:
            call.finish(grpc.INVALID_ARGUMENT, "etcdserver: request is too large")
        elif puts and self._engine.over_quota:
            call.finish(grpc.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
        else:
            return True
        return False


class KeepAlives:
    """One LeaseKeepAlive call: each request is answered."""

    def __init__(self, call: Call, services: Services) -> None:
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


def _identifier(*parts: str) -> int:
    """The same for the same member every time, and never 0."""
    return random.Random("\0".join(parts)).getrandbits(63) | 1
