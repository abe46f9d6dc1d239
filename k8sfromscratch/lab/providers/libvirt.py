"""Machines as libvirt's virtual machines: a kernel of their own, cgroup v2, and everything that a shared kernel hides.

    the box, or the image that LAB_IMAGE names (`lab.vm_image`)
               ──upload──► pool NAME: disk-HASH, vmlinuz-HASH, initrd-HASH           once for all machines
                                      MACHINE.qcow2 (a layer over the disk), MACHINE.seed (see `lab.seed`)
    network NAME-machines on bridge NAME-br0: this host is .1 and masquerades, as for nspawn machines

Where the processor's help is there in name only a KVM guest hangs at its first instruction, so KVM is believed when a guest has printed
something.  Everything is named after the lab, and things of our names that we did not make are refused, never taken over.
"""

import hashlib
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from k8sfromscratch.lab import box, keys, network, seed, settled, vm_image
from k8sfromscratch.lab.errors import MissingTool, NotReady, SpecError
from k8sfromscratch.lab.libvirt_host import Host, read_in_chunks, render
from k8sfromscratch.lab.providers.base import Provider, answers_ssh
from k8sfromscratch.lab.record import CACHE_DIR, LibvirtRecord, MachineRecord, Record
from k8sfromscratch.lab.shell import attempt, has
from k8sfromscratch.lab.spec import ClusterSpec, Machine
from k8sfromscratch.lab.vm_image import VmImage

BOOT_TIMEOUT_S = 300
CLOUD_IMAGE_BOOT_TIMEOUT_S = 900
"""cloud-init is a dozen starts of Python, of which one without KVM takes half a minute."""
CLOUD_INIT_DONE = (0, 2)
"""Its exit status; 2 of release 23.4 and later where it went on after an error."""
SSH_FAILED = 255
STOP_TIMEOUT_S = 60
POLL_S = 0.2
KVM_TRIAL_S = 20
"""A kernel alone prints and ends at once where KVM works; a cloud image goes on booting, after its boot loader has waited for a key."""
ANSWER_TIMEOUT_S = 120
DISK_BYTES = box.DISK_GB << 30
MACHINE_BYTES = 1536 << 20
"""What a deployed machine's disk has of its own, and some more."""


class LibvirtProvider(Provider):
    def __init__(self, spec: ClusterSpec) -> None:
        super().__init__(spec)
        self._preparing = threading.Lock()
        self._prepared: tuple[VmImage, str] | None = None
        self._host = Host(spec.libvirt_uri)

    def prepare(self) -> None:
        self._prepare()

    def _prepare(self) -> tuple[VmImage, str]:
        """What machines start from, and the type of domains."""
        with self._preparing:
            if self._prepared is None:
                settled.check(self.spec)
                session = urlsplit(self.spec.libvirt_uri).path == "/session"
                if session and not self.spec.libvirt_bridge:
                    raise SpecError(f"libvirt_uri {self.spec.libvirt_uri} is a user's own, which can make no networks: name a bridge in LAB_LIBVIRT_BRIDGE")
                self._host.capabilities()
                network.check_ranges(self.spec)
                made = vm_image.ensure(self.spec.image, self.spec.debian)
                keys.ensure(self.spec)
                driver = self._driver(made)
                self._ensure_shared(made)
                self._prepared = (made, driver)
            return self._prepared

    def ensure(self, machine: Machine) -> bool:
        made, driver = self._prepare()
        with Record.locked() as record:
            record.machines.setdefault(machine.name, MachineRecord(root=self._domain(machine.name)))
        xml = render(
            "domain",
            domain=self._domain(machine.name),
            lab=self.spec.name,
            driver=driver,
            memory_mb=self.spec.memory_mb,
            cpus=self.spec.cpus,
            kernel=self._path(f"vmlinuz-{made.tag}") if made.kernel else "",
            initrd=self._path(f"initrd-{made.tag}") if made.kernel else "",
            kernel_options=box.KERNEL_OPTIONS,
            disk=self._ensure_disk(machine, made),
            seed=self._ensure_seed(machine),
            network=self._network,
            bridge=self.spec.libvirt_bridge,
            mac_address=self.mac_address(machine),
        )
        started = self._host.ensure_domain(self._domain(machine.name), self.spec.name, xml)
        self._wait_ready(machine)
        if not started:
            self._check_key(machine)
        return started

    def stop(self, machine: Machine, *, power_off: bool = False) -> None:
        name = self._domain(machine.name)
        if not power_off:
            self._host.shut_down(name)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while self._host.domain_runs(name) and time.monotonic() < deadline:
                time.sleep(POLL_S)
        self._host.power_off(name)

    def remove(self, name: str) -> None:
        self._host.remove_domain(self._domain(name), self.spec.name)
        self._host.start_pool(self._pool)
        for volume in (f"{name}.qcow2", f"{name}.seed"):
            self._host.remove_volume(self._pool, volume)
        with Record.locked() as record:
            record.machines.pop(name, None)

    def names(self) -> dict[str, bool]:
        return {name: self._host.domain_runs(self._domain(name)) for name in Record.load().machines}

    def tear_down(self) -> None:
        with Record.locked() as record:
            made = record.libvirt
        if made is not None:
            self._host = Host(made.uri)
            self._host.start_pool(made.pool)
        for name in Record.load().machines:
            self.remove(name)
        if made is None:
            return
        for volume in self._host.volumes(made.pool):
            self._host.remove_volume(made.pool, volume)
        self._host.remove_pool(made.pool)
        if made.network:
            self._host.remove_network(made.network, self.spec.name)
        with Record.locked() as record:
            record.libvirt = None

    def mac_address(self, machine: Machine) -> str:
        """The same for every machine of that name in a lab of that name; QEMU's prefix."""
        digest = hashlib.sha256(f"{self.spec.name}/{machine.name}".encode()).digest()
        return f"52:54:00:{digest[0]:02x}:{digest[1]:02x}:{digest[2]:02x}"

    # -- what machines share

    @property
    def _pool(self) -> str:
        return f"{self.spec.name}-machines"

    @property
    def _network(self) -> str:
        return f"{self.spec.name}-machines"

    def _ensure_shared(self, made: VmImage) -> None:
        place = f"{self.spec.libvirt_images}/{self._pool}"
        self._host.check_pool(self._pool, place)
        with Record.locked() as record:
            settled.settle(self.spec, record)
            record.libvirt = LibvirtRecord(uri=self.spec.libvirt_uri, network="" if self.spec.libvirt_bridge else self._network, pool=self._pool)
        if not self.spec.libvirt_bridge:
            xml = render(
                "network",
                network=self._network,
                lab=self.spec.name,
                bridge=network.bridge_name(self.spec),
                gateway=self.spec.gateway,
                prefix_length=self.spec.machine_cidr.prefixlen,
            )
            self._host.ensure_network(self._network, self.spec.name, xml)
        self._host.ensure_pool(self._pool, render("pool", pool=self._pool, path=place))
        files = [(kind, file) for kind, file in (("disk", made.disk), ("vmlinuz", made.kernel), ("initrd", made.initrd)) if file is not None]
        self._check_space(files, made.tag)
        for kind, file in files:
            name = f"{kind}-{made.tag}"
            if self._host.volume_path(self._pool, name) is None:
                # Under another name until it is whole: an interrupted upload is begun anew.
                self._host.remove_volume(self._pool, f"{name}.part")
                self._host.create_volume(self._pool, f"{name}.part", format="raw", capacity_bytes=file.stat().st_size)
                self._host.fill_volume(self._pool, f"{name}.part", read_in_chunks(file))
                self._host.rename_volume(self._pool, f"{name}.part", name)

    def _check_space(self, files: Sequence[tuple[str, Path]], tag: str) -> None:
        """Before anything is written: a machine whose disk cannot grow is halted by QEMU in the middle of whatever it does, and says nothing."""
        image_bytes = sum(file.stat().st_size for kind, file in files if self._host.volume_path(self._pool, f"{kind}-{tag}") is None)
        fresh = [machine for machine in self.spec.machines if self._host.volume_path(self._pool, f"{machine.name}.qcow2") is None]
        needed_bytes, free_bytes = image_bytes + len(fresh) * MACHINE_BYTES, self._host.free_bytes(self._pool)
        if free_bytes < needed_bytes:
            raise NotReady(
                f"libvirt at {self.spec.libvirt_uri}: the storage pool {self._pool} in {self.spec.libvirt_images} has {free_bytes >> 20} MB free, and "
                f"{needed_bytes >> 20} MB are needed for the image and {len(fresh)} new machines: make room, or name another place in LAB_LIBVIRT_IMAGES"
            )

    def _driver(self, made: VmImage) -> str:
        if self.spec.driver != "auto":
            return self.spec.driver
        if not self.spec.libvirt_uri.startswith(("qemu:///",)):
            return "kvm" if "<domain type='kvm'" in self._host.capabilities() else "qemu"
        return "kvm" if kvm_works(made) else "qemu"

    # -- one machine

    def _domain(self, name: str) -> str:
        return f"{self.spec.name}-{name}"

    def _path(self, volume: str) -> str:
        path = self._host.volume_path(self._pool, volume)
        if path is None:
            raise NotReady(f"the volume {volume} of the storage pool {self._pool} has vanished: run it again")
        return path

    def _ensure_disk(self, machine: Machine, made: VmImage) -> str:
        """A layer over the image's disk.  A machine whose disk is of an older image keeps it: what is on it is the cluster's."""
        volume = f"{machine.name}.qcow2"
        path = self._host.volume_path(self._pool, volume)
        if path is not None:
            return path
        return self._host.create_volume(self._pool, volume, format="qcow2", capacity_bytes=DISK_BYTES, backing=self._path(f"disk-{made.tag}"))

    def _ensure_seed(self, machine: Machine) -> str:
        """Written anew whenever the machine is off: what is in it may have changed, the other machines' names for one."""
        volume = f"{machine.name}.seed"
        path = self._host.volume_path(self._pool, volume)
        if path is not None and self._host.domain_runs(self._domain(machine.name)):
            return path
        mac_address, name_servers = self.mac_address(machine), seed.host_name_servers()
        if self.spec.image:
            content = seed.iso(seed.cloud_init(self.spec, machine, mac_address, name_servers=name_servers))
        else:
            content = seed.archive(seed.files(self.spec, machine, {"MACAddress": mac_address}, name_servers=name_servers))
        self._host.remove_volume(self._pool, volume)
        path = self._host.create_volume(self._pool, volume, format="raw", capacity_bytes=len(content))
        self._host.fill_volume(self._pool, volume, [content])
        return path

    def _wait_ready(self, machine: Machine) -> None:
        timeout_s = CLOUD_IMAGE_BOOT_TIMEOUT_S if self.spec.image else BOOT_TIMEOUT_S
        deadline = time.monotonic() + timeout_s
        while not answers_ssh(str(machine.address)):
            if not self._host.domain_runs(self._domain(machine.name)):
                raise NotReady(f"machine {machine.name} ended while it booted; see its console: virsh console {self._domain(machine.name)}")
            if time.monotonic() > deadline:
                raise NotReady(f"machine {machine.name} did not answer SSH at {machine.address} within {timeout_s} s")
            time.sleep(POLL_S)
        if self.spec.image:
            self._wait_cloud_init(machine, deadline)

    def _wait_cloud_init(self, machine: Machine, deadline: float) -> None:
        """sshd answers long before cloud-init is at its end, which may start sshd anew and hold apt's lock."""
        while True:
            done = attempt(self.access(machine).argv("cloud-init status --wait --long"), timeout_s=max(deadline - time.monotonic(), ANSWER_TIMEOUT_S))
            if done.returncode in CLOUD_INIT_DONE:
                return
            if done.returncode != SSH_FAILED:
                said = (done.stdout + done.stderr).strip(" .\n")[-300:]
                raise NotReady(f"machine {machine.name} is up, but its cloud-init failed; see /var/log/cloud-init.log there: {said}")
            if "connect" not in done.stderr.lower():
                return  # it refuses this lab's keys, which is told by who asks it next
            if time.monotonic() > deadline:
                raise NotReady(f"machine {machine.name} did not answer SSH at {machine.address} for the whole of its cloud-init: {done.stderr.strip()[-300:]}")
            time.sleep(POLL_S)

    def _check_key(self, machine: Machine) -> None:
        """A machine that ran already has the keys it was started with, which are not ours where .lab is another by now."""
        done = attempt(self.access(machine).argv("true"), timeout_s=ANSWER_TIMEOUT_S)
        if done.returncode != 0:
            raise NotReady(
                f"machine {machine.name} runs at {machine.address} but not with this lab's keys ({keys.KEY_FILE.parent}): {done.stderr.strip()[-300:]}: "
                f"virsh destroy {self._domain(machine.name)}, and run it again: it starts with these keys; or `make lab-down`"
            )


def kvm_works(made: VmImage) -> bool:
    """Whether a guest gets as far as its kernel's first line.  Asked once a boot of this host."""
    if not has("qemu-system-x86_64"):
        raise MissingTool("qemu-system-x86_64 is not installed: install qemu-system-x86, or set LAB_DRIVER=kvm or qemu")
    with open("/proc/sys/kernel/random/boot_id") as boot:
        remembered = CACHE_DIR / "kvm" / boot.read().strip()
    if remembered.exists():
        return remembered.read_text() == "yes"
    works = _prints_with_kvm(made)
    with suppress(PermissionError):  # another user's cache: it is tried again the next time
        remembered.parent.mkdir(parents=True, exist_ok=True)
        for other in remembered.parent.iterdir():
            other.unlink()
        remembered.write_text("yes" if works else "no")
    return works


def _prints_with_kvm(made: VmImage) -> bool:
    options = ["-machine", "q35,accel=kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]
    if made.kernel:
        boot = ["-kernel", str(made.kernel), "-append", "console=ttyS0 earlyprintk=serial panic=-1"]
    else:
        boot = ["-drive", f"file={made.disk},format=qcow2,if=virtio,snapshot=on"]
    command = ["qemu-system-x86_64", *options, *boot]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=KVM_TRIAL_S, check=False)
        printed = done.stdout
    except subprocess.TimeoutExpired as error:
        printed = error.stdout or b""
    return b"Linux version" in printed
