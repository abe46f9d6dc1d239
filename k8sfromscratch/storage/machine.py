"""What the records of the log do: the replicated state of a member, which is the store, who may use it, the alarms, and the members.

    record (kind, payload) ─ read ─► (kind, op) ─ apply ─► result, and the events of the revision it made

Applying the same records in the same order gives the same state, on every member and after every start: neither reads a clock or draws a random
number; times to live count from the caller's `now`, and identifiers are in the record.  A record that is refused when it is applied is refused
again when the log is read.

A record by itself is the server's own, or was made while authentication was off.  One that a user asked for is wrapped (ON_BEHALF), and whether
the user may is decided here, where the order of all changes is known.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from k8sfromscratch.core.mvcc.auth import READ, WRITE, AuthStore, Permission, Who
from k8sfromscratch.core.mvcc.auth_errors import AuthFailed, AuthNotEnabled
from k8sfromscratch.core.mvcc.store import MvccStore
from k8sfromscratch.core.mvcc.types import DeleteOp, Event, PutOp, TxnOp
from k8sfromscratch.core.rpc import etcd_convert as convert
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.entries import decode_member
from k8sfromscratch.storage.frames import WalError
from k8sfromscratch.storage.membership import Membership

ALARM_NONE, ALARM_NOSPACE, ALARM_CORRUPT = 0, 1, 2
ALARM_GET, ALARM_ACTIVATE, ALARM_DEACTIVATE = 0, 1, 2


class Kind(IntEnum):
    """Kinds of records; the payload is etcd's request message of that name."""

    PUT = 1
    DELETE = 2
    TXN = 3
    COMPACT = 4
    GRANT = 5
    REVOKE = 6
    ON_BEHALF = 7
    ALARM = 8
    TOKEN = 9
    AUTH_ENABLE = 10
    AUTH_DISABLE = 11
    USER_ADD = 12
    USER_DELETE = 13
    USER_CHANGE_PASSWORD = 14
    USER_GRANT_ROLE = 15
    USER_REVOKE_ROLE = 16
    ROLE_ADD = 17
    ROLE_DELETE = 18
    ROLE_GRANT_PERMISSION = 19
    ROLE_REVOKE_PERMISSION = 20
    MEMBER = 21
    LEASE_CHECKPOINT = 22


MESSAGES: Mapping[int, Any] = {
    Kind.ALARM: m.AlarmRequest,
    Kind.TOKEN: m.AuthToken,
    Kind.AUTH_ENABLE: m.AuthEnableRequest,
    Kind.AUTH_DISABLE: m.AuthDisableRequest,
    Kind.USER_ADD: m.AuthUserAddRequest,
    Kind.USER_DELETE: m.AuthUserDeleteRequest,
    Kind.USER_CHANGE_PASSWORD: m.AuthUserChangePasswordRequest,
    Kind.USER_GRANT_ROLE: m.AuthUserGrantRoleRequest,
    Kind.USER_REVOKE_ROLE: m.AuthUserRevokeRoleRequest,
    Kind.ROLE_ADD: m.AuthRoleAddRequest,
    Kind.ROLE_DELETE: m.AuthRoleDeleteRequest,
    Kind.ROLE_GRANT_PERMISSION: m.AuthRoleGrantPermissionRequest,
    Kind.ROLE_REVOKE_PERMISSION: m.AuthRoleRevokePermissionRequest,
}
"""Of the kinds whose op is the message itself."""


class OnBehalf(NamedTuple):
    who: Who
    kind: int
    op: Any


class Alarms:
    """Which members have raised which alarms, until somebody disarms them."""

    def __init__(self) -> None:
        self._raised: set[tuple[int, int]] = set()
        self.no_space = self.corrupt = False
        """What is asked at every request."""

    def active(self, alarm: int = ALARM_NONE) -> list[tuple[int, int]]:
        """(member, alarm), all of them or those of one kind."""
        return sorted(each for each in self._raised if alarm in (ALARM_NONE, each[1]))

    def change(self, request: Any) -> list[tuple[int, int]]:
        """What the request changed."""
        each = (request.memberID, request.alarm)
        if request.action == ALARM_ACTIVATE and each not in self._raised:
            self._raised.add(each)
        elif request.action == ALARM_DEACTIVATE and each in self._raised:
            self._raised.discard(each)
        else:
            return []
        self._tell()
        return [each]

    def bucket(self) -> dict[bytes, bytes]:
        return {m.AlarmMember(memberID=member, alarm=alarm).SerializeToString(): b"" for member, alarm in self._raised}

    def restore(self, keys: Iterable[bytes]) -> None:
        """In the place of those that were there."""
        self._raised.clear()
        for raw in keys:
            each = m.AlarmMember.FromString(raw)
            self._raised.add((each.memberID, each.alarm))
        self._tell()

    def _tell(self) -> None:
        self.no_space, self.corrupt = bool(self.active(ALARM_NOSPACE)), bool(self.active(ALARM_CORRUPT))


class Machine:
    def __init__(self, store: MvccStore) -> None:
        self.store = store
        self.auth = AuthStore()
        self.alarms = Alarms()
        self.membership = Membership()
        """Changed by records of kind MEMBER, and by Raft's changes of members, which do not come through `apply`."""
        self.changes = 0
        """How often users, roles, alarms or members have changed: what is written to the file only then."""
        self.token_given: Callable[[str, str], None] = lambda name, token: None
        """Called with what a client may show from now on instead of the user's password: no state, each member keeps it for itself."""
        self.tokens_ended: Callable[[], None] = lambda: None

    def buckets(self) -> dict[bytes, dict[bytes, bytes]]:
        """Users, roles, alarms and members as upstream's database has them."""
        return {**self.auth.buckets(), b"alarm": self.alarms.bucket(), **self.membership.buckets()}

    def restore(self, buckets: Mapping[bytes, Mapping[bytes, bytes]]) -> None:
        self.auth.restore(buckets)
        self.alarms.restore(buckets.get(b"alarm", {}))
        self.membership.restore(buckets)

    def take_over(self, other: "Machine") -> None:
        """Becomes what `other` is, which is given up; who holds a part of this one holds the same part, with new content."""
        self.store.take_over(other.store)
        self.restore(other.buckets())
        self.changes += 1

    def apply(self, kind: int, op: Any, now: float) -> tuple[Any, int, list[Event]]:
        """(result, revision, events).  Raises MvccError or MembershipRefused, having changed nothing."""
        store = self.store
        match kind:
            case Kind.PUT | Kind.DELETE:
                assert isinstance(op, PutOp | DeleteOp)
                if isinstance(op, PutOp) and op.lease:
                    store.leases.get(op.lease)  # told before what else may be wrong, unlike in a transaction: as upstream
                result, events = store.txn(TxnOp(success=(op,)))
                return result, result.revision, events
            case Kind.TXN:
                result, events = store.txn(op)
                return result, result.revision, events
            case Kind.COMPACT:
                store.compact(op)
                return None, store.revision, []
            case Kind.GRANT:
                return store.leases.grant(op[0], op[1], now), store.revision, []
            case Kind.REVOKE:
                events = store.revoke(op)
                return None, store.revision, events
            case Kind.LEASE_CHECKPOINT:
                for lease, remaining_s in op.items():
                    store.leases.checkpoint(lease, remaining_s)
                return None, store.revision, []
            case Kind.ON_BEHALF:
                self.check(op.who, op.kind, op.op)
                return self.apply(op.kind, op.op, now)
            case Kind.TOKEN:
                self._give_token(op)
                return None, store.revision, []
            case Kind.ALARM:
                self.changes += 1
                return self.alarms.change(op), store.revision, []
            case Kind.MEMBER:
                self.membership.update(op)
                self.changes += 1
                return None, store.revision, []
            case _:
                self.changes += 1
                self._administer(kind, op)
                return None, store.revision, []

    def check(self, who: Who | None, kind: int, op: Any) -> None:
        """Whether this user may do that.  Raises AuthError."""
        match kind:
            case Kind.PUT | Kind.DELETE | Kind.TXN:
                self.auth.check_ops(who, (op,), self.lease_keys)
            case Kind.REVOKE:
                for key in self.lease_keys(op):
                    self.auth.check(who, key, b"", WRITE)
            case Kind.COMPACT | Kind.GRANT | Kind.ALARM | Kind.TOKEN:
                return
            case _:
                self.auth.check_fresh(who)
                self.auth.check_admin(who)

    def check_lease_read(self, who: Who | None, lease: int) -> None:
        """Whether this user may see which keys a lease has.  Raises AuthError."""
        for key in self.lease_keys(lease):
            self.auth.check(who, key, b"", READ)

    def lease_keys(self, lease: int) -> list[bytes]:
        return sorted(self.store.leases.get(lease).keys) if lease in self.store.leases else []

    def _give_token(self, op: Any) -> None:
        """For the password that was compared; a user whose password has changed since has to show the new one."""
        if not self.auth.enabled:
            raise AuthNotEnabled
        user = self.auth.users.get(op.name)
        if user is None or user.password_hash != op.password:
            raise AuthFailed
        self.token_given(op.name, op.token)

    def _administer(self, kind: int, r: Any) -> None:
        auth = self.auth
        match kind:
            case Kind.AUTH_ENABLE:
                auth.enable()
            case Kind.AUTH_DISABLE:
                auth.disable()
                self.tokens_ended()
            case Kind.USER_ADD:
                auth.user_add(r.name, r.hashedPassword.encode(), no_password=r.options.no_password)
            case Kind.USER_DELETE:
                auth.user_delete(r.name)
            case Kind.USER_CHANGE_PASSWORD:
                auth.user_change_password(r.name, r.hashedPassword.encode())
            case Kind.USER_GRANT_ROLE:
                auth.user_grant_role(r.user, r.role)
            case Kind.USER_REVOKE_ROLE:
                auth.user_revoke_role(r.name, r.role)
            case Kind.ROLE_ADD:
                auth.role_add(r.name)
            case Kind.ROLE_DELETE:
                auth.role_delete(r.role)
            case Kind.ROLE_GRANT_PERMISSION:
                auth.role_grant_permission(r.name, Permission(r.perm.key, r.perm.range_end, r.perm.permType))
            case Kind.ROLE_REVOKE_PERMISSION:
                auth.role_revoke_permission(r.role, r.key, r.range_end)
            case _:
                raise WalError(f"a record of the unknown kind {kind}: was it written by a newer version?")


def read(kind: int, payload: bytes) -> Any:
    """A record's payload as what `apply` takes.  Raises WalError."""
    match kind:
        case Kind.PUT:
            return convert.put_op(m.PutRequest.FromString(payload))
        case Kind.DELETE:
            return convert.delete_op(m.DeleteRangeRequest.FromString(payload))
        case Kind.TXN:
            return convert.txn_op(m.TxnRequest.FromString(payload), 2**31)
        case Kind.COMPACT:
            return m.CompactionRequest.FromString(payload).revision
        case Kind.GRANT:
            grant = m.LeaseGrantRequest.FromString(payload)
            return grant.ID, grant.TTL
        case Kind.REVOKE:
            return m.LeaseRevokeRequest.FromString(payload).ID
        case Kind.LEASE_CHECKPOINT:
            return {each.ID: each.remaining_TTL for each in m.LeaseCheckpointRequest.FromString(payload).checkpoints}
        case Kind.MEMBER:
            return decode_member(payload)
        case Kind.ON_BEHALF:
            wrapped = m.OnBehalf.FromString(payload)
            return OnBehalf(Who(wrapped.username, wrapped.auth_revision), wrapped.kind, read(wrapped.kind, wrapped.payload))
        case _ if kind in MESSAGES:
            return MESSAGES[kind].FromString(payload)
        case _:
            raise WalError(f"a record of the unknown kind {kind}: was it written by a newer version?")


def on_behalf(who: Who, kind: int, payload: bytes, op: Any) -> tuple[bytes, OnBehalf]:
    """The same record, asked for by a user: its payload and op."""
    message = m.OnBehalf(username=who.username, auth_revision=who.revision, kind=kind, payload=payload)
    return message.SerializeToString(), OnBehalf(who, kind, op)
