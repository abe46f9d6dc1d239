"""Settings of the cluster's DNS server; its ports are CoreDNS's."""

from pydantic import Field

from k8sfromscratch.process.flags import Flags


class DnsFlags(Flags):
    kubeconfig: str = Field("", description="kubeconfig file; without one, the pod's service account is used")
    cluster_domain: str = Field("cluster.local", description="the zone that is answered from the cluster's services")
    bind_address: str = Field("0.0.0.0", description="where queries are taken, UDP and TCP")
    port: int = Field(53, ge=0, le=65535, description="port of queries")
    ttl: int = Field(30, ge=0, le=3600, description="seconds that our own records may be cached")
    resolv_conf: str = Field("/etc/resolv.conf", description="file whose nameservers get all other queries")
    upstream: list[str] = Field(default_factory=list, description="nameservers to use instead of those of --resolv-conf; `none` refuses all other queries")
    health_port: int = Field(8080, ge=0, le=65535, description="port of /health; 0 turns it off")
    ready_port: int = Field(8181, ge=0, le=65535, description="port of /ready; 0 turns it off")
    metrics_port: int = Field(9153, ge=0, le=65535, description="port of /metrics; 0 turns it off")
