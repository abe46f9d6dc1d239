"""The masters' apiserver, controller manager and scheduler: each under a user of its own, reading only its own keys."""

from typing import Any

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from k8sfromscratch.components.apiserver.config import ApiServerFlags
from k8sfromscratch.components.controller_manager.config import ControllerManagerFlags
from k8sfromscratch.components.scheduler.config import SchedulerFlags
from roles.lib.cluster import masters, node_of
from roles.lib.commands import File
from roles.lib.component import component_unit
from roles.lib.files import files
from roles.lib.services import answers, healthy, services
from roles.pki import REMOTE, authority, certificate, kubeconfig, service_account_keys, signing_authority, trusted_authorities

LEASE_DURATION_S = 15.0
RENEW_DEADLINE_S = 10.0
RETRY_PERIOD_S = 2.0


@deploy("Control plane")
def control_plane(wheel: str) -> None:
    own = _apiserver_files()
    manager_config = kubeconfig(
        "controller-manager", user="system:kube-controller-manager", at="/etc/kubernetes/controller-manager.kubeconfig", owner="kube-controller-manager"
    )
    scheduler_config = kubeconfig("scheduler", user="system:kube-scheduler", at="/etc/kubernetes/scheduler.kubeconfig", owner="kube-scheduler")
    signing = signing_authority("kube-controller-manager")
    files(name="Certificates and kubeconfigs", wanted=[*own, *signing, manager_config, scheduler_config])
    apiserver = component_unit(
        "kube-apiserver", "apiserver", argv=_apiserver_argv(), reads=[authority(), *own], wheel=wheel, description="Kubernetes API server"
    )
    services(name="kube-apiserver", units={"kube-apiserver.service": apiserver})
    # They start together, in the time that each takes to load.
    healthy(
        name="etcd and kube-apiserver are well",
        units={
            "etcd.service": answers("http://127.0.0.1:2381/health"),
            "kube-apiserver.service": answers("https://127.0.0.1:6443/readyz", ca=f"{REMOTE}/ca.crt"),
        },
        timeout_s=120,
    )
    services(
        name="kube-controller-manager and kube-scheduler",
        units={
            "kube-controller-manager.service": component_unit(
                "kube-controller-manager",
                "controller_manager",
                argv=_controller_manager_argv(manager_config),
                reads=[authority(), *signing, manager_config],
                wheel=wheel,
                description="Kubernetes controller manager",
            ),
            "kube-scheduler.service": component_unit(
                "kube-scheduler",
                "scheduler",
                argv=SchedulerFlags(kubeconfig=scheduler_config.path, **_leases()).argv(),
                reads=[authority(), scheduler_config],
                wheel=wheel,
                description="Kubernetes scheduler",
            ),
        },
    )


def _apiserver_files() -> list[File]:
    owner = "kube-apiserver"
    return [
        *certificate(f"apiserver-{node_of(host).name}", at="apiserver", owner=owner),
        *certificate("apiserver-etcd-client", at="apiserver-etcd-client", owner=owner, authority="etcd/ca"),
        *certificate("apiserver-kubelet-client", at="apiserver-kubelet-client", owner=owner),
        *certificate("front-proxy-client", at="front-proxy-client", owner=owner, authority="front-proxy-ca"),
        *service_account_keys(owner),
        trusted_authorities(),
    ]


def _apiserver_argv() -> list[str]:
    return ApiServerFlags(
        advertise_address=node_of(host).address,
        secure_port=6443,
        etcd_servers=_etcd_servers(),
        etcd_cafile=f"{REMOTE}/etcd/ca.crt",
        etcd_certfile=f"{REMOTE}/apiserver-etcd-client.crt",
        etcd_keyfile=f"{REMOTE}/apiserver-etcd-client.key",
        tls_cert_file=f"{REMOTE}/apiserver.crt",
        tls_private_key_file=f"{REMOTE}/apiserver.key",
        client_ca_file=f"{REMOTE}/trusted-ca.crt",
        authorization_mode=["Node", "RBAC"],
        enable_admission_plugins=["NodeRestriction"],
        kubelet_certificate_authority=f"{REMOTE}/trusted-ca.crt",
        kubelet_client_certificate=f"{REMOTE}/apiserver-kubelet-client.crt",
        kubelet_client_key=f"{REMOTE}/apiserver-kubelet-client.key",
        kubelet_preferred_address_types=["InternalIP", "Hostname"],
        service_account_issuer=[f"https://kubernetes.default.svc.{host.data.cluster_domain}"],
        service_account_key_file=[f"{REMOTE}/sa.pub"],
        service_account_signing_key_file=f"{REMOTE}/sa.key",
        service_cluster_ip_range=[host.data.service_cidr],
        service_node_port_range=host.data.node_port_range,
        requestheader_client_ca_file=f"{REMOTE}/front-proxy-ca.crt",
        requestheader_username_headers=["X-Remote-User"],
        requestheader_group_headers=["X-Remote-Group"],
        requestheader_extra_headers_prefix=["X-Remote-Extra-"],
        proxy_client_cert_file=f"{REMOTE}/front-proxy-client.crt",
        proxy_client_key_file=f"{REMOTE}/front-proxy-client.key",
    ).argv()


def _etcd_servers() -> list[str]:
    """The member beside it first: it is used while it is there."""
    own = node_of(host)
    others = [master for master in masters() if master != own]
    return [f"https://{master.address}:2379" for master in (own, *others)]


def _controller_manager_argv(config: File) -> list[str]:
    return ControllerManagerFlags(
        kubeconfig=config.path,
        allocate_node_cidrs=True,
        cluster_cidr=[host.data.pod_cidr],
        service_cluster_ip_range=[host.data.service_cidr],
        root_ca_file=f"{REMOTE}/ca.crt",
        cluster_signing_cert_file=f"{REMOTE}/signer-ca.crt",
        cluster_signing_key_file=f"{REMOTE}/signer-ca.key",
        node_monitor_grace_period=host.data.node_monitor_grace_period_s,
        **_leases(),
    ).argv()


def _leases() -> dict[str, Any]:
    """A leader on a machine that needs patience may not come to renew within the usual times, and would end for it, again and again."""
    times = max(1.0, (getattr(host.data, "patience", None) or 1) / 2)
    return {
        "leader_elect_lease_duration": LEASE_DURATION_S * times,
        "leader_elect_renew_deadline": RENEW_DEADLINE_S * times,
        "leader_elect_retry_period": RETRY_PERIOD_S * times,
    }
