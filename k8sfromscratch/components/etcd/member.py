"""What all services of a member share: its identity, who asks, how a change is proposed, and how a refusal is told.

request ─► method, wrapped in `refusing` ─► propose ─► engine ─(durable, applied)─► reply
                    │ who asks: token, or the client's certificate
                    └─ what is refused, at once or when it is applied, becomes the call's status, in etcd's words
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from k8sfromscratch.components.etcd.connection import Call
from k8sfromscratch.components.etcd.tokens import Tokens
from k8sfromscratch.core.mvcc import auth_errors, errors
from k8sfromscratch.core.mvcc.auth import Who
from k8sfromscratch.core.rpc import etcd_convert as convert
from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.core.rpc.etcd_responses import header_of
from k8sfromscratch.core.rpc.headers import header
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage import group
from k8sfromscratch.storage.engine import TXN_OPS_MAX, Done, Engine, Overloaded
from k8sfromscratch.storage.interface import StorageError
from k8sfromscratch.storage.lmdb_backend import Checksum
from k8sfromscratch.storage.machine import ALARM_ACTIVATE, ALARM_NOSPACE, Kind, on_behalf
from k8sfromscratch.storage.proposals import awaited

VERSION = "3.5.21"
"""The etcd whose behaviour we hold ourselves to; clients choose features by it."""
OLD_REVISION_TRIES = 10
"""How often a request is looked at again because users or roles changed in between; more changes than that in a row are no accident."""
ANYBODYS = frozenset((Kind.COMPACT, Kind.GRANT, Kind.ALARM))
"""What etcd does for clients without a user too, when authentication is on."""

_CODES: Mapping[type[Exception], int] = {
    errors.Compacted: grpc.OUT_OF_RANGE,
    errors.FutureRevision: grpc.OUT_OF_RANGE,
    errors.LeaseNotFound: grpc.NOT_FOUND,
    errors.LeaseExists: grpc.FAILED_PRECONDITION,
    errors.DuplicateKey: grpc.INVALID_ARGUMENT,
    errors.KeyNotFound: grpc.INVALID_ARGUMENT,
    convert.RequestError: grpc.INVALID_ARGUMENT,
    Overloaded: grpc.RESOURCE_EXHAUSTED,
    auth_errors.UserEmpty: grpc.INVALID_ARGUMENT,
    auth_errors.RoleEmpty: grpc.INVALID_ARGUMENT,
    auth_errors.AuthFailed: grpc.INVALID_ARGUMENT,
    auth_errors.InvalidAuthMgmt: grpc.INVALID_ARGUMENT,
    auth_errors.PermissionNotGiven: grpc.INVALID_ARGUMENT,
    auth_errors.OldRevision: grpc.INVALID_ARGUMENT,
    auth_errors.PermissionDenied: grpc.PERMISSION_DENIED,
    auth_errors.InvalidAuthToken: grpc.UNAUTHENTICATED,
    auth_errors.NoPasswordUser: grpc.UNKNOWN,
    group.MemberNotFound: grpc.NOT_FOUND,
}


class Corrupt(StorageError):
    """The alarm CORRUPT is raised: what members hold differs, and nothing is answered before somebody has looked."""


def fail(call: Call, error: Exception) -> None:
    """A refusal in etcd's words and code."""
    code = _CODES.get(type(error))
    if isinstance(error, StorageError) and code is not None:
        call.finish(code, f"etcdserver: {error}")
    elif code is not None:
        call.finish(code, str(error))
    elif isinstance(error, auth_errors.AuthError):
        call.finish(grpc.FAILED_PRECONDITION, str(error))
    elif isinstance(error, Corrupt):
        call.finish(grpc.DATA_LOSS, "etcdserver: corrupt cluster")
    elif isinstance(error, group.MembershipRefused | group.NotLeader | group.BadTransferee):
        call.finish(grpc.FAILED_PRECONDITION, f"etcdserver: {error}")
    elif isinstance(error, StorageError):
        call.finish(grpc.UNAVAILABLE, f"etcdserver: {error}")
    elif isinstance(error, DecodeError):
        call.finish(grpc.INTERNAL, "grpc: the request cannot be read")
    else:
        raise error


S = TypeVar("S")


def refusing(method: Callable[[S, bytes, Call], None]) -> Callable[[S, bytes, Call], None]:
    """What a method raises becomes the call's status."""

    @wraps(method)
    def guarded(self: S, data: bytes, call: Call) -> None:
        try:
            method(self, data, call)
        except (errors.MvccError, convert.RequestError, DecodeError, StorageError) as error:
            fail(call, error)

    return guarded


class Member:
    def __init__(
        self,
        engine: Engine,
        env: Env,
        *,
        member_id: int,
        cluster_id: int,
        client_cert_auth: bool = False,
        token_ttl_s: float = 300.0,
        request_max_bytes: int = 1_572_864,
        txn_ops_max: int = TXN_OPS_MAX,
    ) -> None:
        self.engine, self.env, self.id, self.cluster_id = engine, env, member_id, cluster_id
        self.store, self.auth, self.alarms = engine.store, engine.machine.auth, engine.machine.alarms
        self._header_term, self._write_header = 0, header_of(cluster_id, member_id, 0)
        self.tokens = Tokens(env, token_ttl_s)
        self.txn_ops_max, self._request_max_bytes = txn_ops_max, request_max_bytes
        self._client_cert_auth = client_cert_auth
        self._tasks: set[asyncio.Task[None]] = set()
        engine.machine.token_given = lambda name, token: self.tokens.give(token, name, self.auth)
        engine.machine.tokens_ended = self.tokens.clear
        engine.on_filled = self._raise_no_space

    @property
    def is_learner(self) -> bool:
        own = self.engine.members.get(self.id)
        return own is not None and own.is_learner

    def header(self, revision: int) -> Any:
        return m.ResponseHeader(cluster_id=self.cluster_id, member_id=self.id, revision=revision, raft_term=self.engine.term)

    def written_header(self, revision: int) -> bytes:
        """The same, as bytes: what nearly all answers begin with."""
        if self.engine.term != self._header_term:
            self._header_term = self.engine.term
            self._write_header = header_of(self.cluster_id, self.id, self._header_term)
        return self._write_header(revision)

    def header_now(self) -> Any:
        return self.header(self.store.revision)

    # Reads

    def linearizable(self, done: Callable[[Exception | None], None]) -> None:
        """Calls `done` when this member has everything that was acknowledged before; with the reason when that cannot be known."""
        self.engine.linearizable(done)

    def read(self, call: Call, answer: Callable[[], None]) -> None:
        """`answer`, once it is linearizable; what it raises becomes the call's status."""

        def ready(error: Exception | None) -> None:
            try:
                if error is not None:
                    raise error
                answer()
            except (errors.MvccError, StorageError) as refused:
                fail(call, refused)

        self.engine.linearizable(ready)

    # Who asks

    def who(self, call: Call) -> Who | None:
        """None where nobody says who it is, or authentication is off.  Raises InvalidAuthToken."""
        if not self.auth.enabled:
            return None
        token = header(call.metadata, "token") or header(call.metadata, "authorization")
        if token:
            return Who(self.tokens.user(token, self.auth), self.auth.revision)
        if self._client_cert_auth and (name := call.common_name):
            return Who(name, self.auth.revision)
        return None

    def require_admin(self, call: Call) -> None:
        """Raises AuthError."""
        self.auth.check_admin(self.who(call))

    # Changes

    def propose(self, call: Call, kind: Kind, payload: bytes, op: Any, done: Done) -> None:
        """`done` as the engine calls it; on behalf of who asks where authentication is on.  Raises AuthError."""
        if not self.auth.enabled:
            self.engine.propose(kind, payload, op, done)
        else:
            self._propose_for(call, kind, payload, op, done, OLD_REVISION_TRIES)

    def _propose_for(self, call: Call, kind: Kind, payload: bytes, op: Any, done: Done, tries: int) -> None:
        who = self.who(call)
        if who is None:
            if kind not in ANYBODYS:
                raise auth_errors.UserEmpty
            self.engine.propose(kind, payload, op, done)
            return

        def again(result: Any, error: Exception | None) -> None:
            if not isinstance(error, auth_errors.OldRevision) or tries <= 1:
                done(result, error)
                return
            try:
                if self.auth.enabled:
                    self._propose_for(call, kind, payload, op, done, tries - 1)
                else:
                    self.engine.propose(kind, payload, op, done)
            except auth_errors.AuthError as refused:
                done(None, refused)

        self.engine.propose(Kind.ON_BEHALF, *on_behalf(who, kind, payload, op), again)

    async def proposed(self, call: Call, kind: Kind, payload: bytes, op: Any) -> Any:
        """The same, awaited: the result.  Raises MvccError, StorageError."""
        future, done = awaited()
        self.propose(call, kind, payload, op, done)
        return await future

    def answering(self, call: Call, response: Callable[[Any], Any]) -> Done:
        """A `done` that replies with what `response` makes of the result, or tells the refusal."""

        def done(result: Any, error: Exception | None) -> None:
            if error is not None:
                fail(call, error)
            else:
                call.reply(response(result).SerializeToString())

        return done

    def has_room(self, data: bytes, call: Call, *, puts: bool = True) -> bool:
        """A full store still takes deletions: they and a compaction make room again.  It is full until the alarm is disarmed; false is told already."""
        if len(data) > self._request_max_bytes:
            call.finish(grpc.INVALID_ARGUMENT, "etcdserver: request is too large")
            return False
        if puts and (self.alarms.no_space or self.engine.over_quota):
            self._raise_no_space()
            call.finish(grpc.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
            return False
        return True

    def _raise_no_space(self) -> None:
        """By the member that notices, though others have proposed what filled it: theirs may have more room, and they must stop too."""
        if not self.alarms.no_space:
            raised = m.AlarmRequest(action=ALARM_ACTIVATE, memberID=self.id, alarm=ALARM_NOSPACE)
            self.engine.propose(Kind.ALARM, raised.SerializeToString(), raised)

    def check_sound(self) -> None:
        """Raises Corrupt."""
        if self.alarms.corrupt:
            raise Corrupt

    async def checksum(self, revision: int) -> Checksum:
        """Of everything up to a revision, 0 for the latest.  Raises Compacted, FutureRevision, Unavailable."""
        if revision > self.store.revision:
            raise errors.FutureRevision
        found = await self.engine.checksum(revision)
        if found.revision < found.compact_revision:
            raise errors.Compacted(found.compact_revision)
        return found

    async def hash_kv(self, revision: int) -> Any:
        """The same, as it is told to clients and other members."""
        found = await self.checksum(revision)
        return m.HashKVResponse(header=self.header_now(), hash=found.crc32, compact_revision=found.compact_revision)

    # Work that takes longer than a turn of the loop

    def spawn(self, work: Coroutine[Any, Any, None], call: Call) -> asyncio.Task[None]:
        """Owned until it ends or the member closes; what it raises becomes the call's status."""

        async def told() -> None:
            try:
                await work
            except (errors.MvccError, StorageError, InterruptedError, OSError) as error:
                fail(call, error if not isinstance(error, OSError) else StorageError(str(error)))

        task = asyncio.get_running_loop().create_task(told())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
