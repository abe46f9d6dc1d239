"""kube-scheduler's flags, as far as they mean something here."""

from pydantic import Field

from k8sfromscratch.process.flags import Duration, Flags


class SchedulerFlags(Flags):
    kubeconfig: str = Field(description="kubeconfig file with the apiserver's address and our credentials")
    leader_elect: bool = Field(True, description="take part in leader election before scheduling")
    leader_elect_lease_duration: Duration = Field(15.0, gt=0, description="time after which a leader that does not renew is replaced")
    leader_elect_renew_deadline: Duration = Field(10.0, gt=0, description="how long a leader tries to renew before it gives up")
    leader_elect_retry_period: Duration = Field(2.0, gt=0, description="time between tries")
    leader_elect_resource_name: str = Field("kube-scheduler", description="name of the Lease")
    leader_elect_resource_namespace: str = Field("kube-system", description="namespace of the Lease")
    scheduler_name: str = Field("default-scheduler", description="pods with this spec.schedulerName are ours")
    bind_address: str = Field("0.0.0.0", description="where /healthz and /metrics listen")
    secure_port: int = Field(10259, ge=0, le=65535, description="port of /healthz and /metrics; 0 turns them off")
    tls_cert_file: str = Field("", description="certificate for the secure port; without one a self-signed one is made")
    tls_private_key_file: str = Field("", description="key of --tls-cert-file")
    client_ca_file: str = Field("", description="CA of clients that may read /metrics")
