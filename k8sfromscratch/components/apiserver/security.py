"""All of the apiserver's security from its flags: who may come in, who may do what, which tokens are signed.

    security = from_flags(flags, env, address="10.0.0.1:6443")
    ApiServerOptions(authenticator=security.authenticator, authorizer=security.authorizer, admission=…security.plugins…,
                     routes=security.routes, paths=security.paths, hooks=(*bootstrap.HOOKS, *security.hooks))

Parts: `authentication`, `core.authz`, `tokens` and `token_request`, `reviews`, `bootstrap_rbac`.  Impersonation is the server's own step.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from cryptography import x509

from k8sfromscratch.components.apiserver.authentication import Authenticator, FrontProxy
from k8sfromscratch.components.apiserver.authentication_info import AuthenticationInfo
from k8sfromscratch.components.apiserver.bootstrap_rbac import bootstrap_roles
from k8sfromscratch.components.apiserver.client_certificates import ClientCertificates
from k8sfromscratch.components.apiserver.config import ApiServerFlags
from k8sfromscratch.components.apiserver.reviews import Reviews
from k8sfromscratch.components.apiserver.routes import Route, Verb
from k8sfromscratch.components.apiserver.shared_secrets import TokenFileError, read_token_file
from k8sfromscratch.components.apiserver.token_keys import KeyFileError, SigningKey, jwks, read_signing_key, read_verification_keys
from k8sfromscratch.components.apiserver.token_request import TokenRequests
from k8sfromscratch.components.apiserver.tokens import TokenIssuer, TokenVerifier, openid_configuration
from k8sfromscratch.core.admission.certificates import CertificateRequester
from k8sfromscratch.core.admission.types import Plugin
from k8sfromscratch.core.authz.chain import AuthorizerChain
from k8sfromscratch.core.authz.escalation import EscalationCheck
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.process.service import StartError

if TYPE_CHECKING:
    from k8sfromscratch.components.apiserver.server import ApiServer

CONFIGURATION_PATH, JWKS_PATH = "/.well-known/openid-configuration", "/openid/v1/jwks"
EMBEDDED_ISSUER = "https://kubernetes.default.svc.cluster.local"

_CACHED_AN_HOUR = {"Cache-Control": "public, max-age=3600"}


@dataclass(slots=True)
class Security:
    """`issuer` None: no tokens can be made (no signing key was given)."""

    env: Env
    authenticator: Authenticator
    authorizer: AuthorizerChain
    issuer: TokenIssuer | None = None
    token_max_s: int = 0
    extend_tokens: bool = True
    jwks_uri: str = ""
    info: AuthenticationInfo | None = None
    plugins: tuple[Plugin, ...] = field(init=False)
    """Admission that belongs to authentication and authorization: runs whatever --disable-admission-plugins says."""

    def __post_init__(self) -> None:
        escalation = () if self.authorizer.rbac is None else (EscalationCheck(self.authorizer, self.authorizer.rbac),)
        self.plugins = (CertificateRequester(), *escalation)

    def routes(self, server: "ApiServer") -> Mapping[Route, Verb]:
        table = dict(Reviews(self.authenticator, self.authorizer, server.view, self.env).routes())
        if self.issuer is not None:
            audiences = self._verifier.api_audiences
            requests = TokenRequests(
                self.issuer, audiences, server.feed, server.view, server.admission, self.env, max_s=self.token_max_s, extend=self.extend_tokens
            )
            table[("serviceaccounts", "token", "create")] = requests.create
        return table

    @property
    def paths(self) -> Mapping[str, Callable[[Request, UserInfo], Awaitable[Response]]]:
        if self.authenticator.service_accounts is None:
            return {}
        keys = self._verifier.keys
        configuration = openid_configuration(self._verifier.issuers[0], self.jwks_uri, keys)
        return {CONFIGURATION_PATH: _fixed(configuration, "application/json"), JWKS_PATH: _fixed(jwks(keys), "application/jwk-set+json")}

    @property
    def hooks(self) -> tuple[tuple[str, "Callable[[ApiServer], Awaitable[None]]"], ...]:
        """After those that make the system's namespaces."""
        roles = () if self.authorizer.rbac is None else (("rbac/bootstrap-roles", bootstrap_roles),)
        return roles if self.info is None else (*roles, ("start-cluster-authentication-info-controller", self.info.publish))

    @property
    def _verifier(self) -> TokenVerifier:
        assert self.authenticator.service_accounts is not None
        return self.authenticator.service_accounts


def from_flags(flags: ApiServerFlags, env: Env, *, address: str) -> Security:
    """`address`: host:port where clients reach this server, for the discovery of token keys.  Raises StartError."""
    try:
        authorizer = AuthorizerChain(flags.authorization_mode)
    except ValueError as error:
        raise StartError(f"--authorization-mode: {error}") from error
    try:
        signing = read_signing_key(flags.service_account_signing_key_file) if flags.service_account_signing_key_file else None
        keys = [key for path in flags.service_account_key_file for key in read_verification_keys(path)]
        static = read_token_file(flags.token_auth_file) if flags.token_auth_file else {}
        certificates = ClientCertificates(_authorities(flags.client_ca_file), _authorities(flags.requestheader_client_ca_file))
    except (KeyFileError, TokenFileError, pki.PkiError) as error:
        raise StartError(str(error)) from error
    issuers = flags.service_account_issuer
    if (signing or keys) and not issuers:
        raise StartError("--service-account-issuer is required where service account keys are given")
    verifier = None
    if issuers:
        if not keys and signing is None:
            raise StartError("--service-account-issuer needs --service-account-key-file or --service-account-signing-key-file")
        verifier = TokenVerifier(issuers, [*keys, *([signing.public] if signing else [])], flags.api_audiences or issuers)
    authenticator = Authenticator(
        env.clock,
        certificates,
        _front_proxy(flags) if flags.requestheader_client_ca_file else None,
        static,
        verifier,
        flags.enable_bootstrap_token_auth,
        flags.anonymous_auth,
    )
    return Security(
        env,
        authenticator,
        authorizer,
        TokenIssuer(issuers[0], signing) if signing is not None and issuers else None,
        int(flags.service_account_max_token_expiration),
        flags.service_account_extend_token_expiration,
        flags.service_account_jwks_uri or f"https://{flags.external_hostname or address}{JWKS_PATH}",
        AuthenticationInfo(_pem(certificates.client_cas), _pem(certificates.proxy_cas), authenticator.front_proxy),
    )


def embedded(
    env: Env,
    signing_key: pki.PrivateKey,
    *,
    tokens: Mapping[str, UserInfo],
    address: str,
    modes: tuple[str, ...] = ("Node", "RBAC"),
    client_cas: Sequence[x509.Certificate] = (),
) -> Security:
    """For a cluster in one process: static tokens, service account tokens signed with the given key, certificates of these authorities."""
    signing = SigningKey.of(signing_key)
    verifier = TokenVerifier([EMBEDDED_ISSUER], [signing.public], [EMBEDDED_ISSUER])
    authenticator = Authenticator(env.clock, ClientCertificates(client_cas), static_tokens=tokens, service_accounts=verifier)
    return Security(env, authenticator, AuthorizerChain(modes), TokenIssuer(EMBEDDED_ISSUER, signing), jwks_uri=f"https://{address}{JWKS_PATH}")


def _front_proxy(flags: ApiServerFlags) -> FrontProxy:
    defaults = FrontProxy()
    return FrontProxy(
        tuple(flags.requestheader_allowed_names),
        tuple(name.lower() for name in flags.requestheader_username_headers) or defaults.username_headers,
        tuple(name.lower() for name in flags.requestheader_group_headers) or defaults.group_headers,
        defaults.uid_headers,
        tuple(name.lower() for name in flags.requestheader_extra_headers_prefix) or defaults.extra_prefixes,
    )


def _authorities(path: str) -> tuple[x509.Certificate, ...]:
    return pki.read_certificates(Path(path)) if path else ()


def _pem(certificates: Iterable[x509.Certificate]) -> str:
    return "".join(pki.certificate_pem(certificate).decode() for certificate in certificates)


def _fixed(document: object, content_type: str) -> Callable[[Request, UserInfo], Awaitable[Response]]:
    body = orjson.dumps(document)

    async def answer(request: Request, user: UserInfo) -> Response:
        return Response(200, body, content_type, dict(_CACHED_AN_HOUR))

    return answer
