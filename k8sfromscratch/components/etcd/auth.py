"""The Auth service: users, roles and permissions, and the exchange of a password for a token.

Changes are records of the log like any other (`core.mvcc.auth` says what they mean), with the password hashed before: a plain one is never written.
Hashing takes a good part of a tenth of a second, on purpose, so it is done in a thread of its own.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bcrypt

from k8sfromscratch.components.etcd.connection import Call, Unary
from k8sfromscratch.components.etcd.member import Member, refusing
from k8sfromscratch.core.mvcc import auth_errors as errors
from k8sfromscratch.core.mvcc.auth import Who, permission_message
from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.engine import Overloaded
from k8sfromscratch.storage.machine import MESSAGES, Kind

PASSWORD_MAX_BYTES = 72
"""bcrypt looks at no more; a longer password would be as good as its beginning."""
HASHING_MAX = 200
"""Passwords that may wait to be hashed or compared: some ten seconds' work."""


class AuthServices:
    def __init__(self, member: Member, *, bcrypt_cost: int) -> None:
        self._member, self._auth, self._cost = member, member.auth, bcrypt_cost
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._hashing = 0

    def unary(self) -> dict[str, Unary]:
        methods: dict[str, Unary] = {
            "AuthEnable": self._change(Kind.AUTH_ENABLE),
            "AuthDisable": self._change(Kind.AUTH_DISABLE),
            "AuthStatus": self.status,
            "Authenticate": self.authenticate,
            "UserAdd": self.user_add,
            "UserGet": self.user_get,
            "UserList": self.user_list,
            "UserDelete": self._change(Kind.USER_DELETE),
            "UserChangePassword": self.user_change_password,
            "UserGrantRole": self._change(Kind.USER_GRANT_ROLE),
            "UserRevokeRole": self._change(Kind.USER_REVOKE_ROLE),
            "RoleAdd": self._change(Kind.ROLE_ADD),
            "RoleGet": self.role_get,
            "RoleList": self.role_list,
            "RoleDelete": self._change(Kind.ROLE_DELETE),
            "RoleGrantPermission": self.role_grant_permission,
            "RoleRevokePermission": self._change(Kind.ROLE_REVOKE_PERMISSION),
        }
        return {f"/etcdserverpb.Auth/{name}": method for name, method in methods.items()}

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    # Passwords

    @refusing
    def authenticate(self, data: bytes, call: Call) -> None:
        request = m.AuthenticateRequest.FromString(data)
        if not self._auth.enabled:
            raise errors.AuthNotEnabled
        user = self._auth.users.get(request.name)
        if user is None:
            raise errors.AuthFailed
        if user.no_password:
            raise errors.NoPasswordUser
        password, known = request.password.encode(), user.password_hash

        async def work() -> None:
            if not await self._in_thread(lambda: _fits(password, known)):
                raise errors.AuthFailed
            token = self._member.tokens.draw()
            # Whoever has the token may show it to any member: all must have it.  `applied` is what upstream's end in, and what makes it unlike older ones.
            token = f"{token}.{self._member.engine.applied}"
            given = m.AuthToken(name=request.name, password=known, token=token)
            await self._member.engine.proposed(Kind.TOKEN, given.SerializeToString(), given)
            call.reply(m.AuthenticateResponse(header=self._member.header_now(), token=token).SerializeToString())

        self._member.spawn(work(), call)

    @refusing
    def user_add(self, data: bytes, call: Call) -> None:
        request = m.AuthUserAddRequest.FromString(data)
        if not request.name:
            raise errors.UserEmpty
        if request.options.no_password:
            request.password = ""
            self._propose(call, Kind.USER_ADD, request)
        else:
            self._with_hash(call, Kind.USER_ADD, request)

    @refusing
    def user_change_password(self, data: bytes, call: Call) -> None:
        self._with_hash(call, Kind.USER_CHANGE_PASSWORD, m.AuthUserChangePasswordRequest.FromString(data))

    def _with_hash(self, call: Call, kind: Kind, request: Any) -> None:
        """Proposes it with the password hashed, where it is not already."""
        if self._auth.enabled:
            self._member.require_admin(call)  # nobody else has us hash
        password = request.password.encode()
        if len(password) > PASSWORD_MAX_BYTES:
            call.finish(grpc.INVALID_ARGUMENT, f"etcdserver: a password has at most {PASSWORD_MAX_BYTES} bytes")
            return
        request.password = ""
        if request.hashedPassword:
            self._propose(call, kind, request)
            return

        async def work() -> None:
            request.hashedPassword = (await self._in_thread(lambda: bcrypt.hashpw(password, bcrypt.gensalt(self._cost)))).decode()
            self._propose(call, kind, request)

        self._member.spawn(work(), call)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        if self._hashing >= HASHING_MAX:
            raise Overloaded("etcdserver: too many requests")
        self._hashing += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._hashing -= 1

    # Changes

    def _change(self, kind: Kind) -> Unary:
        """The method for a request that is a record as it is."""

        def method(self: "AuthServices", data: bytes, call: Call) -> None:
            self._propose(call, kind, MESSAGES[kind].FromString(data))

        guarded = refusing(method)
        return lambda data, call: guarded(self, data, call)

    def _propose(self, call: Call, kind: Kind, request: Any) -> None:
        answered = self._member.answering(call, lambda _: m.AuthResponse(header=self._member.header_now()))
        self._member.propose(call, kind, request.SerializeToString(), request, answered)

    @refusing
    def role_grant_permission(self, data: bytes, call: Call) -> None:
        request = m.AuthRoleGrantPermissionRequest.FromString(data)
        if not request.HasField("perm"):
            raise errors.PermissionNotGiven
        if request.perm.permType not in m.Permission.Type.values():
            call.finish(grpc.INVALID_ARGUMENT, f"etcdserver: there is no permission of the kind {request.perm.permType}")
            return
        if request.perm.range_end not in (b"", b"\0") and request.perm.key >= request.perm.range_end:
            raise errors.InvalidAuthMgmt  # it would hold no key
        self._propose(call, Kind.ROLE_GRANT_PERMISSION, request)

    # Questions

    @refusing
    def status(self, data: bytes, call: Call) -> None:
        def answer() -> None:
            self._member.require_admin(call)
            response = m.AuthStatusResponse(header=self._member.header_now(), enabled=self._auth.enabled, authRevision=self._auth.revision)
            call.reply(response.SerializeToString())

        self._member.read(call, answer)

    @refusing
    def user_get(self, data: bytes, call: Call) -> None:
        """Everybody may look at oneself."""
        name = m.AuthUserGetRequest.FromString(data).name

        def answer() -> None:
            self._admin_or(call, lambda who: who.username == name)
            call.reply(m.AuthUserGetResponse(header=self._member.header_now(), roles=self._auth.user(name).roles).SerializeToString())

        self._member.read(call, answer)

    @refusing
    def user_list(self, data: bytes, call: Call) -> None:
        def answer() -> None:
            self._member.require_admin(call)
            call.reply(m.AuthUserListResponse(header=self._member.header_now(), users=sorted(self._auth.users)).SerializeToString())

        self._member.read(call, answer)

    @refusing
    def role_get(self, data: bytes, call: Call) -> None:
        """Everybody may look at the roles that one has."""
        name = m.AuthRoleGetRequest.FromString(data).role

        def answer() -> None:
            self._admin_or(call, lambda who: who.username in self._auth.users and name in self._auth.users[who.username].roles)
            permissions = [permission_message(each) for each in self._auth.role(name)]
            call.reply(m.AuthRoleGetResponse(header=self._member.header_now(), perm=permissions).SerializeToString())

        self._member.read(call, answer)

    @refusing
    def role_list(self, data: bytes, call: Call) -> None:
        def answer() -> None:
            self._member.require_admin(call)
            call.reply(m.AuthRoleListResponse(header=self._member.header_now(), roles=sorted(self._auth.roles)).SerializeToString())

        self._member.read(call, answer)

    def _admin_or(self, call: Call, allowed: Callable[[Who], bool]) -> None:
        who = self._member.who(call)
        if who is None or not allowed(who):
            self._auth.check_admin(who)


def _fits(password: bytes, known: bytes) -> bool:
    try:
        return len(password) <= PASSWORD_MAX_BYTES and bcrypt.checkpw(password, known)
    except ValueError:
        return False  # the stored hash is none of bcrypt's
