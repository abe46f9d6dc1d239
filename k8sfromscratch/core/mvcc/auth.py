"""Who may read and write which keys: users have roles, roles have permissions on ranges, and the role `root` may everything.

Every change makes a new auth revision.  A request carries the revision at which its token was looked at; where that is no longer the present
one, the request is refused with OldRevision and its sender looks again.  So no request is done by a permission that was taken away before it.

Pure, like the store beside it: passwords arrive hashed, tokens belong to the member that gave them out, and `buckets` is what its owner writes
to the disk, in the form that upstream's database and snapshots have.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from k8sfromscratch.core.mvcc import auth_errors as errors
from k8sfromscratch.core.mvcc.intervals import Interval, covers, merged
from k8sfromscratch.core.mvcc.types import DeleteOp, Op, PutOp, RangeOp, TxnOp
from k8sfromscratch.core.rpc.etcd_messages import messages as m

ROOT = "root"
"""The name of the user without whom there is no authentication, and of the role that may everything."""

READ, WRITE, READWRITE = 0, 1, 2

Buckets = Mapping[bytes, Mapping[bytes, bytes]]


class Who(NamedTuple):
    """On whose behalf a request is made, and the auth revision at which that was found out."""

    username: str
    revision: int


@dataclass(slots=True)
class User:
    name: str
    password_hash: bytes
    """b"" where the user has none: such a one comes with a certificate."""
    no_password: bool = False
    roles: list[str] = field(default_factory=list)


class Permission(NamedTuple):
    key: bytes
    range_end: bytes
    kind: int


class AuthStore:
    """invariant: a role that a user has exists, but for `root`, which needs no entry; roles and permissions are sorted."""

    def __init__(self) -> None:
        self.enabled = False
        self.revision = 1
        self.users: dict[str, User] = {}
        self.roles: dict[str, list[Permission]] = {}
        self._ranges: dict[tuple[str, int], list[Interval]] = {}
        """(user, READ or WRITE) -> what that user may; forgotten at every change."""

    # Changes; each raises AuthError, having changed nothing

    def enable(self) -> None:
        if self.enabled:
            return
        root = self.users.get(ROOT)
        if root is None:
            raise errors.RootUserNotExist
        if ROOT not in root.roles:
            raise errors.RootRoleNotExist
        self.enabled = True
        self._changed()

    def disable(self) -> None:
        if self.enabled:
            self.enabled = False
            self._changed()

    def user_add(self, name: str, password_hash: bytes, *, no_password: bool) -> None:
        if not name:
            raise errors.UserEmpty
        if name in self.users:
            raise errors.UserAlreadyExist
        self.users[name] = User(name, b"" if no_password else password_hash, no_password)
        self._changed()

    def user_delete(self, name: str) -> None:
        if self.enabled and name == ROOT:
            raise errors.InvalidAuthMgmt
        self._user(name)
        del self.users[name]
        self._changed()

    def user_change_password(self, name: str, password_hash: bytes) -> None:
        self._user(name).password_hash = password_hash
        self._changed()

    def user_grant_role(self, name: str, role: str) -> None:
        user = self._user(name)
        if role != ROOT and role not in self.roles:
            raise errors.RoleNotFound
        if role not in user.roles:
            user.roles = sorted([*user.roles, role])
            self._changed()

    def user_revoke_role(self, name: str, role: str) -> None:
        if self.enabled and name == ROOT and role == ROOT:
            raise errors.InvalidAuthMgmt
        user = self._user(name)
        if role not in user.roles:
            raise errors.RoleNotGranted
        user.roles.remove(role)
        self._changed()

    def role_add(self, name: str) -> None:
        if not name:
            raise errors.RoleEmpty
        if name in self.roles:
            raise errors.RoleAlreadyExist
        self.roles[name] = []
        self._changed()

    def role_delete(self, name: str) -> None:
        if self.enabled and name == ROOT:
            raise errors.InvalidAuthMgmt
        self._role(name)
        del self.roles[name]
        for user in self.users.values():
            if name in user.roles:
                user.roles.remove(name)
        self._changed()

    def role_grant_permission(self, name: str, permission: Permission) -> None:
        """One with the same range is replaced."""
        kept = [each for each in self._role(name) if each[:2] != permission[:2]]
        self.roles[name] = sorted([*kept, permission])
        self._changed()

    def role_revoke_permission(self, name: str, key: bytes, range_end: bytes) -> None:
        kept = [each for each in self._role(name) if each[:2] != (key, range_end)]
        if len(kept) == len(self.roles[name]):
            raise errors.PermissionNotGranted
        self.roles[name] = kept
        self._changed()

    # Questions

    def user(self, name: str) -> User:
        """Raises UserNotFound."""
        return self._user(name)

    def role(self, name: str) -> Sequence[Permission]:
        """Raises RoleNotFound."""
        return self._role(name)

    def check_admin(self, who: Who | None) -> None:
        """Raises UserEmpty, PermissionDenied."""
        if not self.enabled:
            return
        if who is None or not who.username:
            raise errors.UserEmpty
        user = self.users.get(who.username)
        if user is None or ROOT not in user.roles:
            raise errors.PermissionDenied

    def check_fresh(self, who: Who | None) -> None:
        """Raises UserEmpty where nobody asks, OldRevision where something has changed since it was found out who asks."""
        if not self.enabled:
            return
        if who is None or not who.username:
            raise errors.UserEmpty
        if who.revision != self.revision:
            raise errors.OldRevision

    def check_ops(self, who: Who | None, ops: Iterable[Op], lease_keys: Callable[[int], Iterable[bytes]]) -> None:
        """Whether all of this may be done, those of a transaction's branches that are not taken too.  To put a key into a lease is to decide on the
        other keys of that lease, so it needs the permission to write them.  Raises AuthError."""
        if not self.enabled:
            return
        self.check_fresh(who)
        assert who is not None
        for op in ops:
            match op:
                case RangeOp():
                    self.check(who, op.key, op.range_end, READ)
                case PutOp():
                    self.check(who, op.key, b"", WRITE)
                    if op.prev_kv:
                        self.check(who, op.key, b"", READ)
                    for key in lease_keys(op.lease) if op.lease else ():
                        self.check(who, key, b"", WRITE)
                case DeleteOp():
                    self.check(who, op.key, op.range_end, WRITE)
                    if op.prev_kv:
                        self.check(who, op.key, op.range_end, READ)
                case TxnOp():
                    for compare in op.compare:
                        self.check(who, compare.key, compare.range_end, READ)
                    self.check_ops(who, (*op.success, *op.failure), lease_keys)

    def check(self, who: Who | None, key: bytes, range_end: bytes, kind: int) -> None:
        """One range, READ or WRITE.  Raises AuthError."""
        if not self.enabled:
            return
        self.check_fresh(who)
        assert who is not None
        user = self.users.get(who.username)
        if user is None:
            raise errors.PermissionDenied
        if ROOT not in user.roles and not covers(self._allowed(user, kind), Interval.of(key, range_end)):
            raise errors.PermissionDenied

    # What is kept

    def buckets(self) -> dict[bytes, dict[bytes, bytes]]:
        users = {u.name.encode(): _stored_user(u).SerializeToString() for u in self.users.values()}
        roles = {name.encode(): _stored_role(name, permissions).SerializeToString() for name, permissions in self.roles.items()}
        flags = {b"authEnabled": b"\x01" if self.enabled else b"\x00", b"authRevision": self.revision.to_bytes(8, "big")}
        return {b"auth": flags, b"authUsers": users, b"authRoles": roles}

    def restore(self, buckets: Buckets) -> None:
        """In the place of all that was there."""
        self.users.clear()
        self.roles.clear()
        flags = buckets.get(b"auth", {})
        self.enabled = flags.get(b"authEnabled") == b"\x01"
        self.revision = int.from_bytes(flags.get(b"authRevision", b"\x01"), "big") or 1
        for raw in buckets.get(b"authUsers", {}).values():
            user = m.User.FromString(raw)
            name = user.name.decode()
            self.users[name] = User(name, user.password, user.options.no_password, sorted(user.roles))
        for raw in buckets.get(b"authRoles", {}).values():
            role = m.Role.FromString(raw)
            self.roles[role.name.decode()] = sorted(permission(each) for each in role.keyPermission)
        self._ranges.clear()

    # Within

    def _user(self, name: str) -> User:
        user = self.users.get(name)
        if user is None:
            raise errors.UserNotFound
        return user

    def _role(self, name: str) -> list[Permission]:
        permissions = self.roles.get(name)
        if permissions is None:
            raise errors.RoleNotFound
        return permissions

    def _changed(self) -> None:
        self.revision += 1
        self._ranges.clear()

    def _allowed(self, user: User, kind: int) -> list[Interval]:
        found = self._ranges.get((user.name, kind))
        if found is None:
            granted = [each for role in user.roles for each in self.roles.get(role, ()) if each.kind in (kind, READWRITE)]
            found = self._ranges[user.name, kind] = merged(Interval.of(each.key, each.range_end) for each in granted)
        return found


def permission(message: Any) -> Permission:
    return Permission(message.key, message.range_end, message.permType)


def permission_message(each: Permission) -> Any:
    return m.Permission(permType=each.kind, key=each.key, range_end=each.range_end)


def _stored_user(user: User) -> Any:
    return m.User(name=user.name.encode(), password=user.password_hash, roles=user.roles, options=m.UserAddOptions(no_password=user.no_password))


def _stored_role(name: str, permissions: Sequence[Permission]) -> Any:
    return m.Role(name=name.encode(), keyPermission=[permission_message(each) for each in permissions])
