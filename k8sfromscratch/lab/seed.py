"""What makes a copy of the node image *this* machine: its name, address, host key, and who may log in.

An nspawn machine's files are written into its root before it boots.  A virtual machine gets the same files as a tar archive on a second
disk, without a file system: its image unpacks /dev/vdb over its root before the network comes up (`lab-seed.service`).
"""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from k8sfromscratch.lab import keys
from k8sfromscratch.lab.spec import ClusterSpec, Machine

SERVICE = """[Unit]
Description=Make this copy of the image the machine that its seed describes
DefaultDependencies=no
ConditionPathExists=/dev/vdb
After=systemd-remount-fs.service
Before=systemd-networkd.service lab-host-keys.service ssh.service sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=tar -xpf /dev/vdb -C / --no-same-owner
ExecStart=hostname -F /etc/hostname

[Install]
WantedBy=sysinit.target
"""

_SECTOR_BYTES = 512


def files(spec: ClusterSpec, machine: Machine, interface: Mapping[str, str], *, name_servers: str) -> dict[str, tuple[int, str]]:
    """Path without its leading slash → (mode, text).  `interface` is how systemd-networkd finds it: `{"Name": "host0"}`."""
    host_key = keys.host_key_file(machine.name)
    hosts = "".join(f"{other.address} {other.name}\n" for other in spec.machines)
    match = "".join(f"{key}={value}\n" for key, value in interface.items())
    return {
        "etc/hostname": (0o644, f"{machine.name}\n"),
        "etc/hosts": (0o644, f"127.0.0.1 localhost\n{hosts}"),
        "etc/resolv.conf": (0o644, name_servers),
        "etc/ssh/ssh_host_ed25519_key": (0o600, host_key.read_text()),
        "etc/ssh/ssh_host_ed25519_key.pub": (0o644, host_key.with_suffix(".pub").read_text()),
        "root/.ssh/authorized_keys": (0o600, keys.KEY_FILE.with_suffix(".pub").read_text()),
        "etc/systemd/network/10-lab.network": (
            0o644,
            f"[Match]\n{match}\n[Network]\nAddress={machine.address}/{spec.machine_cidr.prefixlen}\nGateway={spec.gateway}\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\n",
        ),
    }


def archive(contents: Mapping[str, tuple[int, str]]) -> bytes:
    """A tar archive of whole sectors.  The same files make the same bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (mode, text) in sorted(contents.items()):
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = mode, len(data)
            tar.addfile(entry, io.BytesIO(data))
    data = stream.getvalue()
    return data + bytes(-len(data) % _SECTOR_BYTES)


def host_name_servers() -> str:
    """This host's name servers as far as a machine can reach them: one that listens on loopback cannot be used from there."""
    file = Path("/etc/resolv.conf")
    lines = file.read_text().splitlines() if file.exists() else []
    return "".join(f"{line}\n" for line in lines if line.startswith("nameserver") and not line.split()[1].startswith(("127.", "::1")))
