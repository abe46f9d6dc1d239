"""What a pod knows of names: its host name, /etc/hosts, and resolv.conf by its dnsPolicy."""

from collections.abc import Sequence
from dataclasses import dataclass

from . import spec
from .runtime_config import Dns
from .spec import Object

HOSTNAME_LENGTH_MAX = 63
SEARCHES_MAX, SEARCH_CHARACTERS_MAX, SERVERS_MAX = 32, 2048, 3
"""What resolv.conf may hold, as the API validates it; glibc reads three servers."""

DEFAULT_OPTIONS = ("ndots:5",)


@dataclass(frozen=True, slots=True)
class ClusterDns:
    """`servers` are those of the cluster (empty: there is none), `host` is the machine's own resolv.conf."""

    servers: tuple[str, ...]
    domain: str
    host: Dns


def host_name(pod: Object, node_name: str) -> str:
    if spec.on_host_network(pod):
        return node_name
    name = str(pod["spec"].get("hostname") or pod["metadata"]["name"])
    return name[:HOSTNAME_LENGTH_MAX].rstrip("-.")


def fully_qualified_name(pod: Object, domain: str) -> str:
    """What a pod with a subdomain (of a headless Service) is called in the cluster; empty without one."""
    subdomain = pod["spec"].get("subdomain")
    return f"{host_name(pod, '')}.{subdomain}.{pod['metadata']['namespace']}.svc.{domain}" if subdomain else ""


def hosts_file(pod: Object, pod_ips: Sequence[str], domain: str, host_content: str) -> str:
    """/etc/hosts.  On the host's network that is the host's own (`host_content`) with the pod's aliases."""
    if spec.on_host_network(pod):
        lines = ["# Kubernetes-managed hosts file (host network).", host_content.rstrip("\n")]
    else:
        lines = ["# Kubernetes-managed hosts file.", "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
        lines += ["fe00::0\tip6-localnet", "fe00::0\tip6-mcastprefix", "fe00::1\tip6-allnodes", "fe00::2\tip6-allrouters"]
        names = [n for n in (fully_qualified_name(pod, domain), host_name(pod, "")) if n]
        lines += ["\t".join([ip, *names]) for ip in pod_ips]
    aliases = pod["spec"].get("hostAliases") or []
    if aliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += ["\t".join([alias["ip"], *(alias.get("hostnames") or [])]) for alias in aliases]
    return "\n".join(lines) + "\n"


def parse_resolv_conf(text: str) -> Dns:
    """nameserver, search (the last one counts) and options lines; the rest is not for us."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0].startswith(("#", ";")):
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] == "search":
            searches = [word.rstrip(".") or "." for word in words[1:]]
        elif words[0] == "options":
            options = words[1:]
    return Dns(tuple(servers), tuple(searches), tuple(options))


def pod_dns(pod: Object, cluster: ClusterDns) -> Dns:
    """ClusterFirst without a cluster server, or on the host's network, falls back to Default; dnsConfig adds to what the policy gives."""
    policy = pod["spec"].get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and spec.on_host_network(pod):
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet") and not cluster.servers:
        policy = "Default"
    if policy == "None":
        base = Dns()
    elif policy == "Default":
        base = cluster.host
    else:
        namespace = pod["metadata"]["namespace"]
        searches = (f"{namespace}.svc.{cluster.domain}", f"svc.{cluster.domain}", cluster.domain, *cluster.host.searches)
        base = Dns(cluster.servers, searches, DEFAULT_OPTIONS)
    extra = pod["spec"].get("dnsConfig") or {}
    servers = _unique((*base.servers, *(extra.get("nameservers") or ())))[:SERVERS_MAX]
    searches = _fitting(_unique((*base.searches, *(extra.get("searches") or ()))))
    return Dns(servers, searches, _options(base.options, extra.get("options") or []))


def _options(base: Sequence[str], extra: list[Object]) -> tuple[str, ...]:
    merged = {option.partition(":")[0]: option for option in base}
    for option in extra:
        value = option.get("value")
        merged[option["name"]] = f"{option['name']}:{value}" if value else option["name"]
    return tuple(merged.values())


def _unique(items: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def _fitting(searches: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for search in searches[:SEARCHES_MAX]:
        if len(" ".join([*kept, search])) > SEARCH_CHARACTERS_MAX:
            break
        kept.append(search)
    return tuple(kept)
