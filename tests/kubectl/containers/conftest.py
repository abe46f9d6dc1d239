"""Real containers: a kubelet of the suite's cluster on a containerd of its own.  There are no controllers: tests bind their pods to the node."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from k8sfromscratch.api.registry import PODS
from k8sfromscratch.testing.kubectl import Kubectl
from k8sfromscratch.testing.private_containerd import PROGRAMS, PrivateContainerd

FOREVER = "trap 'exit 0' TERM; sleep 1000 & wait"
NODE = "machine"


@pytest.fixture(scope="session")
def node(needs: Callable[..., None], request: pytest.FixtureRequest) -> Iterator[str]:
    """The node's name, when it is ready and its kubelet serves."""
    needs(*PROGRAMS, "kubectl", root=True)
    cluster, admin = request.getfixturevalue("cluster"), request.getfixturevalue("admin")
    daemon = PrivateContainerd(subnet="10.213.81.0/24")
    try:
        daemon.start()
        cluster.start_kubelet(daemon.endpoint)
        with admin.start("get", "nodes", "--watch", "-o", "jsonpath={.metadata.name} {.status.daemonEndpoints.kubeletEndpoint.Port}{'\\n'}") as nodes:
            next(line for line in iter(nodes.line, "") if line.startswith(f"{NODE} ") and line.split()[1:])
        yield NODE
        admin("wait", "pods", "--all-namespaces", f"--field-selector=spec.nodeName={NODE}", "--for=delete", "--timeout=30s")
    finally:
        daemon.stop()


@pytest.fixture
def containers(node: str, release: Kubectl) -> Iterator["Containers"]:
    """With each release: the streams go by SPDY, by WebSocket, or by SPDY within a WebSocket, as the release likes best."""
    made = Containers(release)
    yield made
    made.remove()


@pytest.fixture
def newest(node: str, kubectl: Kubectl) -> Iterator["Containers"]:
    made = Containers(kubectl)
    yield made
    made.remove()


class Containers:
    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl

    def pod(self, name: str = "web", *commands: str, ready: bool = True, **spec: Any) -> str:
        """One container a shell command (`app`, `app1`, …); where `ready`, all of them running."""
        names = ["app", *(f"app{i}" for i in range(1, len(commands)))]
        made = [
            {"name": one, "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", text], **spec.pop(one, {})}
            for one, text in zip(names, commands or (FOREVER,), strict=bool(commands))
        ]
        labels = spec.pop("labels", {"name": name})
        body = {"nodeName": NODE, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, "containers": made, **spec}
        self.kubectl.ask(PODS.path(self.kubectl.namespace), {"metadata": {"name": name, "labels": labels}, "spec": body})
        if ready:
            self.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
        return name

    def says(self, name: str, container: str, *lines: str) -> None:
        """Waits until its log has them: one that runs need not have said anything yet."""
        awaited = set(lines)
        with self.kubectl.start("logs", "--follow", name, "-c", container) as following:
            while awaited:
                line = following.line()
                assert line, f"the log of {name} ended without {awaited}: {following.rest('err')}"
                awaited.discard(line.rstrip("\n"))

    def remove(self) -> None:
        self.kubectl.ask(PODS.path(self.kubectl.namespace), method="DELETE")
