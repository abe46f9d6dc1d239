"""Objects to reconcile, written short: `make.pod("a", ready=True, labels={...})`."""

import copy
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


class Make:
    """Fresh uids and resourceVersions for everything made; times count from `now`."""

    now = NOW

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def at(self, seconds: float) -> str:
        """The API's text for so many seconds after `now`."""
        return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def later(self, seconds: float) -> datetime:
        return NOW + timedelta(seconds=seconds)

    def meta(self, name: str, namespace: str | None = "default", age_s: float = 1000.0, **more: Any) -> dict[str, Any]:
        number = next(self._numbers)
        metadata = {"name": name, "uid": f"uid-{number}", "resourceVersion": str(number), "generation": 1, "creationTimestamp": self.at(-age_s)}
        if namespace is not None:
            metadata["namespace"] = namespace
        return {**metadata, **more}

    def pod(
        self, name: str, *, ready: bool = False, phase: str = "Running", node: str = "n1", owner: dict | None = None, ready_s: float = 500, **meta: Any
    ) -> dict[str, Any]:
        metadata = self.meta(name, **meta)
        if owner is not None:
            metadata["ownerReferences"] = [self.owner(owner)]
        conditions = [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": self.at(-ready_s)}]
        spec: dict[str, Any] = {"containers": [{"name": "c", "image": "i"}]}
        if node:
            spec["nodeName"] = node
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase, "conditions": conditions}}

    def owner(self, obj: dict[str, Any], **more: Any) -> dict[str, Any]:
        metadata = obj["metadata"]
        reference = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": metadata["name"], "uid": metadata["uid"]}
        return {**reference, "controller": True, "blockOwnerDeletion": True, **more}

    def replica_set(
        self,
        name: str = "web-1",
        replicas: int = 3,
        *,
        app: str = "web",
        image: str = "i:1",
        owner: dict | None = None,
        status: dict | None = None,
        **meta: Any,
    ) -> dict[str, Any]:
        metadata = self.meta(name, **meta)
        if owner is not None:
            metadata["ownerReferences"] = [self.owner(owner)]
        labels = {"app": app}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
        metadata.setdefault("labels", labels)
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec, "status": status or {"replicas": 0}}

    def deployment(self, replicas: int = 3, *, image: str = "i:1", strategy: dict | None = None, status: dict | None = None, **spec: Any) -> dict[str, Any]:
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
        strategy = strategy or {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
        body = {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template,
            "strategy": strategy,
            "progressDeadlineSeconds": 600,
            **spec,
        }
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": self.meta("web"), "spec": body, "status": status or {}}

    def service(self, name: str = "web", *, ports: list | None = None, **spec: Any) -> dict[str, Any]:
        ports = ports if ports is not None else [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
        body = {"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "type": "ClusterIP", "ports": ports, **spec}
        return {"apiVersion": "v1", "kind": "Service", "metadata": self.meta(name), "spec": body}

    def node(self, name: str = "n1", *, ready: str | None = "True", taints: list | None = None, labels: dict | None = None, **spec: Any) -> dict[str, Any]:
        conditions = [] if ready is None else [{"type": "Ready", "status": ready, "lastHeartbeatTime": self.at(0), "lastTransitionTime": self.at(-900)}]
        body = {**spec, **({"taints": taints} if taints else {})}
        metadata = self.meta(name, None, labels=labels or {})
        return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": body, "status": {"conditions": conditions}}

    def changed(self, obj: dict[str, Any], **status: Any) -> dict[str, Any]:
        """A copy with other status fields and a new resourceVersion."""
        copied = copy.deepcopy(obj)
        copied["metadata"]["resourceVersion"] = str(next(self._numbers))
        copied.setdefault("status", {}).update(status)
        return copied


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
