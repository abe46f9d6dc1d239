"""Every component may die at any moment and come back: services killed, a machine without power."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab, Namespace
from tests.lab.workloads import service, web

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE = ("kubelet", "kube-proxy", "flanneld", "containerd")


@pytest.fixture(scope="module")
def deployed(namespace: Namespace) -> Namespace:
    namespace.apply(web("web", replicas=4, tolerate_lost_node_s=2), service("web"))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=90s", timeout_s=100)
    return namespace


def kill(lab: Lab, machine: str, unit: str) -> None:
    """SIGKILL to the service's main process; returns when systemd has started another."""
    main_pid = f"$(systemctl show -p MainPID --value {unit})"
    another = f"until new={main_pid} && [ $new -gt 0 ] && [ $new -ne '$old' ]; do sleep 0.1; done"
    lab.ssh(machine, f"old={main_pid} && [ $old -gt 0 ] && kill -KILL $old && timeout {30 * lab.patience} sh -c '{another}'")


def apiserver_is_ready(lab: Lab) -> None:
    """Asks /readyz with kubectl until it answers: the one thing that `kubectl wait` cannot wait for."""
    program, limit_s = " ".join(lab._kubectl), 60 * lab.patience
    asked = f"until {program} get --raw /readyz; do sleep 0.2; done"
    done = subprocess.run(["timeout", str(limit_s), "sh", "-c", asked], capture_output=True, check=False)
    assert done.returncode == 0, f"the apiserver is not ready {limit_s} s after the kill"


@pytest.mark.parametrize("unit", CONTROL_PLANE)
def test_a_killed_control_plane_service_comes_back_with_nothing_lost(lab: Lab, deployed: Namespace, unit: str) -> None:
    deployed.kubectl("create", "configmap", f"before-{unit}", "--from-literal=key=value")
    pods = {pod["metadata"]["uid"] for pod in deployed.pods("app=web")}
    kill(lab, "master-1", unit)
    apiserver_is_ready(lab)
    assert deployed.get("configmap", f"before-{unit}")["data"] == {"key": "value"}
    assert {pod["metadata"]["uid"] for pod in deployed.pods("app=web")} == pods, "no pod was lost or replaced"
    # And the cluster still does its work: one more replica needs every control-plane service.
    replicas = deployed.get("deployment", "web")["spec"]["replicas"] + 1
    deployed.kubectl("scale", "deployment/web", f"--replicas={replicas}")
    deployed.kubectl("wait", "deployment/web", f"--for=jsonpath={{.status.readyReplicas}}={replicas}", "--timeout=90s", timeout_s=100)
    deployed.kubectl("scale", "deployment/web", "--replicas=4")
    deployed.kubectl("rollout", "status", "deployment/web", "--timeout=60s", timeout_s=70)
    # The next test notes which pods there are: no more than are wanted, of which `rollout status` says nothing.
    deployed.kubectl("wait", "deployment/web", "--for=jsonpath={.status.replicas}=4", "--timeout=60s", timeout_s=70)


@pytest.mark.parametrize("unit", NODE)
def test_a_killed_node_service_comes_back_and_pods_run_on(lab: Lab, deployed: Namespace, unit: str) -> None:
    worker = lab.workers[0]
    containers = wanted_containers(deployed)
    kill(lab, worker, unit)
    lab.kubectl("wait", f"node/{worker}", "--for=condition=Ready", "--timeout=60s", timeout_s=70)
    deployed.kubectl("wait", *(f"pod/{name}" for name in containers), "--for=condition=Ready", "--timeout=60s", timeout_s=70)
    assert wanted_containers(deployed) == containers


def wanted_containers(deployed: Namespace) -> dict[str, str]:
    """Pod → container; without pods that are on their way out, which on a slow machine are there for a while."""
    wanted = (pod for pod in deployed.pods("app=web") if "deletionTimestamp" not in pod["metadata"])
    return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["containerID"] for pod in wanted}


@pytest.fixture
def powered_off(lab: Lab, deployed: Namespace) -> Iterator[str]:
    """A worker that runs some of the Deployment's pods, without power for the time of the test."""
    worker = lab.workers[-1]
    assert any(pod["spec"]["nodeName"] == worker for pod in deployed.pods("app=web"))
    machine = lab.spec.machine(worker)
    lab.provider.stop(machine, power_off=True)
    yield worker
    lab.provider.ensure(machine)
    lab.kubectl("wait", f"node/{worker}", "--for=condition=Ready", "--timeout=120s", timeout_s=130)
    # A controller takes away what kept pods off when it has heard of that.
    limit_s = time.monotonic() + 60 * lab.patience
    while taints := lab.get("node", worker)["spec"].get("taints"):
        assert time.monotonic() < limit_s, taints


def test_pods_of_a_worker_without_power_are_replaced_elsewhere(lab: Lab, deployed: Namespace, powered_off: str) -> None:
    lost = [pod["metadata"]["name"] for pod in deployed.pods("app=web") if pod["spec"]["nodeName"] == powered_off]
    lab.kubectl("wait", f"node/{powered_off}", "--for=condition=Ready=Unknown", "--timeout=90s", timeout_s=100)
    for name in lost:
        deployed.kubectl("wait", f"pod/{name}", "--for=jsonpath={.metadata.deletionTimestamp}", "--timeout=60s", timeout_s=70)
    deployed.kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=4", "--timeout=90s", timeout_s=100)
    assert powered_off not in {pod["spec"]["nodeName"] for pod in deployed.pods("app=web")}


def test_a_worker_that_is_back_takes_pods_again(lab: Lab, deployed: Namespace) -> None:
    """Runs after the one above, which gives the worker its power back: its old pods are gone, new ones run there."""
    worker = lab.workers[-1]
    replicas = 4 * len(lab.workers)
    deployed.kubectl("scale", "deployment/web", f"--replicas={replicas}")
    deployed.kubectl("rollout", "status", "deployment/web", "--timeout=120s", timeout_s=130)
    assert any(pod["spec"]["nodeName"] == worker for pod in deployed.pods("app=web"))
    stuck = [pod["metadata"]["name"] for pod in deployed.get("pods")["items"] if "deletionTimestamp" in pod["metadata"]]
    for name in stuck:
        deployed.kubectl("wait", f"pod/{name}", "--for=delete", "--timeout=60s", timeout_s=70)
