"""kube-apiserver's flags, as far as they mean something here.  Imports nothing that runs."""

from pydantic import Field, model_validator

from k8sfromscratch.process.flags import Duration, Flags


class ApiServerFlags(Flags):
    """kube-apiserver serves the Kubernetes API."""

    etcd_servers: list[str] = Field(default=[], description="etcd's client URLs")
    etcd_cafile: str = Field("", description="CA of etcd's certificates")
    etcd_certfile: str = Field("", description="our client certificate for etcd")
    etcd_keyfile: str = Field("", description="key of --etcd-certfile")
    etcd_compaction_interval: Duration = Field(300.0, ge=0, description="time between compactions of etcd's history; 0 leaves them to others")
    event_ttl: Duration = Field(3600.0, gt=0, description="how long Events are kept")
    watch_cache: bool = Field(True, description="accepted for upstream's sake: reads are always answered from the watch cache")

    bind_address: str = Field("0.0.0.0", description="address to listen on")
    secure_port: int = Field(6443, ge=0, le=65535, description="port to listen on; 0 lets the system choose")
    advertise_address: str = Field("", description="where other machines reach us; by default --bind-address, or the address of the default route")
    external_hostname: str = Field("", description="the host name in discovery's documents")
    tls_cert_file: str = Field("", description="our certificate, with its chain")
    tls_private_key_file: str = Field("", description="key of --tls-cert-file")

    client_ca_file: str = Field("", description="CA of client certificates: CN is the user, O are the groups")
    token_auth_file: str = Field("", description='CSV of static tokens: token,user,uid,"group1,group2"')
    enable_bootstrap_token_auth: bool = Field(False, description="accept bootstrap tokens (Secrets of that type in kube-system)")
    anonymous_auth: bool = Field(True, description="requests without credentials are system:anonymous, else they are refused")
    requestheader_client_ca_file: str = Field("", description="CA of front proxies that may name users in headers")
    requestheader_allowed_names: list[str] = Field(default=[], description="common names of front proxies; none means any of that CA")
    requestheader_username_headers: list[str] = Field(default=[], description="headers with the user's name")
    requestheader_group_headers: list[str] = Field(default=[], description="headers with groups")
    requestheader_extra_headers_prefix: list[str] = Field(default=[], description="prefixes of headers with the user's extra")
    proxy_client_cert_file: str = Field("", description="our client certificate for extension apiservers")
    proxy_client_key_file: str = Field("", description="key of --proxy-client-cert-file")

    service_account_issuer: list[str] = Field(default=[], description="issuer of service-account tokens; the first one issues, all are accepted")
    service_account_key_file: list[str] = Field(default=[], description="public keys (or private ones) that tokens are checked with")
    service_account_signing_key_file: str = Field("", description="private key that tokens are signed with")
    service_account_jwks_uri: str = Field("", description="where the issuer's keys are published, if not here")
    api_audiences: list[str] = Field(default=[], description="audiences of tokens that we accept; by default the issuer")
    service_account_max_token_expiration: Duration = Field(0.0, ge=0, description="longest life of a token; 0 for no limit of its own")
    service_account_extend_token_expiration: bool = Field(True, description="let tokens of pods that do not renew them live for a year")

    authorization_mode: list[str] = Field(default=["AlwaysAllow"], description="Node, RBAC, AlwaysAllow, AlwaysDeny; asked in this order")
    enable_admission_plugins: list[str] = Field(default=[], description="plugins to run besides those that run by default")
    disable_admission_plugins: list[str] = Field(default=[], description="default plugins not to run")
    allow_privileged: bool = Field(False, description="accepted for upstream's sake: whether pods may be privileged is PodSecurity's matter")

    service_cluster_ip_range: list[str] = Field(default=["10.96.0.0/12"], description="range of cluster IPs; one, or one of each IP family")
    service_node_port_range: str = Field("30000-32767", description="range of node ports")
    endpoint_reconciler_type: str = Field("lease", description="how the kubernetes Service's endpoints are kept: lease or none")

    kubelet_client_certificate: str = Field("", description="our client certificate for kubelets")
    kubelet_client_key: str = Field("", description="key of --kubelet-client-certificate")
    kubelet_certificate_authority: str = Field("", description="CA of kubelets' certificates")
    kubelet_preferred_address_types: list[str] = Field(
        default=["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"], description="which of a node's addresses to use, the best first"
    )
    enable_aggregator_routing: bool = Field(False, description="dial webhooks and extension apiservers at an endpoint of their Service, not at its cluster IP")

    max_requests_inflight: int = Field(400, ge=0, description="reading requests served at once; 0 for no limit")
    max_mutating_requests_inflight: int = Field(200, ge=0, description="changing requests served at once; 0 for no limit")
    shutdown_delay_duration: Duration = Field(0.0, ge=0, description="how long we serve on after /readyz says no, so that balancers notice")
    profiling: bool = Field(True, description="serve /debug/pprof to those who are authorized for it")
    v: int = Field(0, description="verbosity of the log: 4 and more log each request")

    @model_validator(mode="after")
    def _pairs(self) -> "ApiServerFlags":
        for cert, key in (
            ("tls_cert_file", "tls_private_key_file"),
            ("etcd_certfile", "etcd_keyfile"),
            ("kubelet_client_certificate", "kubelet_client_key"),
            ("proxy_client_cert_file", "proxy_client_key_file"),
        ):
            if bool(getattr(self, cert)) != bool(getattr(self, key)):
                raise ValueError(f"--{cert.replace('_', '-')} and --{key.replace('_', '-')} belong together")
        if not self.etcd_servers:
            raise ValueError("--etcd-servers is required")
        if self.endpoint_reconciler_type not in ("lease", "none"):
            raise ValueError("--endpoint-reconciler-type is lease or none")
        return self

    @property
    def node_ports(self) -> tuple[int, int]:
        """First and last.  Raises ValueError."""
        first, dash, last = self.service_node_port_range.partition("-")
        if not (dash and first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
            raise ValueError(f"--service-node-port-range {self.service_node_port_range!r} is not FIRST-LAST")
        return int(first), int(last)
