"""Security as the process builds it from its flags, behind a TLS server: client certificates, the front proxy's, tokens, and what flags are refused."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from k8sfromscratch.api.registry import CONFIG_MAPS
from k8sfromscratch.components.apiserver import app
from k8sfromscratch.components.apiserver.config import ApiServerFlags
from k8sfromscratch.components.apiserver.security import from_flags
from k8sfromscratch.components.apiserver.server import ApiServer
from k8sfromscratch.components.pki.app import ensure
from k8sfromscratch.components.pki.config import PkiSpec
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsFiles, client_context
from k8sfromscratch.storage.local import LocalStorage

SPEC = {
    "authorities": [
        {"name": "ca", "common_name": "ca"},
        {"name": "front-proxy-ca", "common_name": "front-proxy-ca"},
        {"name": "other-ca", "common_name": "other"},
    ],
    "certificates": [
        {"name": "apiserver", "authority": "ca", "common_name": "kube-apiserver", "usages": ["server"], "ip_addresses": ["127.0.0.1"]},
        {"name": "ann", "authority": "ca", "common_name": "ann", "organizations": ["devs"]},
        {"name": "server-only", "authority": "ca", "common_name": "eve", "usages": ["server"]},
        {"name": "front", "authority": "front-proxy-ca", "common_name": "front"},
        {"name": "stranger", "authority": "other-ca", "common_name": "root", "organizations": ["system:masters"]},
    ],
    "key_pairs": [{"name": "sa"}],
}
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
Ask = Callable[..., Awaitable[tuple[int, Any]]]


def flags(pki: Path, **changes: Any) -> ApiServerFlags:
    given = {
        "etcd_servers": ["http://127.0.0.1:1"],
        "client_ca_file": str(pki / "ca.crt"),
        "requestheader_client_ca_file": str(pki / "front-proxy-ca.crt"),
        "requestheader_allowed_names": ["front"],
        "authorization_mode": ["Node", "RBAC"],
        "service_account_issuer": ["https://issuer.example"],
        "service_account_key_file": [str(pki / "sa.pub")],
        "service_account_signing_key_file": str(pki / "sa.key"),
    }
    return ApiServerFlags.model_validate({**given, **changes})


def told(tmp_path: Path, story: Callable[[Ask], Awaitable[None]], **changes: Any) -> None:
    async def main() -> None:
        pki = tmp_path / "pki"
        ensure(pki, PkiSpec.model_validate(SPEC), datetime.now(UTC))
        env, given = Env(), flags(pki, **changes)
        storage = LocalStorage.memory(env)
        server = ApiServer(storage, env, app.options_of(given, env, from_flags(given, env, address="127.0.0.1:1")))
        with app._client_authorities(given) as authorities:
            listener = await serve(
                server.handle, host="127.0.0.1", port=0, tls=TlsFiles(str(pki / "apiserver.crt"), str(pki / "apiserver.key")), client_ca_file=authorities
            )
        await server.start()

        async def ask(certificate: str = "", **headers: str | list[str]) -> tuple[int, Any]:
            files = TlsFiles(str(pki / f"{certificate}.crt"), str(pki / f"{certificate}.key")) if certificate else None
            context = client_context(ca_file=str(pki / "ca.crt"), files=files)
            named = [(name.replace("_", "-"), each) for name, value in headers.items() for each in ([value] if isinstance(value, str) else value)]
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"https://127.0.0.1:{listener.port}{WHOAMI}", json={}, headers=named, ssl=context) as response,
            ):
                body = await response.json()
                return response.status, body["status"]["userInfo"] if response.status == 201 else body

        try:
            await story(ask)
        finally:
            await server.stop()
            await listener.close(grace_s=0)
            await storage.close()

    asyncio.run(main())


def test_a_client_certificate_is_its_user(tmp_path: Path) -> None:
    async def story(ask: Ask) -> None:
        status, user = await ask("ann")
        assert (status, user["username"], user["groups"]) == (201, "ann", ["devs", "system:authenticated"])
        assert (await ask())[0] == 403

    told(tmp_path, story)


def test_the_front_proxy_names_users(tmp_path: Path) -> None:
    async def story(ask: Ask) -> None:
        status, user = await ask("front", x_remote_user="bob", x_remote_group="ops")
        assert (status, user["username"], user["groups"]) == (201, "bob", ["ops", "system:authenticated"])
        status, user = await ask("ann", x_remote_user="bob")
        assert (status, user["username"]) == (201, "ann")
        assert (await ask("front"))[0] == 401

    told(tmp_path, story)


def test_a_comma_belongs_to_a_group_and_a_repeated_header_is_several(tmp_path: Path) -> None:
    async def story(ask: Ask) -> None:
        _, user = await ask("front", x_remote_user="bob", x_remote_group=["ops", "CN=a, OU=b"], x_remote_extra_reason=["x,y", "z"])
        assert user["groups"] == ["ops", "CN=a, OU=b", "system:authenticated"]
        assert user["extra"] == {"reason": ["x,y", "z"]}
        root = {"x_remote_user": "root", "x_remote_group": "system:masters"}
        _, user = await ask("front", **root, impersonate_user="ann", impersonate_group=["a,system:masters", "b"], impersonate_extra_why="p, q")
        assert user["groups"] == ["a,system:masters", "b", "system:authenticated"]
        assert user["extra"] == {"why": ["p, q"]}

    told(tmp_path, story)


def test_other_servers_are_told_how_to_know_callers(tmp_path: Path) -> None:
    ensure(tmp_path, PkiSpec.model_validate(SPEC), datetime.now(UTC))

    async def main() -> dict[str, str]:
        env = Env()
        storage = LocalStorage.memory(env)
        guard = from_flags(flags(tmp_path), env, address="127.0.0.1:1")
        server = ApiServer(storage, env, app.options_of(flags(tmp_path), env, guard))
        await server.start()
        try:
            return (await server.loopback.get(CONFIG_MAPS, "extension-apiserver-authentication", "kube-system"))["data"]
        finally:
            await server.stop()
            await storage.close()

    assert asyncio.run(main()) == {
        "client-ca-file": (tmp_path / "ca.crt").read_text(),
        "requestheader-client-ca-file": (tmp_path / "front-proxy-ca.crt").read_text(),
        "requestheader-allowed-names": '["front"]',
        "requestheader-username-headers": '["x-remote-user"]',
        "requestheader-group-headers": '["x-remote-group"]',
        "requestheader-uid-headers": '["x-remote-uid"]',
        "requestheader-extra-headers-prefix": '["x-remote-extra-"]',
    }


@pytest.mark.parametrize("certificate", ["stranger", "server-only"])
def test_other_certificates_do_not_even_connect(tmp_path: Path, certificate: str) -> None:
    async def story(ask: Ask) -> None:
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await ask(certificate)

    told(tmp_path, story)


def test_static_tokens(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text('secret,ann,7,"devs"\n')

    async def story(ask: Ask) -> None:
        status, user = await ask(authorization="Bearer secret")
        assert (status, user["username"], user["uid"]) == (201, "ann", "7")
        assert (await ask(authorization="Bearer other"))[0] == 401

    told(tmp_path, story, token_auth_file=str(file))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"authorization_mode": ["Webhook"]}, '--authorization-mode: "Webhook" is not a valid authorization mode'),
        ({"service_account_key_file": ["/none"], "service_account_signing_key_file": ""}, "/none cannot be read"),
        ({"service_account_issuer": []}, "--service-account-issuer is required"),
        ({"service_account_key_file": [], "service_account_signing_key_file": ""}, "--service-account-issuer needs"),
        ({"client_ca_file": "/none"}, "there is no file /none"),
        ({"token_auth_file": "/none"}, "/none cannot be read"),
    ],
)
def test_flags_that_cannot_work_are_refused_at_the_start(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    ensure(tmp_path, PkiSpec.model_validate(SPEC), datetime.now(UTC))
    with pytest.raises(StartError, match=complaint):
        from_flags(flags(tmp_path, **changes), Env(), address="127.0.0.1:6443")


def test_a_signing_key_is_no_verification_file(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    ensure(tmp_path, PkiSpec.model_validate(SPEC), datetime.now(UTC))
    with pytest.raises(StartError, match=r"bad\.pem holds something that is not a PEM key"):
        from_flags(flags(tmp_path, service_account_key_file=[str(tmp_path / "bad.pem")]), Env(), address="127.0.0.1:6443")
