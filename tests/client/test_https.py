"""What only a real connection shows: credentials that are renewed, servers that are not there."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from k8sfromscratch.client import HttpsTransport, NotConnected, TransportError, https
from k8sfromscratch.client.kubeconfig import load_kubeconfig, transport_for
from k8sfromscratch.process import pki
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.process.server import Server, serve
from k8sfromscratch.process.tls import TlsFiles


def common_name(certificate: bytes | None) -> str:
    assert certificate is not None
    return str(x509.load_der_x509_certificate(certificate).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def play(story: Callable[[Server, list[Request]], Awaitable[None]], tls: TlsFiles | None = None, client_ca_file: str = "") -> None:
    seen: list[Request] = []

    async def handle(request: Request) -> Response:
        seen.append(request)
        headers = {"Location": "/elsewhere", "Set-Cookie": "a=b"} if request.path == "/moved" else {}
        return Response(302 if headers else 200, b"{}", headers=headers)

    async def main() -> None:
        server = await serve(handle, host="127.0.0.1", port=0, tls=tls, client_ca_file=client_ca_file)
        try:
            await story(server, seen)
        finally:
            await server.close(0.1)

    asyncio.run(main())


def test_no_server_is_told_apart_from_one_that_is_lost_half_way() -> None:
    async def story(server: Server, seen: list[Request]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            transport = HttpsTransport(f"http://127.0.0.1:{free.getsockname()[1]}")
            with pytest.raises(NotConnected):
                await transport.request("GET", "/")
            with pytest.raises(NotConnected):
                async with transport.stream("GET", "/"):
                    pass
            await transport.close()

        rude = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        transport = HttpsTransport(f"http://127.0.0.1:{rude.sockets[0].getsockname()[1]}")
        with pytest.raises(TransportError) as caught:
            await transport.request("POST", "/", body=b"x")
        assert not isinstance(caught.value, NotConnected)
        await transport.close()
        rude.close()

    play(story)


def test_a_server_that_does_not_answer_is_given_up() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel connects, nobody accepts
            transport = HttpsTransport(f"http://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(TransportError, match="Timeout"):
                await transport.request("GET", "/", timeout_s=0.05)
            await transport.close()

    asyncio.run(main())


def test_connections_find_out_when_their_server_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    inner = https._socket
    monkeypatch.setattr(https, "_socket", lambda address: made.append(inner(address)) or made[-1])

    async def story(server: Server, seen: list[Request]) -> None:
        transport = HttpsTransport(f"http://127.0.0.1:{server.port}")
        await transport.request("GET", "/")
        (sock,) = made
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        await transport.close()

    play(story)


def test_redirects_are_not_followed_with_our_credentials_and_cookies_not_kept() -> None:
    async def story(server: Server, seen: list[Request]) -> None:
        transport = HttpsTransport(f"http://127.0.0.1:{server.port}", token="secret")
        assert (await transport.request("GET", "/moved")).status == 302
        async with transport.stream("GET", "/moved") as reply:
            assert reply.status == 302
        assert [request.path for request in seen] == ["/moved", "/moved"] and all("cookie" not in request.headers for request in seen)
        await transport.close()

    play(story)


def test_a_token_is_read_again_and_kept_while_its_file_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "REREAD_S", 0.0)
    token = tmp_path / "token"

    async def story(server: Server, seen: list[Request]) -> None:
        transport = HttpsTransport(f"http://127.0.0.1:{server.port}", token_file=str(token))
        with pytest.raises(TransportError, match="cannot be read"):
            await transport.request("GET", "/")
        for content in ("first\n", "second\n"):
            token.write_text(content)
            await transport.request("GET", "/")
        token.unlink()
        await transport.request("GET", "/")
        assert [request.headers["authorization"] for request in seen] == ["Bearer first", "Bearer second", "Bearer second"]
        await transport.close()

    play(story)


def test_a_client_certificate_is_renewed_with_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "REREAD_S", 0.0)
    now = datetime.now(UTC)
    ca_key = pki.make_key()
    ca = pki.issue(pki.Spec("ca", usages=(), ca=True), ca_key, None, now)
    (tmp_path / "ca.crt").write_bytes(pki.certificate_pem(ca))

    def issue(file: str, name: str) -> TlsFiles:
        key = pki.make_key()
        certificate = pki.issue(pki.Spec(name, ip_addresses=("127.0.0.1",), usages=("server", "client")), key, pki.Authority(ca, ca_key), now)
        (tmp_path / f"{file}.key").write_bytes(pki.key_pem(key))
        (tmp_path / f"{file}.crt").write_bytes(pki.certificate_pem(certificate))
        return TlsFiles(str(tmp_path / f"{file}.crt"), str(tmp_path / f"{file}.key"))

    served = issue("server", "server")
    issue("client", "before")

    async def story(server: Server, seen: list[Request]) -> None:
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": f"https://127.0.0.1:{server.port}", "certificate-authority": "ca.crt"}}],
            "users": [{"name": "u", "user": {"client-certificate": "client.crt", "client-key": "client.key"}}],
        }
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        transport = transport_for(load_kubeconfig(tmp_path / "config"))
        await transport.request("GET", "/")
        issue("client", "after")
        await transport.request("GET", "/", headers={"Connection": "close"})  # it may go over the open connection, whose certificate stays
        await transport.request("GET", "/")
        assert (common_name(seen[0].peer_certificate), common_name(seen[2].peer_certificate)) == ("before", "after")
        await transport.close()

    play(story, served, str(tmp_path / "ca.crt"))
