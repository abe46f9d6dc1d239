"""kube-proxy's flags, as far as they mean something here.  The mode is always nftables."""

import ipaddress

from pydantic import Field, field_validator

from k8sfromscratch.process.flags import Duration, Flags


class ProxyFlags(Flags):
    kubeconfig: str = Field(description="kubeconfig file with the apiserver's address and our credentials")
    hostname_override: str = Field(description="name of this machine's Node")
    proxy_mode: str = Field("nftables", description="only nftables is supported")
    cluster_cidr: str = Field("10.244.0.0/16", description="range of pods' addresses; traffic to a cluster IP from elsewhere is masqueraded")
    masquerade_all: bool = Field(False, description="masquerade all traffic to cluster IPs")
    iptables_masquerade_bit: int = Field(14, ge=0, le=31, description="bit of the packet mark that means: masquerade")
    nodeport_addresses: list[str] = Field(default_factory=list, description="addresses on which node ports answer; default: the node's InternalIP")
    nftables_sync_period: Duration = Field(30.0, gt=0, description="time between checks that the table is still in place")
    nftables_min_sync_period: Duration = Field(0.1, ge=0, description="time to collect changes before a transaction")
    healthz_bind_address: str = Field("0.0.0.0:10256", description="where /healthz and /livez listen; empty turns it off")
    metrics_bind_address: str = Field("127.0.0.1:10249", description="where /metrics listens; empty turns it off")

    @field_validator("cluster_cidr")
    @classmethod
    def _network(cls, value: str) -> str:
        return str(ipaddress.IPv4Network(value))

    @field_validator("proxy_mode")
    @classmethod
    def _mode(cls, value: str) -> str:
        if value != "nftables":
            raise ValueError(f"the mode {value!r} is not supported; this kube-proxy writes nftables rules only")
        return value
