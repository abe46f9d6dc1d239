"""The masters' apiserver, controller manager and scheduler: each under a user of its own, reading only its own keys."""

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from k8sfromscratch.components.controller_manager.config import ControllerManagerFlags
from k8sfromscratch.components.scheduler.config import SchedulerFlags
from roles.lib.cluster import masters, node_of
from roles.lib.component import component_unit
from roles.lib.files import File, files
from roles.lib.services import health_check, healthy, services
from roles.pki import REMOTE, authority, certificate, kubeconfig, service_account_keys


@deploy("Control plane")
def control_plane(wheel: str) -> None:
    own = _apiserver_files()
    manager_config = kubeconfig(
        "controller-manager", user="system:kube-controller-manager", at="/etc/kubernetes/controller-manager.kubeconfig", owner="kube-controller-manager"
    )
    scheduler_config = kubeconfig("scheduler", user="system:kube-scheduler", at="/etc/kubernetes/scheduler.kubeconfig", owner="kube-scheduler")
    files(name="Certificates and kubeconfigs", wanted=[*own, manager_config, scheduler_config])
    apiserver = component_unit(
        "kube-apiserver", "apiserver", argv=_apiserver_argv(), reads=[authority(), *own], wheel=wheel, description="Kubernetes API server"
    )
    services(name="kube-apiserver", units={"kube-apiserver.service": apiserver})
    healthy(name="kube-apiserver is ready", unit="kube-apiserver.service", check=health_check("https://127.0.0.1:6443/readyz", ca=f"{REMOTE}/ca.crt"))
    services(
        name="kube-controller-manager and kube-scheduler",
        units={
            "kube-controller-manager.service": component_unit(
                "kube-controller-manager",
                "controller_manager",
                argv=_controller_manager_argv(manager_config),
                reads=[authority(), manager_config],
                wheel=wheel,
                description="Kubernetes controller manager",
            ),
            "kube-scheduler.service": component_unit(
                "kube-scheduler",
                "scheduler",
                argv=SchedulerFlags(kubeconfig=scheduler_config.path).argv(),
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
    ]


def _apiserver_argv() -> list[str]:
    return [
        f"--advertise-address={node_of(host).address}",
        "--secure-port=6443",
        "--etcd-servers=" + ",".join(f"https://{master.address}:2379" for master in masters()),
        f"--etcd-cafile={REMOTE}/etcd/ca.crt",
        f"--etcd-certfile={REMOTE}/apiserver-etcd-client.crt",
        f"--etcd-keyfile={REMOTE}/apiserver-etcd-client.key",
        f"--tls-cert-file={REMOTE}/apiserver.crt",
        f"--tls-private-key-file={REMOTE}/apiserver.key",
        f"--client-ca-file={REMOTE}/ca.crt",
        "--authorization-mode=Node,RBAC",
        f"--kubelet-certificate-authority={REMOTE}/ca.crt",
        f"--kubelet-client-certificate={REMOTE}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={REMOTE}/apiserver-kubelet-client.key",
        f"--service-account-issuer=https://kubernetes.default.svc.{host.data.cluster_domain}",
        f"--service-account-key-file={REMOTE}/sa.pub",
        f"--service-account-signing-key-file={REMOTE}/sa.key",
        f"--service-cluster-ip-range={host.data.service_cidr}",
        f"--service-node-port-range={host.data.node_port_range}",
        f"--requestheader-client-ca-file={REMOTE}/front-proxy-ca.crt",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={REMOTE}/front-proxy-client.crt",
        f"--proxy-client-key-file={REMOTE}/front-proxy-client.key",
    ]


def _controller_manager_argv(config: File) -> list[str]:
    return ControllerManagerFlags(
        kubeconfig=config.path,
        allocate_node_cidrs=True,
        cluster_cidr=[host.data.pod_cidr],
        service_cluster_ip_range=[host.data.service_cidr],
        root_ca_file=f"{REMOTE}/ca.crt",
        node_monitor_grace_period=host.data.node_monitor_grace_period_s,
    ).argv()
