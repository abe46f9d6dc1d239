"""libvirt as the provider uses it, against a stand-in of its bindings: what others made is refused and stays, and a lab goes after any interruption.

`tests/vm/test_vm_libvirt.py` does it with a real one.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from k8sfromscratch.lab import libvirt_host
from k8sfromscratch.lab.errors import CommandFailed, LabError
from k8sfromscratch.lab.libvirt_host import Host, render
from k8sfromscratch.lab.providers.libvirt import LibvirtProvider
from k8sfromscratch.lab.record import LibvirtRecord, MachineRecord, Record
from k8sfromscratch.lab.spec import ClusterSpec
from k8sfromscratch.lab.vm_image import VmImage

ABSENT, INACTIVE = 1, 2


class Refused(Exception):
    """libvirtError."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(said)
        self.code = code

    def get_error_code(self) -> int:
        return self.code


class Thing:
    """A domain, a network or a storage pool of `kept`."""

    def __init__(self, kept: dict[str, "Thing"], xml: str) -> None:
        named = re.search("<name>(.+?)</name>", xml)
        assert named is not None
        self.kept, self.xml, self.called, self.active, self.content = kept, xml, named[1], False, set[str]()
        kept[self.called] = self

    def XMLDesc(self, _flags: int = 0) -> str:
        return self.xml

    def isActive(self) -> bool:
        return self.active

    def build(self, _flags: int) -> None:
        pass

    def create(self, _flags: int = 0) -> None:
        self.active = True

    def destroy(self) -> None:
        self.active = False

    def undefine(self) -> None:
        del self.kept[self.called]

    # -- a pool's

    def _running(self) -> None:
        if not self.active:
            raise Refused(INACTIVE, f"storage pool '{self.called}' is not active")

    def refresh(self, _flags: int) -> None:
        self._running()

    def listVolumes(self) -> list[str]:
        self._running()
        return sorted(self.content)

    def delete(self, _flags: int) -> None:
        assert not self.content, "its directory must be empty"

    def storageVolLookupByName(self, name: str) -> Any:
        self._running()
        if name not in self.content:
            raise Refused(ABSENT, f"no volume {name}")
        return SimpleNamespace(delete=lambda _flags: self.content.remove(name), path=lambda: f"/pool/{name}")


class Libvirt:
    """The bindings, and the one connection there is."""

    VIR_ERR_NO_DOMAIN = VIR_ERR_NO_NETWORK = VIR_ERR_NO_STORAGE_POOL = VIR_ERR_NO_STORAGE_VOL = ABSENT
    libvirtError = Refused

    def __init__(self) -> None:
        self.domains: dict[str, Thing] = {}
        self.networks: dict[str, Thing] = {}
        self.pools: dict[str, Thing] = {}
        self.lookupByName = self._finder(self.domains)
        self.networkLookupByName = self._finder(self.networks)
        self.storagePoolLookupByName = self._finder(self.pools)

    def open(self, _uri: str) -> "Libvirt":
        return self

    def registerErrorHandler(self, _handler: Any, _context: Any) -> None:
        pass

    @staticmethod
    def _finder(kept: dict[str, Thing]) -> Callable[[str], Thing]:
        def look_up(name: str) -> Thing:
            if name not in kept:
                raise Refused(ABSENT, f"no {name}")
            return kept[name]

        return look_up

    def defineXML(self, xml: str) -> Thing:
        return Thing(self.domains, xml)

    def networkDefineXML(self, xml: str) -> Thing:
        return Thing(self.networks, xml)

    def storagePoolDefineXML(self, xml: str, _flags: int) -> Thing:
        return Thing(self.pools, xml)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Libvirt:
    libvirt = Libvirt()
    monkeypatch.setattr(libvirt_host, "_bindings", lambda: libvirt)
    monkeypatch.setattr(libvirt_host, "_aside", lambda work: work())
    return libvirt


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    kept = Record()

    @contextmanager
    def locked(_class: type[Record]) -> Iterator[Record]:
        yield kept

    monkeypatch.setattr(Record, "load", classmethod(lambda cls: kept.model_copy(deep=True)))
    monkeypatch.setattr(Record, "locked", classmethod(locked))
    return kept


def domain(name: str, lab: str = "") -> str:
    made_by = f'<metadata><lab xmlns="{libvirt_host.NAMESPACE}">{lab}</lab></metadata>' if lab else ""
    return f"<domain><name>{name}</name>{made_by}</domain>"


def network(name: str, lab: str) -> str:
    return render("network", network=name, lab=lab, bridge="kfs-br0", gateway="10.89.0.1", prefix_length=24)


def deployed(there: Libvirt, record: Record) -> LibvirtProvider:
    """A lab `kfs` of one machine."""
    provider = LibvirtProvider(ClusterSpec(provider="libvirt", workers=0))
    record.libvirt = LibvirtRecord(uri="qemu:///system", network="kfs-machines", pool="kfs-machines")
    record.machines["master-1"] = MachineRecord(root="kfs-master-1")
    host = Host("qemu:///system")
    host.ensure_network("kfs-machines", "kfs", network("kfs-machines", "kfs"))
    host.ensure_pool("kfs-machines", render("pool", pool="kfs-machines", path="/var/lib/libvirt/images/kfs-machines"))
    there.pools["kfs-machines"].content.update(("disk-1", "master-1.qcow2", "master-1.seed"))
    host.ensure_domain("kfs-master-1", "kfs", domain("kfs-master-1", "kfs"))
    return provider


def test_all_that_was_made_goes(there: Libvirt, record: Record) -> None:
    deployed(there, record).tear_down()
    assert (there.domains, there.networks, there.pools) == ({}, {}, {})
    assert record.machines == {} and record.libvirt is None


def test_a_lab_goes_after_a_start_of_the_host(there: Libvirt, record: Record) -> None:
    """libvirt starts none of it by itself, and of a pool that does not run it removes nothing."""
    provider = deployed(there, record)
    for thing in (*there.domains.values(), *there.networks.values(), *there.pools.values()):
        thing.active = False
    with pytest.raises(CommandFailed, match="is not active"):
        Host("qemu:///system").remove_volume("kfs-machines", "disk-1")
    provider.tear_down()
    assert (there.domains, there.networks, there.pools) == ({}, {}, {})


def test_a_machine_that_the_lab_no_longer_has_goes_after_a_start_of_the_host(there: Libvirt, record: Record) -> None:
    provider = deployed(there, record)
    there.pools["kfs-machines"].active = False
    provider.remove("master-1")
    assert there.domains == {} and there.pools["kfs-machines"].content == {"disk-1"}


def test_what_others_made_was_refused_and_stays(there: Libvirt, record: Record) -> None:
    """The record has it: what is to be made is written down before it is tried."""
    provider = deployed(there, record)
    there.domains["kfs-master-1"].xml = domain("kfs-master-1")
    there.networks["kfs-machines"].xml = network("kfs-machines", "another")
    with pytest.raises(LabError, match="a domain 'kfs-master-1' that this lab did not make: remove it, or set LAB_NAME"):
        Host("qemu:///system").ensure_domain("kfs-master-1", "kfs", domain("kfs-master-1", "kfs"))
    with pytest.raises(LabError, match="a network 'kfs-machines' that this lab did not make"):
        Host("qemu:///system").ensure_network("kfs-machines", "kfs", network("kfs-machines", "kfs"))
    provider.tear_down()
    assert there.domains["kfs-master-1"].active and there.networks["kfs-machines"].active
    assert there.pools == {}


def test_a_pool_in_another_place_is_refused_before_it_is_written_down(there: Libvirt, record: Record, tmp_path: Path) -> None:
    Thing(there.pools, "<pool type='dir'><name>kfs-machines</name><target><path>/srv/theirs</path></target></pool>")
    provider = LibvirtProvider(ClusterSpec(provider="libvirt"))
    with pytest.raises(LabError, match=r"a storage pool 'kfs-machines' in /srv/theirs, not in /var/lib/libvirt/images/kfs-machines: .* set LAB_NAME"):
        provider._ensure_shared(VmImage("tag", tmp_path / "disk"))
    assert record == Record()


def test_the_labs_own_pool_is_known_again(there: Libvirt, record: Record) -> None:
    deployed(there, record)
    Host("qemu:///system").check_pool("kfs-machines", "/var/lib/libvirt//images/kfs-machines/")


@pytest.mark.parametrize("uri", ["qemu:///session", "qemu+unix:///session?socket=/run/user/1000/libvirt/sock"])
def test_a_users_libvirt_needs_a_bridge(record: Record, uri: str) -> None:
    with pytest.raises(LabError, match="a user's own, which can make no networks: name a bridge in LAB_LIBVIRT_BRIDGE"):
        LibvirtProvider(ClusterSpec(provider="libvirt", libvirt_uri=uri)).prepare()
