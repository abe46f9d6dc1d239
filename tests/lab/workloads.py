"""Manifests of the small workloads that the lab's tests run: a web server that says which pod it is, and a pod that only waits."""

from typing import Any

IMAGE = "docker.io/library/busybox:latest"
PORT = 8080

SERVE = f"mkdir -p /tmp/www && hostname > /tmp/www/index.html && echo serving $(hostname) && exec httpd -f -v -p {PORT} -h /tmp/www"


def web(name: str, *, replicas: int = 2, tolerate_lost_node_s: int | None = None) -> dict[str, Any]:
    """A Deployment of web servers on port 8080; `tolerate_lost_node_s` instead of the usual five minutes until eviction."""
    lost = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
    tolerations = [{"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": tolerate_lost_node_s} for key in lost]
    spec = {
        "terminationGracePeriodSeconds": 1,
        "tolerations": tolerations if tolerate_lost_node_s is not None else [],
        "containers": [
            {
                "name": "web",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", SERVE],
                "ports": [{"containerPort": PORT}],
                "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
                "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}},
            }
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    }


def service(name: str, *, kind: str = "ClusterIP") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": kind, "selector": {"app": name}, "ports": [{"port": 80, "targetPort": PORT}]},
    }


def idle(name: str, *, node: str | None = None) -> dict[str, Any]:
    """A pod that waits, to run commands in."""
    spec: dict[str, Any] = {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "shell", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "86400"]}],
    }
    if node is not None:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
