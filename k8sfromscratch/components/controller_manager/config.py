"""kube-controller-manager's flags, as far as they mean something here."""

from pydantic import Field, field_validator, model_validator

from k8sfromscratch.process.flags import Duration, Flags


class ControllerManagerFlags(Flags):
    """Runs the controllers that drive the cluster's state towards what is declared."""

    kubeconfig: str = Field(description="kubeconfig file with the apiserver's address and our credentials")
    controllers: list[str] = Field(["*"], description="controllers to run: * for all that are on by default, NAME to turn one on, -NAME off")

    leader_elect: bool = Field(True, description="take part in leader election before starting the controllers")
    leader_elect_lease_duration: Duration = Field(15.0, gt=0, description="after this long a leader that does not renew is replaced")
    leader_elect_renew_deadline: Duration = Field(10.0, gt=0, description="how long a leader tries to renew before it gives up")
    leader_elect_retry_period: Duration = Field(2.0, gt=0, description="time between tries")
    leader_elect_resource_name: str = Field("kube-controller-manager", description="name of the Lease")
    leader_elect_resource_namespace: str = Field("kube-system", description="namespace of the Lease")

    bind_address: str = Field("0.0.0.0", description="where /healthz and /metrics listen")
    secure_port: int = Field(10257, ge=0, le=65535, description="port of /healthz and /metrics; 0 turns them off")
    tls_cert_file: str = Field("", description="certificate for the secure port; without one a self-signed one is made")
    tls_private_key_file: str = Field("", description="key of --tls-cert-file")
    client_ca_file: str = Field("", description="CA of clients that may read /metrics")

    cluster_name: str = Field("kubernetes", description="the cluster's name")
    allocate_node_cidrs: bool = Field(False, description="cut pod ranges for the nodes from --cluster-cidr")
    cluster_cidr: list[str] = Field([], description="the pods' range; two, one of each family, for dual stack")
    node_cidr_mask_size: int = Field(0, ge=0, le=128, description="mask size of a node's range where there is one family; 0: 24 for IPv4, 64 for IPv6")
    node_cidr_mask_size_ipv4: int = Field(24, ge=1, le=32, description="mask size of a node's IPv4 range")
    node_cidr_mask_size_ipv6: int = Field(64, ge=1, le=128, description="mask size of a node's IPv6 range")
    service_cluster_ip_range: list[str] = Field([], description="the Services' ranges, which no node's may overlap")

    node_monitor_period: Duration = Field(5.0, gt=0, description="how often a node's health is looked at")
    node_monitor_grace_period: Duration = Field(50.0, gt=0, description="how long a node may be silent before it counts as unreachable")
    node_startup_grace_period: Duration = Field(60.0, gt=0, description="the same for a node that has not reported yet")
    node_eviction_rate: float = Field(0.1, ge=0, description="nodes a second and zone that lose their pods while the zone is healthy")
    secondary_node_eviction_rate: float = Field(0.01, ge=0, description="the same while too much of the zone is down, in large clusters")
    unhealthy_zone_threshold: float = Field(0.55, ge=0, le=1, description="share of nodes down from which a zone counts as unhealthy")
    large_cluster_size_threshold: int = Field(50, ge=0, description="zones up to this size are not evicted from at all while they are unhealthy")

    terminated_pod_gc_threshold: int = Field(12500, ge=0, description="finished pods kept before the oldest are deleted; 0: all are kept")
    root_ca_file: str = Field("", description="CA bundle published in every namespace as the ConfigMap kube-root-ca.crt")
    cluster_signing_cert_file: str = Field("", description="CA certificate that approved signing requests are signed with")
    cluster_signing_key_file: str = Field("", description="key of --cluster-signing-cert-file")
    cluster_signing_duration: Duration = Field(365 * 24 * 3600.0, gt=0, description="longest life of a certificate that is signed")
    service_account_private_key_file: str = Field("", description="accepted for compatibility: tokens are signed by the apiserver (TokenRequest)")
    use_service_account_credentials: bool = Field(False, description="only false is supported: all controllers share one identity")

    concurrent_deployment_syncs: int = Field(5, ge=1, description="Deployments worked on at once")
    concurrent_replicaset_syncs: int = Field(5, ge=1, description="ReplicaSets worked on at once")
    concurrent_rc_syncs: int = Field(5, ge=1, description="ReplicationControllers worked on at once")
    concurrent_statefulset_syncs: int = Field(5, ge=1, description="StatefulSets worked on at once")
    concurrent_daemonset_syncs: int = Field(2, ge=1, description="DaemonSets worked on at once")
    concurrent_job_syncs: int = Field(5, ge=1, description="Jobs worked on at once")
    concurrent_cron_job_syncs: int = Field(5, ge=1, description="CronJobs worked on at once")
    concurrent_endpoint_syncs: int = Field(5, ge=1, description="Services worked on at once for their Endpoints")
    concurrent_service_endpoint_syncs: int = Field(5, ge=1, description="Services worked on at once for their EndpointSlices")
    mirroring_concurrent_service_endpoint_syncs: int = Field(5, ge=1, description="Endpoints mirrored at once into EndpointSlices")
    concurrent_namespace_syncs: int = Field(10, ge=1, description="namespaces being deleted that are worked on at once")
    concurrent_gc_syncs: int = Field(20, ge=1, description="objects that the garbage collector works on at once")
    concurrent_serviceaccount_token_syncs: int = Field(5, ge=1, description="namespaces and Secrets worked on at once for their accounts and tokens")
    concurrent_ttl_after_finished_syncs: int = Field(5, ge=1, description="finished Jobs worked on at once")

    @model_validator(mode="after")
    def _signing_pair(self) -> "ControllerManagerFlags":
        if bool(self.cluster_signing_cert_file) != bool(self.cluster_signing_key_file):
            raise ValueError("--cluster-signing-cert-file and --cluster-signing-key-file belong together")
        return self

    @field_validator("use_service_account_credentials")
    @classmethod
    def _one_identity(cls, value: bool) -> bool:
        if value:
            raise ValueError("controllers with identities of their own are not supported")
        return value

    @field_validator("node_monitor_grace_period")
    @classmethod
    def _longer_than_renewal(cls, value: float) -> float:
        if value <= 10:
            raise ValueError("must exceed 10s, the interval at which kubelets renew their lease")
        return value
