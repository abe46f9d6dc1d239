"""What makes a copy of the node image *this* machine: its name, address, host key, and who may log in.

An nspawn machine's files are written into its root before it boots.  A virtual machine gets the same files as a tar archive on a second
disk, without a file system: its image unpacks /dev/vdb over its root before the network comes up (`lab-seed.service`).  A cloud image has
cloud-init, which looks for a disk with the label CIDATA ("NoCloud").
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
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


def cloud_init(spec: ClusterSpec, machine: Machine, mac_address: str, *, name_servers: str) -> dict[str, str]:
    """What cloud-init reads of its NoCloud disk: file → text.  JSON is YAML too, and needs no quoting of ours."""
    host_key = keys.host_key_file(machine.name)
    hosts = "".join(f"{other.address} {other.name}\n" for other in spec.machines)
    user_data = {
        "hostname": machine.name,
        "preserve_hostname": False,
        "disable_root": False,
        "ssh_pwauth": False,
        "users": [{"name": "root", "ssh_authorized_keys": [keys.KEY_FILE.with_suffix(".pub").read_text().strip()]}],
        "ssh_keys": {"ed25519_private": host_key.read_text(), "ed25519_public": host_key.with_suffix(".pub").read_text().strip()},
        "write_files": [{"path": "/etc/hosts", "content": f"127.0.0.1 localhost\n{hosts}"}],
        # As the image has them: nothing here needs a locale made or packages looked for.
        "locale": False,
        "package_update": False,
    }
    interface = {
        "match": {"macaddress": mac_address},
        "dhcp4": False,
        "dhcp6": False,
        "addresses": [f"{machine.address}/{spec.machine_cidr.prefixlen}"],
        "routes": [{"to": "0.0.0.0/0", "via": str(spec.gateway)}],
        "nameservers": {"addresses": [line.split()[1] for line in name_servers.splitlines()]},
    }
    said = f"#cloud-config\n{json.dumps(user_data, indent=1)}\n"
    # cloud-init does its work once for an instance: another one, if it is to do something else.
    instance = f"{spec.name}-{machine.name}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    return {
        "meta-data": json.dumps({"instance-id": instance, "local-hostname": machine.name}) + "\n",
        "user-data": said,
        "network-config": json.dumps({"version": 2, "ethernets": {"lab": interface}}, indent=1) + "\n",
    }


def iso(contents: Mapping[str, str]) -> bytes:
    """A disk with the label CIDATA and these files, as cloud-init looks for it."""
    import pycdlib  # here: the inventory is read often, and hardly ever names a cloud image

    disk, stream = pycdlib.PyCdlib(), io.BytesIO()
    disk.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="CIDATA")
    for place, (name, text) in enumerate(sorted(contents.items())):
        data = text.encode()
        disk.add_fp(io.BytesIO(data), len(data), f"/FILE{place}.;1", rr_name=name, joliet_path=f"/{name}")
    disk.write_fp(stream)
    disk.close()
    return stream.getvalue()


RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""Where systemd-resolved runs, the first has its own address on loopback, and the second those that it asks."""


def host_name_servers(files: Sequence[Path] = RESOLV_CONFS) -> str:
    """This host's name servers as far as a machine can reach them: one that listens on loopback cannot be used from there."""
    for file in files:
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        servers = [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
        if reached := [server for server in servers if not server.startswith(("127.", "::1"))]:
            return "".join(f"nameserver {server}\n" for server in reached)
    return ""
