"""A cloud image that the user names: what cloud-init is told, and what is refused before anything is made."""

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pycdlib
import pytest
import yaml

from k8sfromscratch.lab import keys, seed, vm_image
from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.spec import ClusterSpec

MAC = "52:54:00:aa:bb:cc"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterSpec:
    monkeypatch.setattr(keys, "KEY_FILE", tmp_path / "ssh" / "id_ed25519")
    monkeypatch.setattr(keys, "KNOWN_HOSTS", tmp_path / "ssh" / "known_hosts")
    monkeypatch.setattr(keys, "host_key_file", lambda machine: tmp_path / "ssh" / f"host_{machine}")
    made = ClusterSpec(workers=1)
    keys.ensure(made)
    return made


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs: Callable[..., None]) -> Path:
    """Where images are made; the cache is beside them."""
    needs("qemu-img")
    monkeypatch.setattr(vm_image, "CACHE_DIR", tmp_path / "cache")
    return tmp_path


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


def test_cloud_init_finds_its_files_on_a_disk_with_the_label(spec: ClusterSpec) -> None:
    said = seed.cloud_init(spec, spec.machine("worker-1"), MAC, name_servers="nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    disk = pycdlib.PyCdlib()
    disk.open_fp(io.BytesIO(seed.iso(said)))
    assert disk.pvd.volume_identifier.decode().rstrip() == "CIDATA"
    for name, text in said.items():
        for path in ({"rr_path": f"/{name}"}, {"joliet_path": f"/{name}"}):
            found = io.BytesIO()
            disk.get_file_from_iso_fp(found, **path)
            assert found.getvalue().decode() == text
    disk.close()


def test_cloud_init_is_told_name_address_and_keys(spec: ClusterSpec) -> None:
    said = seed.cloud_init(spec, spec.machine("worker-1"), MAC, name_servers="nameserver 192.0.2.1\n")
    user_data = yaml.safe_load(said["user-data"])
    assert said["user-data"].startswith("#cloud-config\n") and user_data["hostname"] == "worker-1"
    assert user_data["users"] == [{"name": "root", "ssh_authorized_keys": [keys.KEY_FILE.with_suffix(".pub").read_text().strip()]}]
    assert user_data["ssh_keys"]["ed25519_private"] == keys.host_key_file("worker-1").read_text()
    assert "10.89.0.11 master-1\n10.89.0.101 worker-1\n" in user_data["write_files"][0]["content"]
    (interface,) = yaml.safe_load(said["network-config"])["ethernets"].values()
    assert interface["match"] == {"macaddress": MAC} and interface["addresses"] == ["10.89.0.101/24"]
    assert interface["routes"] == [{"to": "0.0.0.0/0", "via": "10.89.0.1"}] and interface["nameservers"] == {"addresses": ["192.0.2.1"]}


def test_an_instance_is_another_only_if_it_is_told_something_else(spec: ClusterSpec) -> None:
    def instance(of: ClusterSpec) -> str:
        return str(json.loads(seed.cloud_init(of, of.machine("worker-1"), MAC, name_servers="")["meta-data"])["instance-id"])

    wider = spec.model_copy(update={"workers": 2})
    keys.ensure(wider)
    assert instance(spec) == instance(spec) != instance(ClusterSpec.model_validate({**spec.model_dump(), "workers": 2}))


@pytest.mark.parametrize("form", ["qcow2", "raw", "vmdk"])
def test_any_disk_image_becomes_one_that_machines_can_be_layers_of(images: Path, form: str) -> None:
    named = images / f"cloud.{form}"
    qemu_img("create", "-f", form, named, "8M")
    made = vm_image.ensure(str(named), "bookworm")
    described = json.loads(subprocess.run(["qemu-img", "info", "--output=json", made.disk], check=True, capture_output=True).stdout)
    assert (described["format"], described["virtual-size"], made.kernel) == ("qcow2", 8 << 20, None)
    first = made.disk.stat().st_mtime_ns
    assert vm_image.ensure(str(named), "bookworm").disk.stat().st_mtime_ns == first, "made once"
    qemu_img("create", "-f", form, named, "16M")
    assert vm_image.ensure(str(named), "bookworm").tag != made.tag


def test_what_is_no_image_is_refused_with_its_name(images: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.qcow2: No such file"):
        vm_image.ensure(str(images / "nowhere.qcow2"), "bookworm")
    text = images / "page.html"
    text.write_text("<html>404</html>")
    with pytest.raises(SpecError, match=r"page\.html: this is no disk image"):
        vm_image.ensure(str(text), "bookworm")
    below, layer = images / "below.qcow2", images / "layer.qcow2"
    qemu_img("create", "-f", "qcow2", below, "8M")
    qemu_img("create", "-f", "qcow2", "-b", below, "-F", "qcow2", layer)
    with pytest.raises(SpecError, match=r"layer\.qcow2: it is a layer over .*below\.qcow2"):
        vm_image.ensure(str(layer), "bookworm")
