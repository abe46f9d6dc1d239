"""libvirt, as the provider uses it: a few verbs that may be repeated, each doing what is missing.

The bindings block in C, which pyinfra's greenlets would all wait for: every call goes through gevent's thread pool.  They are imported when
first used, since pyinfra loads this package on every run and most labs have no libvirt.  Volumes are filled through libvirt's streams, so
that a host elsewhere works like this one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from os.path import normpath
from pathlib import Path
from typing import Any, TypeVar, cast
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from k8sfromscratch.lab.errors import CommandFailed, LabError, MissingTool
from k8sfromscratch.lab.spec import ROOT

NAMESPACE = "https://k8sfromscratch.dev/lab"
"""Of the element in a domain's and a network's metadata that says which lab made it."""

SENT_AT_ONCE_BYTES = 1 << 18

T = TypeVar("T")

_templates = Environment(loader=FileSystemLoader(ROOT / "templates" / "libvirt"), undefined=StrictUndefined, autoescape=True)


def render(template: str, **values: object) -> str:
    return _templates.get_template(f"{template}.xml.j2").render(namespace=NAMESPACE, **values)


@dataclass(frozen=True)
class Host:
    """The libvirt of one URI.  Its methods raise CommandFailed with libvirt's own words."""

    uri: str

    # -- what this host is

    @cached_property
    def _connection(self) -> Any:
        libvirt = _bindings()
        # libvirt prints every error on standard error by default, those that we expect too.
        libvirt.registerErrorHandler(lambda context, error: None, None)
        try:
            return _aside(lambda: libvirt.open(self.uri))
        except libvirt.libvirtError as error:
            raise MissingTool(
                f"libvirt does not answer at {self.uri}: {error}.  Is libvirtd running (`systemctl start libvirtd`), and may you use it (group libvirt)?"
                "  LAB_LIBVIRT_URI names another"
            ) from error

    def capabilities(self) -> str:
        return str(self._call("capabilities", self._connection.getCapabilities))

    # -- networks

    def ensure_network(self, name: str, lab: str, xml: str) -> None:
        """Defined and running.  Refuses one of that name which this lab did not make."""
        network = self._found("network", lambda: self._connection.networkLookupByName(name))
        if network is None:
            network = self._call(f"network {name}", lambda: self._connection.networkDefineXML(xml))
        elif not _made_by(self._call(f"network {name}", network.XMLDesc), lab):
            raise LabError(f"libvirt has a network {name!r} that this lab did not make: remove it, or set LAB_NAME")
        if not self._call(f"network {name}", network.isActive):
            try:
                self._call(f"network {name}", network.create)
            except CommandFailed as error:
                if "already in use by interface" not in str(error):
                    raise
                raise CommandFailed(
                    f"{error}: a bridge is left of a libvirtd that was ended in the middle, or another network has it; "
                    "`ip link delete` it if nothing is behind it, or set LAB_NAME"
                ) from error

    def remove_network(self, name: str, lab: str) -> None:
        """One that this lab did not make stays: it was refused, and is no part of the lab."""
        network = self._found("network", lambda: self._connection.networkLookupByName(name))
        if network is None or not _made_by(self._call(f"network {name}", network.XMLDesc), lab):
            return
        if self._call(f"network {name}", network.isActive):
            self._call(f"network {name}", network.destroy)
        self._call(f"network {name}", network.undefine)

    # -- volumes

    def check_pool(self, name: str, path: str) -> None:
        """Refuses one of that name in another place: a pool has no room for whose it is, and all that is in it goes with the lab."""
        pool = self._found("storage pool", lambda: self._connection.storagePoolLookupByName(name))
        there = None if pool is None else ElementTree.fromstring(self._call(f"storage pool {name}", lambda: pool.XMLDesc(0))).findtext("target/path", "")
        if there is not None and normpath(there) != normpath(path):
            raise LabError(
                f"libvirt has a storage pool {name!r} in {there}, not in {path}: `make lab-down` if it is this lab's, else remove it or set LAB_NAME"
            )

    def ensure_pool(self, name: str, xml: str) -> None:
        if self._found("storage pool", lambda: self._connection.storagePoolLookupByName(name)) is None:
            self._call(f"storage pool {name}", lambda: self._connection.storagePoolDefineXML(xml, 0))
        self.start_pool(name)

    def start_pool(self, name: str) -> None:
        """Of one that is not running nothing can be asked or removed: after a start of the host none runs."""
        pool = self._found("storage pool", lambda: self._connection.storagePoolLookupByName(name))
        if pool is not None and not self._call(f"storage pool {name}", pool.isActive):
            self._call(f"storage pool {name}", lambda: pool.build(0))
            self._call(f"storage pool {name}", lambda: pool.create(0))

    def free_bytes(self, pool: str) -> int:
        """As it is now: others write to the same file system."""

        def ask() -> int:
            found = self._pool(pool)
            found.refresh(0)
            return int(found.info()[3])

        return self._call(f"storage pool {pool}", ask)

    def volume_path(self, pool: str, name: str) -> str | None:
        found = self._found("volume", lambda: self._pool(pool).storageVolLookupByName(name))
        return None if found is None else str(self._call(f"volume {name}", found.path))

    def create_volume(self, pool: str, name: str, *, format: str, capacity_bytes: int, backing: str = "") -> str:
        """Its path on the host.  It must not exist yet."""
        xml = render("volume", volume=name, format=format, capacity_bytes=capacity_bytes, backing=backing)
        made = self._call(f"volume {name}", lambda: self._pool(pool).createXML(xml, 0))
        return str(self._call(f"volume {name}", made.path))

    def fill_volume(self, pool: str, name: str, content: Iterable[bytes]) -> None:
        def send() -> None:
            stream = self._connection.newStream(0)
            self._pool(pool).storageVolLookupByName(name).upload(stream, 0, 0, 0)
            try:
                for chunk in content:
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[stream.send(bytes(rest)) :]
                stream.finish()
            except BaseException:
                stream.abort()
                raise

        self._call(f"volume {name}", send)

    def rename_volume(self, pool: str, name: str, to: str) -> None:
        """libvirt cannot rename: the new one is a copy, made on the host."""
        xml = self._call(f"volume {name}", lambda: self._pool(pool).storageVolLookupByName(name).XMLDesc(0))
        copied = xml.replace(f"<name>{name}</name>", f"<name>{to}</name>")

        def copy() -> None:
            source = self._pool(pool).storageVolLookupByName(name)
            self._pool(pool).createXMLFrom(copied, source, 0)
            source.delete(0)

        self._call(f"volume {to}", copy)

    def volumes(self, pool: str) -> list[str]:
        found = self._found("storage pool", lambda: self._connection.storagePoolLookupByName(pool))
        if found is None or not self._call(f"storage pool {pool}", found.isActive):
            return []
        self._call(f"storage pool {pool}", lambda: found.refresh(0))
        return list(self._call(f"storage pool {pool}", found.listVolumes))

    def remove_volume(self, pool: str, name: str) -> None:
        volume = self._found("volume", lambda: self._pool(pool).storageVolLookupByName(name))
        if volume is not None:
            self._call(f"volume {name}", lambda: volume.delete(0))

    def remove_pool(self, name: str) -> None:
        """With its directory, which must be empty by now."""
        pool = self._found("storage pool", lambda: self._connection.storagePoolLookupByName(name))
        if pool is None:
            return
        if self._call(f"storage pool {name}", pool.isActive):
            self._call(f"storage pool {name}", pool.destroy)
            self._call(f"storage pool {name}", lambda: pool.delete(0))
        self._call(f"storage pool {name}", pool.undefine)

    # -- domains

    def ensure_domain(self, name: str, lab: str, xml: str) -> bool:
        """Defined and running; True if it had to be started.  Refuses one of that name which this lab did not make."""
        domain = self._found("domain", lambda: self._connection.lookupByName(name))
        if domain is not None and not _made_by(self._call(f"domain {name}", domain.XMLDesc), lab):
            raise LabError(f"libvirt has a domain {name!r} that this lab did not make: remove it, or set LAB_NAME")
        if domain is None:
            domain = self._call(f"domain {name}", lambda: self._connection.defineXML(xml))
        if self._call(f"domain {name}", domain.isActive):
            return False
        self._call(f"domain {name}", domain.create)
        return True

    def domain_runs(self, name: str) -> bool:
        domain = self._found("domain", lambda: self._connection.lookupByName(name))
        return domain is not None and bool(self._call(f"domain {name}", domain.isActive))

    def shut_down(self, name: str) -> None:
        """Asks it to; it may take its time, or not listen."""
        domain = self._found("domain", lambda: self._connection.lookupByName(name))
        if domain is not None and self._call(f"domain {name}", domain.isActive):
            self._call(f"domain {name}", domain.shutdown)

    def power_off(self, name: str) -> None:
        domain = self._found("domain", lambda: self._connection.lookupByName(name))
        if domain is not None and self._call(f"domain {name}", domain.isActive):
            self._call(f"domain {name}", domain.destroy)

    def remove_domain(self, name: str, lab: str) -> None:
        """One that this lab did not make stays, and goes on running."""
        domain = self._found("domain", lambda: self._connection.lookupByName(name))
        if domain is None or not _made_by(self._call(f"domain {name}", domain.XMLDesc), lab):
            return
        self.power_off(name)
        self._call(f"domain {name}", domain.undefine)

    # -- calls

    def _pool(self, name: str) -> Any:
        return self._connection.storagePoolLookupByName(name)

    def _call(self, what: str, work: Callable[[], T]) -> T:
        try:
            return _aside(work)
        except _bindings().libvirtError as error:
            raise CommandFailed(f"libvirt at {self.uri}: {what}: {error}") from error

    def _found(self, what: str, look_up: Callable[[], T]) -> T | None:
        """None where libvirt says that there is no such thing."""
        libvirt = _bindings()
        absent = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_NO_STORAGE_POOL, libvirt.VIR_ERR_NO_STORAGE_VOL}
        try:
            return _aside(look_up)
        except libvirt.libvirtError as error:
            if error.get_error_code() in absent:
                return None
            raise CommandFailed(f"libvirt at {self.uri}: {what}: {error}") from error


def read_in_chunks(file: Path) -> Iterable[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(SENT_AT_ONCE_BYTES):
            yield chunk


def _made_by(xml: str, lab: str) -> bool:
    return f'xmlns="{NAMESPACE}">{lab}<' in xml


def _aside(work: Callable[[], T]) -> T:
    """In a thread that greenlets can wait for.  An error comes back as a value: the pool would print it before it raises it."""
    from gevent import get_hub

    def told() -> tuple[T, None] | tuple[None, Exception]:
        try:
            return work(), None
        except Exception as error:
            return None, error

    result, error = get_hub().threadpool.apply(told)
    if error is not None:
        raise error
    return cast("T", result)


def _bindings() -> Any:
    try:
        import libvirt
    except ImportError as error:
        raise MissingTool(
            "the Python bindings of libvirt are missing: `make libvirt-python`, or pip install libvirt-python (needs libvirt-dev, pkg-config and a C compiler)"
        ) from error
    return libvirt
