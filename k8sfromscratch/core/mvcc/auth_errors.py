"""What authentication and permissions refuse, with etcd's words.

MvccError
└── AuthError
    ├── RootUserNotExist, RootRoleNotExist        enabling, without somebody who could disable it again
    ├── UserEmpty, UserNotFound, UserAlreadyExist
    ├── RoleEmpty, RoleNotFound, RoleAlreadyExist, RoleNotGranted
    ├── PermissionNotGranted, PermissionNotGiven
    ├── AuthNotEnabled, AuthFailed, InvalidAuthToken, InvalidAuthMgmt, NoPasswordUser
    ├── PermissionDenied
    └── OldRevision                                something has changed since it was found out who asks: look again
"""

from k8sfromscratch.core.mvcc.errors import MvccError


class AuthError(MvccError):
    text = ""

    def __init__(self) -> None:
        super().__init__(self.text)


class RootUserNotExist(AuthError):
    text = "etcdserver: root user does not exist"


class RootRoleNotExist(AuthError):
    text = "etcdserver: root user does not have root role"


class UserEmpty(AuthError):
    text = "etcdserver: user name is empty"


class UserNotFound(AuthError):
    text = "etcdserver: user name not found"


class UserAlreadyExist(AuthError):
    text = "etcdserver: user name already exists"


class RoleEmpty(AuthError):
    text = "etcdserver: role name is empty"


class RoleNotFound(AuthError):
    text = "etcdserver: role name not found"


class RoleAlreadyExist(AuthError):
    text = "etcdserver: role name already exists"


class RoleNotGranted(AuthError):
    text = "etcdserver: role is not granted to the user"


class PermissionNotGranted(AuthError):
    text = "etcdserver: permission is not granted to the role"


class PermissionNotGiven(AuthError):
    text = "etcdserver: permission not given"


class AuthNotEnabled(AuthError):
    text = "etcdserver: authentication is not enabled"


class AuthFailed(AuthError):
    text = "etcdserver: authentication failed, invalid user ID or password"


class NoPasswordUser(AuthError):
    text = "auth: authentication failed, password was given for no password user"


class InvalidAuthToken(AuthError):
    text = "etcdserver: invalid auth token"


class InvalidAuthMgmt(AuthError):
    text = "etcdserver: invalid auth management"


class PermissionDenied(AuthError):
    text = "etcdserver: permission denied"


class OldRevision(AuthError):
    text = "etcdserver: revision in auth header is old"
