"""libvirt's daemon, started for tests where none runs, and ended with them."""

import grp
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from k8sfromscratch.lab import vm_image
from k8sfromscratch.lab.box import DEBIAN
from k8sfromscratch.lab.providers.libvirt import kvm_works

START_TIMEOUT_S = 60
URI = "qemu:///system"
KVM = Path("/dev/kvm")
KVM_GROUP = "kvm"


def virsh(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["virsh", "--connect", URI, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"virsh {' '.join(words)} ended with {done.returncode}: {done.stderr}")
    return done


def driver() -> str:
    """Of domains that do come up here: `kvm`, or `qemu` where a KVM guest gets nowhere."""
    return "kvm" if kvm_works(vm_image.ensure("", DEBIAN)) else "qemu"


def things() -> dict[str, set[str]]:
    """Everything that libvirt knows, by kind: what a test must leave as it found it."""
    pools = set(virsh("pool-list", "--all", "--name").stdout.split())
    active = virsh("pool-list", "--name").stdout.split()
    return {
        "domains": set(virsh("list", "--all", "--name").stdout.split()),
        "networks": set(virsh("net-list", "--all", "--name").stdout.split()),
        "pools": pools,
        "volumes": {f"{pool}/{line.split()[0]}" for pool in active for line in virsh("vol-list", pool).stdout.splitlines()[2:] if line.strip()},
    }


@contextmanager
def running(directory: Path) -> Iterator[None]:
    """`virtlogd` and `libvirtd`, unless libvirt answers already."""
    if virsh("version", check=False).returncode == 0:
        yield
        return
    with ExitStack() as stack:
        stack.callback(remove_chains)
        stack.enter_context(_kvm_for_its_group())
        for daemon in ("virtlogd", "libvirtd"):
            stack.enter_context(_daemon(daemon, directory))
        answered = threading.Event()
        for _ in range(START_TIMEOUT_S * 2):
            if virsh("version", check=False).returncode == 0:
                break
            answered.wait(0.5)
        else:
            raise AssertionError(f"libvirtd does not answer:\n{(directory / 'libvirtd.log').read_text()[-2000:]}")
        yield


@contextmanager
def _kvm_for_its_group(device: Path = KVM) -> Iterator[None]:
    """Where no udev runs, KVM's device is for root alone.  libvirt's QEMU, a user of its own, is in the device's group; libvirt, which starts as root,
    finds KVM there, then finds it gone, and so examines QEMU anew at each step: minutes for each machine."""
    try:
        before, group = device.stat(), grp.getgrnam(KVM_GROUP).gr_gid
    except (FileNotFoundError, KeyError):
        yield
        return
    if before.st_gid == group or before.st_mode & stat.S_IROTH:
        yield
        return
    os.chown(device, -1, group)
    device.chmod(stat.S_IMODE(before.st_mode) | stat.S_IRGRP | stat.S_IWGRP)
    try:
        yield
    finally:
        os.chown(device, -1, before.st_gid)
        device.chmod(stat.S_IMODE(before.st_mode))


def remove_chains() -> None:
    """libvirtd's chains in iptables, which it leaves when it ends: first the jumps to them, then what is in them, then they."""
    for program in ("iptables", "ip6tables"):
        for table in ("filter", "nat", "mangle"):
            listed = subprocess.run([program, "-t", table, "-S"], capture_output=True, text=True, check=True).stdout.splitlines()
            chains = [line.split()[1] for line in listed if line.startswith("-N LIBVIRT_")]
            jumps = [line.split()[1:] for line in listed if line.startswith("-A ") and line.split()[-1] in chains]
            steps = [["-D", *jump] for jump in jumps] + [["-F", chain] for chain in chains] + [["-X", chain] for chain in chains]
            for step in steps:
                subprocess.run([program, "-t", table, *step], check=True)


@contextmanager
def _daemon(name: str, directory: Path) -> Iterator[None]:
    """It ends with us however we end: left behind by a killed run, it would be taken for the host's own by the next one, and stay for ever."""
    command = ["setpriv", "--pdeathsig", "TERM", name]
    with (directory / f"{name}.log").open("w") as log, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)
