"""Who asks: a chain of ways to tell, the first that knows answers.

    front proxy headers ─► client certificate ─► bearer token: static file, service account, bootstrap ─► anonymous

Whoever presents something that is not good is refused (401), never taken for anonymous.  The reason is logged, not told.
Every known user is in system:authenticated.  What is verified once is kept by its bytes, so that a request costs microseconds.
Acting as someone else (Impersonate-User) comes after and is `impersonation`'s.
"""

import base64
import binascii
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from k8sfromscratch.api.errors import Unauthorized
from k8sfromscratch.components.apiserver.client_certificates import Certified, ClientCertificates
from k8sfromscratch.components.apiserver.shared_secrets import bootstrap_user
from k8sfromscratch.components.apiserver.tokens import InvalidToken, TokenVerifier
from k8sfromscratch.core.admission.types import View
from k8sfromscratch.core.authz.types import ANONYMOUS, UserInfo
from k8sfromscratch.process.clock import Clock
from k8sfromscratch.process.http import Request

log = logging.getLogger(__name__)

AUTHENTICATED = "system:authenticated"

WEBSOCKET_BEARER = "base64url.bearer.authorization.k8s.io."
"""A browser cannot set headers on a WebSocket: it offers this "protocol", with the token behind the dot."""


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """--requestheader-*: who may say in headers whom it speaks for.  Header names in lower case; no `allowed_names` means any."""

    allowed_names: tuple[str, ...] = ()
    username_headers: tuple[str, ...] = ("x-remote-user",)
    group_headers: tuple[str, ...] = ("x-remote-group",)
    uid_headers: tuple[str, ...] = ("x-remote-uid",)
    extra_prefixes: tuple[str, ...] = ("x-remote-extra-",)


@dataclass(slots=True)
class Authenticator:
    clock: Clock
    certificates: ClientCertificates = field(default_factory=ClientCertificates)
    front_proxy: FrontProxy | None = None
    static_tokens: Mapping[str, UserInfo] = field(default_factory=dict)
    service_accounts: TokenVerifier | None = None
    bootstrap_tokens: bool = False
    anonymous: bool = True

    async def authenticate(self, request: Request, view: View) -> UserInfo:
        """Raises Unauthorized."""
        if request.peer_certificate is not None:
            user = self._by_certificate(request, request.peer_certificate)
            if user is not None:
                return user
        token = bearer_token(request.headers)
        if token is not None:
            try:
                found = self.by_token(token, view)
            except InvalidToken as error:
                log.warning("invalid bearer token from %s: %s", request.remote, error)
                raise Unauthorized("Unauthorized") from error
            if found is None:
                log.warning("unknown bearer token from %s", request.remote)
                raise Unauthorized("Unauthorized")
            return found[0]
        if request.peer_certificate is None and self.anonymous:
            return ANONYMOUS
        raise Unauthorized("Unauthorized")

    def by_token(self, token: str, view: View, audiences: Sequence[str] = ()) -> tuple[UserInfo, tuple[str, ...]] | None:
        """The user, and for which of `audiences` the token is (those that know no audiences are for the API itself).
        None where nobody knows it.  Raises InvalidToken."""
        own = self.service_accounts.api_audiences if self.service_accounts is not None else ()
        for_api = tuple(audience for audience in audiences if audience in own) if audiences else own
        user = self.static_tokens.get(token)
        if user is None and self.service_accounts is not None:
            found = self.service_accounts.authenticate(token, view, self.clock.now(), audiences)
            if found is not None:
                return found
        if user is None and self.bootstrap_tokens:
            user = bootstrap_user(token, view, self.clock.now())
        if user is None:
            return None
        if audiences and not for_api:
            raise InvalidToken(f"the token is for the API, not for {list(audiences)}")
        return user, for_api

    def _by_certificate(self, request: Request, der: bytes) -> UserInfo | None:
        certified = self.certificates.certified(der, self.clock.now())
        if certified is None:
            log.warning("a client certificate from %s has expired", request.remote)
            return None
        if self.front_proxy is not None and certified.front_proxy:
            user = _proxied(self.front_proxy, certified, request)
            if user is not None:
                return user
        return certified.user


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """From `Authorization: Bearer …`, or the WebSocket subprotocol that stands for it."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if "websocket" in headers.get("upgrade", "").lower():
        for protocol in headers.get("sec-websocket-protocol", "").split(","):
            encoded = protocol.strip()
            if encoded.startswith(WEBSOCKET_BEARER):
                return _unpadded(encoded.removeprefix(WEBSOCKET_BEARER))
    return None


def _unpadded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise Unauthorized("Unauthorized") from error


def _proxied(proxy: FrontProxy, certified: Certified, request: Request) -> UserInfo | None:
    """Whom the front proxy speaks for; None where it speaks for itself.  Raises Unauthorized for a name that may not do that."""
    headers = request.headers
    name = _first(headers, proxy.username_headers)
    if not name:
        return None
    if proxy.allowed_names and certified.common_name not in proxy.allowed_names:
        log.warning("the certificate of %r may not speak for others", certified.common_name)
        raise Unauthorized("Unauthorized")
    groups = [group for header in proxy.group_headers for group in request.header_values(header) if group]
    if AUTHENTICATED not in groups and name != ANONYMOUS.name:
        groups.append(AUTHENTICATED)
    extra = {
        unquote(header.removeprefix(prefix)): tuple(request.header_values(header))
        for prefix in proxy.extra_prefixes
        for header in headers
        if header.startswith(prefix)
    }
    return UserInfo(name, tuple(groups), _first(headers, proxy.uid_headers), extra)


def _first(headers: Mapping[str, str], names: Sequence[str]) -> str:
    return next((headers[name] for name in names if headers.get(name)), "")
