"""The lab's bridge on this host and the firewall rules that let machines and pods through.

    host ── <name>-br0 (10.89.0.1) ──┬── master-1 (host0 10.89.0.11)
                                     ├── worker-1 (host0 10.89.0.101)
                                     └── …

Two traps shape this module.  An `accept` in an nftables base chain of ours is not final: where docker has run, iptables' FORWARD chain has
the policy DROP, so our accept must be in *that* chain too.  And with bridge-nf-call-iptables the host's rules also see packets that only
cross the bridge, pods' packets included.  All rules live in a table and a chain named after the lab; taking them away touches nothing else.
"""

import json
from ipaddress import IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

from k8sfromscratch.lab.errors import LabError, SpecError
from k8sfromscratch.lab.record import NetworkRecord, Record
from k8sfromscratch.lab.shell import attempt, has, run
from k8sfromscratch.lab.spec import ClusterSpec

INOTIFY_MINIMA = {
    # Each machine's systemd, containerd and kubelet need some; the kernel's 128 per user are for the whole host.
    "fs/inotify/max_user_instances": 4096,
    "fs/inotify/max_user_watches": 524288,
}


def check_ranges(spec: ClusterSpec) -> None:
    """Refuses ranges that this host already routes elsewhere: packets would leave by the wrong interface."""
    bridge = bridge_name(spec)
    libvirt = spec.provider == "libvirt"
    remote = libvirt and urlsplit(spec.libvirt_uri).hostname is not None
    for route in json.loads(run(["ip", "-json", "-4", "route", "show", "table", "main"]) or "[]"):
        if route["dst"] == "default" or route.get("dev") == bridge:
            continue
        taken = IPv4Network(route["dst"])
        # On a bridge that was there, and on another host, the way to the machines is not ours: it is this route.
        reaches_machines = remote or (libvirt and route.get("dev") == spec.libvirt_bridge)
        for field in ("pod_cidr", "service_cidr") if reaches_machines else ("machine_cidr", "pod_cidr", "service_cidr"):
            wanted: IPv4Network = getattr(spec, field)
            if taken.overlaps(wanted):
                raise SpecError(f"cluster spec: {field}: {wanted} overlaps {taken}, which this host routes to {route.get('dev')}; set LAB_{field.upper()}")


def check_bridge(spec: ClusterSpec) -> None:
    """Refuses a bridge of our name that machines are on which we have not made: ours would disturb them, and it would go with our lab."""
    bridge = bridge_name(spec)
    plugged = _plugged_into(bridge) if Record.load().network is None else []
    if plugged:
        raise LabError(
            f"the bridge {bridge} is there, with {', '.join(plugged)} on it, and this lab has not made it: take that lab down where it was made "
            "(libvirt's with `virsh`), or set LAB_NAME and LAB_MACHINE_CIDR"
        )


def _plugged_into(bridge: str) -> list[str]:
    shown = attempt(["ip", "-json", "link", "show", "master", bridge])
    return [link["ifname"] for link in json.loads(shown.stdout or "[]")] if shown.returncode == 0 else []


def bridge_name(spec: ClusterSpec) -> str:
    return f"{spec.name}-br0"


def ensure(spec: ClusterSpec) -> None:
    """Bridge, forwarding, rules: made where missing, left alone where right."""
    chain = f"{spec.name.upper()}-LAB-FORWARD"
    with Record.locked() as record:
        if record.network is None:
            record.network = NetworkRecord(bridge=bridge_name(spec), nft_table=f"{spec.name}-lab")
        network = record.network
        if network.sysctls.get("net/ipv4/ip_forward") is None and _sysctl("net/ipv4/ip_forward") != "1":
            network.sysctls["net/ipv4/ip_forward"] = _sysctl("net/ipv4/ip_forward")
        if _forward_chain_filters():
            network.iptables_chain = chain
    _ensure_bridge(spec)
    _set_sysctl("net/ipv4/ip_forward", "1")
    for key, minimum in INOTIFY_MINIMA.items():
        # Raised, never put back: other programs may have come to count on it.
        if int(_sysctl(key)) < minimum:
            _set_sysctl(key, str(minimum))
    run(["nft", "-f", "-"], stdin=_nft_rules(spec, network.nft_table))
    if network.iptables_chain:
        _ensure_iptables(spec, network.iptables_chain)


def remove() -> None:
    """Takes away what the record says was made."""
    with Record.locked() as record:
        network = record.network
    if network is None:
        return
    attempt(["nft", "delete", "table", "inet", network.nft_table])
    if network.iptables_chain:
        while attempt(["iptables", "-w", "-D", "FORWARD", "-j", network.iptables_chain]).returncode == 0:
            continue
        attempt(["iptables", "-w", "-F", network.iptables_chain])
        attempt(["iptables", "-w", "-X", network.iptables_chain])
    # The kernel takes its time to end a machine's network namespace, and its end of the cable with it.
    for link in _plugged_into(network.bridge):
        attempt(["ip", "link", "delete", link])
    attempt(["ip", "link", "delete", network.bridge])
    for key, value in network.sysctls.items():
        _set_sysctl(key, value)
    with Record.locked() as record:
        record.network = None


def _ensure_bridge(spec: ClusterSpec) -> None:
    bridge = bridge_name(spec)
    if attempt(["ip", "link", "show", bridge]).returncode != 0:
        run(["ip", "link", "add", bridge, "type", "bridge"])
    run(["ip", "address", "replace", f"{spec.gateway}/{spec.machine_cidr.prefixlen}", "dev", bridge])
    run(["ip", "link", "set", bridge, "up"])


def _nft_rules(spec: ClusterSpec, table: str) -> str:
    """One transaction: empties our table and fills it, so a change of ranges needs no migration."""
    bridge = bridge_name(spec)
    lab = f"{{ {spec.machine_cidr}, {spec.pod_cidr} }}"
    return f"""
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {lab} ip daddr != {lab} oifname != "{bridge}" masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{bridge}" accept
        oifname "{bridge}" accept
    }}
}}
"""


def _forward_chain_filters() -> bool:
    """Whether iptables' FORWARD chain may drop anything.  Where it has no rules at all we add none: that would create its table."""
    if not has("iptables"):
        return False
    shown = attempt(["iptables", "-w", "-S", "FORWARD"])
    return shown.returncode == 0 and shown.stdout.strip() not in ("", "-P FORWARD ACCEPT")


def _ensure_iptables(spec: ClusterSpec, chain: str) -> None:
    bridge = bridge_name(spec)
    attempt(["iptables", "-w", "-N", chain])
    for direction in ("-i", "-o"):
        rule = [chain, direction, bridge, "-j", "ACCEPT"]
        if attempt(["iptables", "-w", "-C", *rule]).returncode != 0:
            run(["iptables", "-w", "-A", *rule])
    # First in FORWARD, and moved there again if another program has since put its own rules before it.
    rules = run(["iptables", "-w", "-S", "FORWARD"]).splitlines()
    jump = f"-A FORWARD -j {chain}"
    if [rule for rule in rules if rule.startswith("-A")][:1] != [jump]:
        attempt(["iptables", "-w", "-D", "FORWARD", "-j", chain])
        run(["iptables", "-w", "-I", "FORWARD", "1", "-j", chain])


def _sysctl(key: str) -> str:
    return Path("/proc/sys", key).read_text().strip()


def _set_sysctl(key: str, value: str) -> None:
    Path("/proc/sys", key).write_text(value)
