"""The chain of authenticators on its own: certificates, front proxy, static and bootstrap tokens; what is refused and what is kept."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from k8sfromscratch.api.errors import Unauthorized
from k8sfromscratch.components.apiserver import client_certificates
from k8sfromscratch.components.apiserver.authentication import Authenticator, FrontProxy
from k8sfromscratch.components.apiserver.client_certificates import ClientCertificates
from k8sfromscratch.components.apiserver.shared_secrets import TokenFileError, read_token_file
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process import pki
from k8sfromscratch.process.http import Request
from k8sfromscratch.testing.views import MemoryView

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class FixedClock:
    def __init__(self, moment: datetime = NOW) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()


def make_ca(name: str) -> pki.Authority:
    key = pki.make_key()
    return pki.Authority(pki.issue(pki.Spec(name, usages=(), ca=True, validity=timedelta(days=3650)), key, None, NOW), key)


CA, PROXY_CA = make_ca("ca"), make_ca("front-proxy-ca")


def certificate(name: str, *groups: str, ca: pki.Authority = CA) -> x509.Certificate:
    return pki.issue(pki.Spec(name, groups), pki.make_key(), ca, NOW)


def who(authenticator: Authenticator, *, cert: x509.Certificate | None = None, view: MemoryView | None = None, **headers: str) -> UserInfo:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request("GET", "/", headers=named, peer_certificate=cert.public_bytes(Encoding.DER) if cert else None)
    return asyncio.run(authenticator.authenticate(request, view or MemoryView()))  # type: ignore[arg-type]


def both_cas() -> ClientCertificates:
    return ClientCertificates([CA.certificate], [PROXY_CA.certificate])


def test_certificate_names_user_and_groups() -> None:
    user = who(Authenticator(FixedClock(), both_cas()), cert=certificate("ann", "devs", "ops"))
    assert (user.name, user.groups) == ("ann", ("devs", "ops", "system:authenticated"))
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")


def test_what_an_intermediate_of_the_proxys_authority_signed_is_no_user() -> None:
    """TLS trusts both authorities and what they certified to be one: whose it is counts."""
    key = pki.make_key()
    intermediate = pki.Authority(pki.issue(pki.Spec("between", usages=(), ca=True), key, PROXY_CA, NOW), key)
    with pytest.raises(Unauthorized):
        who(Authenticator(FixedClock(), both_cas()), cert=certificate("ann", "system:masters", ca=intermediate))
    assert who(Authenticator(FixedClock(), ClientCertificates([CA.certificate])), cert=certificate("ann", ca=intermediate)).name == "ann"


def test_an_expired_certificate_is_refused_on_an_old_connection() -> None:
    clock, cert = FixedClock(), certificate("ann")
    authenticator = Authenticator(clock, both_cas())
    assert who(authenticator, cert=cert).name == "ann"
    clock.moment = NOW + timedelta(days=366)
    with pytest.raises(Unauthorized):
        who(authenticator, cert=cert)


def test_certificate_beats_token_and_is_kept_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator, cert = Authenticator(FixedClock(), both_cas(), static_tokens={"t": UserInfo("eve")}), certificate("ann")
    assert who(authenticator, cert=cert, authorization="Bearer t").name == "ann"
    monkeypatch.setattr(client_certificates.x509, "load_der_x509_certificate", None)
    assert who(authenticator, cert=cert).name == "ann"


PROXIED = {"x_remote_user": "ann", "x_remote_group": "devs, ops", "x_remote_extra_scopes": "a"}


def test_front_proxy_speaks_for_others() -> None:
    authenticator = Authenticator(FixedClock(), both_cas(), FrontProxy(allowed_names=("front",)))
    user = who(authenticator, cert=certificate("front", ca=PROXY_CA), **PROXIED)
    assert user == UserInfo("ann", ("devs, ops", "system:authenticated"), "", {"scopes": ("a",)})


def test_headers_of_anyone_else_count_for_nothing() -> None:
    authenticator = Authenticator(FixedClock(), both_cas(), FrontProxy())
    assert who(authenticator, cert=certificate("eve"), **PROXIED).name == "eve"
    assert who(authenticator, **PROXIED).name == "system:anonymous"


def test_front_proxy_needs_an_allowed_name_and_is_no_user_itself() -> None:
    authenticator = Authenticator(FixedClock(), both_cas(), FrontProxy(allowed_names=("front",)))
    with pytest.raises(Unauthorized):
        who(authenticator, cert=certificate("other", ca=PROXY_CA), **PROXIED)
    with pytest.raises(Unauthorized):
        who(authenticator, cert=certificate("front", ca=PROXY_CA))


@pytest.mark.parametrize("headers", [{"authorization": "Bearer none"}, {"authorization": "bearer none"}])
def test_unknown_token_is_not_anonymous(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized):
        who(Authenticator(FixedClock()), **headers)


def test_other_schemes_are_no_credentials() -> None:
    assert who(Authenticator(FixedClock()), authorization="Basic YTpi").name == "system:anonymous"


def test_token_of_a_websocket() -> None:
    authenticator = Authenticator(FixedClock(), static_tokens={"secret": UserInfo("ann")})
    encoded = base64.urlsafe_b64encode(b"secret").decode().rstrip("=")
    protocols = f"v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{encoded}"
    assert who(authenticator, upgrade="websocket", sec_websocket_protocol=protocols).name == "ann"
    assert who(authenticator, sec_websocket_protocol=protocols).name == "system:anonymous"


def test_token_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text('# comment\ntok1,ann,7,"devs, ops"\n\ntok2, bob, 8\n')
    assert read_token_file(str(file)) == {
        "tok1": UserInfo("ann", ("devs", "ops", "system:authenticated"), "7"),
        "tok2": UserInfo("bob", ("system:authenticated",), "8"),
    }
    file.write_text("tok1,ann\n")
    with pytest.raises(TokenFileError, match=r"tokens\.csv:1: needs at least 3 columns"):
        read_token_file(str(file))
    with pytest.raises(TokenFileError, match="cannot be read"):
        read_token_file(str(tmp_path / "none"))


def bootstrap_secret(**changes: str) -> dict[str, Any]:
    fields = {
        "token-id": "07401b",
        "token-secret": "f395accd246ae52d",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:workers",
        "expiration": "2026-01-02T00:00:00Z",
        **{key.replace("_", "-"): value for key, value in changes.items()},
    }
    data = {key: base64.b64encode(value.encode()).decode() for key, value in fields.items() if value}
    metadata = {"name": "bootstrap-token-07401b", "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "bootstrap.kubernetes.io/token", "data": data}


def test_bootstrap_token() -> None:
    view = MemoryView(bootstrap_secret())
    bearer = "Bearer 07401b.f395accd246ae52d"
    user = who(Authenticator(FixedClock(), bootstrap_tokens=True), view=view, authorization=bearer)
    assert user == UserInfo("system:bootstrap:07401b", ("system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"))
    with pytest.raises(Unauthorized):
        who(Authenticator(FixedClock()), view=view, authorization=bearer)


@pytest.mark.parametrize(
    "changes",
    [
        {"token_secret": "0000000000000000"},
        {"expiration": "2025-12-31T00:00:00Z"},
        {"expiration": "soon"},
        {"usage_bootstrap_authentication": ""},
        {"auth_extra_groups": "system:masters"},
    ],
)
def test_bad_bootstrap_token(changes: dict[str, str]) -> None:
    with pytest.raises(Unauthorized):
        who(Authenticator(FixedClock(), bootstrap_tokens=True), view=MemoryView(bootstrap_secret(**changes)), authorization="Bearer 07401b.f395accd246ae52d")
