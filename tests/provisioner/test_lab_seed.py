"""What makes a copy of the image a machine: the same files for containers and virtual machines, as a tar archive for the latter."""

import io
import tarfile
from pathlib import Path

import pytest

from k8sfromscratch.lab import keys, seed
from k8sfromscratch.lab.spec import ClusterSpec


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterSpec:
    monkeypatch.setattr(keys, "KEY_FILE", tmp_path / "ssh" / "id_ed25519")
    monkeypatch.setattr(keys, "KNOWN_HOSTS", tmp_path / "ssh" / "known_hosts")
    monkeypatch.setattr(keys, "host_key_file", lambda machine: tmp_path / "ssh" / f"host_{machine}")
    made = ClusterSpec(workers=1)
    keys.ensure(made)
    return made


def test_a_machine_gets_its_name_address_and_keys(spec: ClusterSpec) -> None:
    own = seed.files(spec, spec.machine("worker-1"), {"MACAddress": "52:54:00:00:00:01"}, name_servers="nameserver 192.0.2.1\n")
    assert own["etc/hostname"] == (0o644, "worker-1\n")
    _, network = own["etc/systemd/network/10-lab.network"]
    assert network.startswith("[Match]\nMACAddress=52:54:00:00:00:01\n") and "Address=10.89.0.101/24\nGateway=10.89.0.1\n" in network
    assert "10.89.0.11 master-1\n10.89.0.101 worker-1\n" in own["etc/hosts"][1]
    assert own["etc/ssh/ssh_host_ed25519_key"][0] == 0o600 and "PRIVATE KEY" in own["etc/ssh/ssh_host_ed25519_key"][1]
    assert own["root/.ssh/authorized_keys"][1] == keys.KEY_FILE.with_suffix(".pub").read_text()


def test_the_archive_is_whole_sectors_and_the_same_each_time() -> None:
    contents = {"etc/hostname": (0o644, "a\n"), "root/.ssh/authorized_keys": (0o600, "key\n")}
    data = seed.archive(contents)
    assert len(data) % 512 == 0 and data == seed.archive(dict(reversed(contents.items())))
    with tarfile.open(fileobj=io.BytesIO(data + bytes(4096))) as tar:  # a disk has room behind it
        assert {entry.name: (entry.mode, entry.uid) for entry in tar} == {"etc/hostname": (0o644, 0), "root/.ssh/authorized_keys": (0o600, 0)}


@pytest.mark.parametrize(
    ("texts", "servers"),
    [
        (("search example.org\nnameserver 127.0.0.1\nnameserver\t192.0.2.1\nnameserver\n",), "nameserver 192.0.2.1\n"),
        (("nameserver 127.0.0.53\noptions edns0\n", "nameserver 192.0.2.2\nnameserver 192.0.2.3\n"), "nameserver 192.0.2.2\nnameserver 192.0.2.3\n"),
        (("nameserver ::1\n",), ""),
        ((), ""),
    ],
    ids=["some listen on loopback", "systemd-resolved", "only loopback", "no file"],
)
def test_name_servers_are_those_that_a_machine_can_reach(tmp_path: Path, texts: tuple[str, ...], servers: str) -> None:
    files = [tmp_path / "resolv.conf", tmp_path / "resolved.conf"]
    for file, text in zip(files, texts, strict=False):
        file.write_text(text)
    assert seed.host_name_servers(files) == servers
