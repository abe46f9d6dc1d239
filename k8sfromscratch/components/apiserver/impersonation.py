"""Acting as someone else: `kubectl --as ann --as-group devs`.

    Impersonate-User: ann      Impersonate-Group: devs      Impersonate-Uid: 42      Impersonate-Extra-Reason: drill

Impersonate-Group and the extras may come several times; a comma in one belongs to it.
Whoever is authenticated needs the right `impersonate` on every part: users, serviceaccounts, groups, uids, userextras/KEY.
Afterwards the request is judged as if the other had sent it.  Source: apiserver/pkg/endpoints/filters/impersonation.go.
"""

from collections.abc import Callable
from urllib.parse import unquote

from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.components.apiserver.authorization import denied
from k8sfromscratch.components.apiserver.tokens import account_groups, split_account_user
from k8sfromscratch.core.authz.types import ANONYMOUS, Attributes, Decision, UserInfo
from k8sfromscratch.process.http import Request

_PREFIX = "impersonate-"
_EXTRA = "impersonate-extra-"
_AUTHENTICATION = "authentication.k8s.io"
_AUTHENTICATED, _UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"


def effective_user(request: Request, user: UserInfo, authorize: Callable[[Attributes], Decision]) -> UserInfo:
    """The user the request counts as.  Raises Forbidden, BadRequest."""
    asked = {name: value for name, value in request.headers.items() if name.startswith(_PREFIX)}
    if not asked:
        return user
    name = asked.get("impersonate-user", "")
    if not name:
        raise BadRequest(f"requested {sorted(asked)} without impersonating a user")
    groups = [group for group in request.header_values("impersonate-group") if group]
    uid = asked.get("impersonate-uid", "")
    extra = {unquote(key.removeprefix(_EXTRA)): tuple(request.header_values(key)) for key in asked if key.startswith(_EXTRA)}
    account = split_account_user(name)
    wanted = [_part("serviceaccounts", account[1], namespace=account[0]) if account else _part("users", name)]
    wanted += [_part("groups", group) for group in groups]
    wanted += [_part("userextras", value, group=_AUTHENTICATION, subresource=key) for key, values in extra.items() for value in values]
    if uid:
        wanted.append(_part("uids", uid, group=_AUTHENTICATION))
    for part in wanted:
        attributes = part(user)
        decision = authorize(attributes)
        if not decision.allowed:
            raise denied(attributes, decision)
    if account and not groups:
        groups = list(account_groups(account[0]))
    own = _UNAUTHENTICATED if name == ANONYMOUS.name else _AUTHENTICATED
    if _AUTHENTICATED not in groups and _UNAUTHENTICATED not in groups:
        groups.append(own)
    return UserInfo(name, tuple(groups), uid, extra)


def _part(resource: str, name: str, *, namespace: str = "", group: str = "", subresource: str = "") -> Callable[[UserInfo], Attributes]:
    version = "v1"
    return lambda user: Attributes(user, "impersonate", namespace, group, version, resource, subresource, name)
