"""A virtual machine as a process of the test: QEMU without KVM, reached by SSH through a port of loopback.

When it is up is read from its console: systemd says there what it has started.  The disk is a layer over the box's, thrown away with it.
"""

import re
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from k8sfromscratch.lab import box
from k8sfromscratch.lab.box import Box

BOOT_TIMEOUT_S = 180
PORTS = range(21600, 21700)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class VirtualMachine:
    def __init__(self, made: Box, port: int, known_hosts: Path) -> None:
        self.key, self.port, self.known_hosts = made.key, port, known_hosts

    def environment(self) -> dict[str, str]:
        """What `base_and_runtime/inventory.py` reads."""
        return {"VM_SSH_PORT": str(self.port), "VM_SSH_USER": box.USER, "VM_SSH_KEY": str(self.key), "VM_KNOWN_HOSTS": str(self.known_hosts)}

    def ssh(self, command: str, *, timeout_s: float = 180) -> str:
        """Standard output of a shell command, run as root; the test fails with what it wrote if it fails."""
        options = [f"-oUserKnownHostsFile={self.known_hosts}", "-oStrictHostKeyChecking=accept-new", "-oBatchMode=yes", "-oLogLevel=ERROR"]
        argv = ["ssh", *options, f"-p{self.port}", f"-i{self.key}", f"{box.USER}@127.0.0.1", f"sudo sh -c {shlex.quote(command)}"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False)
        if done.returncode != 0:
            pytest.fail(f"{command} ended with {done.returncode}:\n{done.stderr}{done.stdout}", pytrace=False)
        return done.stdout


@contextmanager
def running(made: Box, directory: Path) -> Iterator[VirtualMachine]:
    """A machine whose SSH answers, until the block ends."""
    disk = directory / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", made.disk, disk], check=True)
    port = _free_port()
    argv = [
        *("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "2048", "-nodefaults", "-no-reboot"),
        *("-display", "none", "-serial", "stdio", "-kernel", made.kernel, "-initrd", made.initrd),
        *("-append", f"{box.KERNEL_OPTIONS} systemd.show_status=1"),
        *("-drive", f"file={disk},if=virtio,cache=unsafe", "-device", "virtio-rng-pci"),
        *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net-pci,netdev=net"),
    ]
    up = threading.Event()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        console = directory / "console"
        reader = threading.Thread(target=_read_console, args=(process, console, up))
        reader.start()
        try:
            up.wait(BOOT_TIMEOUT_S)
            if process.poll() is not None or not up.is_set():
                pytest.fail(f"the virtual machine did not come up; its console ends:\n{console.read_text()[-3000:]}", pytrace=False)
            yield VirtualMachine(made, port, directory / "known_hosts")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            reader.join(30)


def _read_console(process: subprocess.Popen[bytes], console: Path, up: threading.Event) -> None:
    assert process.stdout is not None
    with console.open("w") as file:
        for line in process.stdout:
            text = ESCAPES.sub("", line.decode(errors="replace"))
            file.write(text)
            file.flush()
            if "Started ssh.service" in text:
                up.set()
    up.set()


def _free_port() -> int:
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port in {PORTS}")
