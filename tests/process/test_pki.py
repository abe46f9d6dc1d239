"""The CA library and `pki ensure`: what it makes is judged by OpenSSL's own verification, through `ssl`, not only by ourselves."""

import json
import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from k8sfromscratch.components.pki.__main__ import main
from k8sfromscratch.components.pki.app import ensure
from k8sfromscratch.components.pki.config import PkiSpec
from k8sfromscratch.process import pki

NOW = datetime(2026, 1, 1, tzinfo=UTC)

SPEC = {
    "authorities": [{"name": "ca", "common_name": "kubernetes-ca"}, {"name": "etcd/ca", "common_name": "etcd-ca"}],
    "certificates": [
        {
            "name": "apiserver",
            "authority": "ca",
            "common_name": "kube-apiserver",
            "usages": ["server"],
            "dns_names": ["kubernetes"],
            "ip_addresses": ["127.0.0.1"],
        },
        {"name": "admin", "authority": "ca", "common_name": "admin", "organizations": ["system:masters", "ops"]},
    ],
    "key_pairs": [{"name": "sa", "algorithm": "ec"}],
}


def spec(**changes: object) -> PkiSpec:
    return PkiSpec.model_validate({**SPEC, **changes})


def changed(directory: Path, wanted: PkiSpec, now: datetime = NOW, **options: bool) -> dict[str, str]:
    return {change.path: change.reason for change in ensure(directory, wanted, now, **options)}


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def handshake(directory: Path) -> dict[str, object]:
    """Mutual TLS over a socket pair; the client's certificate as the server saw it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "apiserver.crt", directory / "apiserver.key")
    server.load_verify_locations(directory / "ca.crt")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(directory / "ca.crt")
    client.load_cert_chain(directory / "admin.crt", directory / "admin.key")
    seen: dict[str, object] = {}
    left, right = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(left, server_side=True) as connection:
            seen.update(connection.getpeercert() or {})
            connection.sendall(b"ok")

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(right, server_hostname="127.0.0.1") as connection:
        assert connection.recv(2) == b"ok"
    thread.join()
    return seen


def test_certificates_serve_mutual_tls(tmp_path: Path) -> None:
    ensure(tmp_path, spec(), datetime.now(UTC))
    subject = handshake(tmp_path)["subject"]
    assert subject == ((("organizationName", "system:masters"),), (("organizationName", "ops"),), (("commonName", "admin"),))


def test_second_run_changes_nothing(tmp_path: Path) -> None:
    assert len(changed(tmp_path, spec())) == 10
    before = snapshot(tmp_path)
    assert changed(tmp_path, spec(), NOW + timedelta(days=300)) == {}
    assert snapshot(tmp_path) == before


def test_modes(tmp_path: Path) -> None:
    ensure(tmp_path, spec(), NOW)
    modes = {str(p.relative_to(tmp_path)): stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*") if p.is_file()}
    keys = {name: mode for name, mode in modes.items() if name.endswith(".key")}
    assert keys == dict.fromkeys(("ca.key", "etcd/ca.key", "apiserver.key", "admin.key", "sa.key"), 0o600)
    assert {mode for name, mode in modes.items() if not name.endswith(".key")} == {0o644}


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    assert len(changed(tmp_path / "new", spec(), dry_run=True)) == 10
    assert not (tmp_path / "new").exists()
    ensure(tmp_path, spec(), NOW)
    before = snapshot(tmp_path)
    assert set(changed(tmp_path, spec(), NOW + timedelta(days=340), dry_run=True)) == {"apiserver.key", "apiserver.crt", "admin.key", "admin.crt"}
    assert snapshot(tmp_path) == before


def test_leaf_is_renewed_before_it_expires(tmp_path: Path) -> None:
    ensure(tmp_path, spec(), NOW)
    late = NOW + timedelta(days=336)
    assert changed(tmp_path, spec(), late)["admin.crt"] == "expires at 2027-01-01T00:00:00Z"
    assert changed(tmp_path, spec(), late) == {}


def test_authority_keeps_its_key_and_what_it_signed_stays_good(tmp_path: Path) -> None:
    certificates = [{**entry, "validity_days": 5000} for entry in SPEC["certificates"]]
    ensure(tmp_path, spec(certificates=certificates), NOW)
    late = NOW + timedelta(days=3500)
    assert set(changed(tmp_path, spec(certificates=certificates), late)) == {"ca.crt", "etcd/ca.crt"}
    leaf, issuer = pki.read_certificate(tmp_path / "admin.crt"), pki.read_certificate(tmp_path / "ca.crt")
    assert leaf is not None and issuer is not None
    leaf.verify_directly_issued_by(issuer)


def test_a_leaf_never_outlives_its_authority_and_is_not_renewed_in_vain(tmp_path: Path) -> None:
    short = spec(authorities=[{"name": "ca", "common_name": "c", "validity_days": 20, "renew_before_days": 1}], certificates=[SPEC["certificates"][1]])
    ensure(tmp_path, short, NOW)
    leaf = pki.read_certificate(tmp_path / "admin.crt")
    assert leaf is not None and leaf.not_valid_after_utc == NOW + timedelta(days=20)
    assert changed(tmp_path, short, NOW + timedelta(days=10)) == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dns_names": ["kubernetes", "api.example"]}, "alternative names differ: missing api.example"),
        ({"ip_addresses": ["127.0.0.2"]}, "alternative names differ: missing 127.0.0.2 no longer wanted 127.0.0.1"),
        ({"common_name": "other"}, "the subject is CN=kube-apiserver, wanted is CN=other"),
        ({"usages": ["server", "client"]}, "usages are ['server'], wanted are ['client', 'server']"),
    ],
)
def test_a_changed_wish_renews(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    ensure(tmp_path, spec(), NOW)
    wanted = spec(certificates=[{**SPEC["certificates"][0], **change}, SPEC["certificates"][1]])
    assert changed(tmp_path, wanted) == {"apiserver.key": reason, "apiserver.crt": reason}


def test_order_of_names_does_not_renew(tmp_path: Path) -> None:
    entry = {**SPEC["certificates"][0], "dns_names": ["b", "a"], "ip_addresses": ["10.0.0.2", "::1"]}
    ensure(tmp_path, spec(certificates=[entry]), NOW)
    assert changed(tmp_path, spec(certificates=[{**entry, "dns_names": ["a", "b"], "ip_addresses": ["0:0::1", "10.0.0.2"]}])) == {}


def test_another_authority_renews(tmp_path: Path) -> None:
    ensure(tmp_path, spec(), NOW)
    (tmp_path / "ca.key").unlink()
    (tmp_path / "ca.crt").unlink()
    assert changed(tmp_path, spec())["admin.crt"] == "signed by another authority"


def test_half_written_pair_is_made_again(tmp_path: Path) -> None:
    ensure(tmp_path, spec(), NOW)
    pki.write(tmp_path / "admin.key", pki.key_pem(pki.make_key()), pki.KEY_MODE)
    assert changed(tmp_path, spec()) == dict.fromkeys(("admin.key", "admin.crt"), "the private key is of another certificate")


def test_outside_authority_without_its_key(tmp_path: Path) -> None:
    ensure(tmp_path, spec(), NOW)
    (tmp_path / "ca.key").unlink()
    assert changed(tmp_path, spec()) == {}
    with pytest.raises(pki.PkiError, match=r"admin\.crt must be made \(missing\), but the key of its authority, ca\.key, is not here"):
        (tmp_path / "admin.crt").unlink()
        ensure(tmp_path, spec(), NOW)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing")
    with pytest.raises(pki.PkiError, match=r"ca\.crt is not a PEM certificate"):
        ensure(tmp_path, spec(), NOW)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(SPEC))
    assert main(["ensure", "--dir", str(tmp_path / "d"), f"--spec={file}"]) == 0
    assert {"path": "sa.pub", "reason": "missing"} in json.loads(capsys.readouterr().out)["changed"]
    assert main(["ensure", "--dir", str(tmp_path / "d"), f"--spec={file}"]) == 0
    assert json.loads(capsys.readouterr().out) == {"changed": []}


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({"certificates": [{"name": "x", "authority": "none", "common_name": "x"}]}, "names an authority that is not listed: 'none'"),
        ({"authorities": [{"name": "../ca", "common_name": "x"}]}, "authorities.0.name"),
        ({"key_pairs": [{"name": "ca"}]}, "listed twice: ca"),
        ({"certificates": [{"name": "x", "authority": "ca", "common_name": "x", "ip_addresses": ["1.2.3"]}]}, "certificates.0.ip_addresses"),
        ({"wrong": 1}, "wrong: Extra inputs"),
    ],
)
def test_wrong_spec_is_refused_by_field(tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: dict[str, object], complaint: str) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps({**SPEC, **broken}))
    assert main(["ensure", "--dir", str(tmp_path / "d"), "--spec", str(file)]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "d").exists()
