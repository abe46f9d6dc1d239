"""`port-forward` and `proxy`."""

import json
import re
import socket
import urllib.request

SERVE = "mkdir /www; echo hello > /www/index.html; httpd -f -p 8080 -h /www"
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)")


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


def serving(containers) -> None:
    containers.pod("web", SERVE, app={"ports": [{"name": "http", "containerPort": 8080}]})
    containers.kubectl("exec", "web", "--", "sh", "-c", "until netstat -ltn | grep -q :8080; do sleep 0.1; done")


def test_port_forward(containers):
    """By every release: SPDY, or SPDY tunnelled in a WebSocket."""
    kubectl = containers.kubectl
    serving(containers)
    with kubectl.start("port-forward", "pod/web", ":8080", ":9999") as forwarding:
        ports = {}
        while len(ports) < 2:
            found = FORWARDING.match(forwarding.line())
            ports |= {found[2]: int(found[1])} if found else {}
        for _ in range(3):
            assert fetch(f"http://127.0.0.1:{ports['8080']}/") == "hello\n"
        with socket.create_connection(("127.0.0.1", ports["9999"]), timeout=60) as refused:
            refused.sendall(b"x")
            forwarding.until("9999", of="err")


def test_port_forward_to_a_service(newest):
    """The service's port is turned into the pod's, by name."""
    kubectl = newest.kubectl
    serving(newest)
    kubectl("expose", "pod", "web", "--port=80", "--target-port=http")
    with kubectl.start("port-forward", "service/web", ":80") as forwarding:
        found = FORWARDING.match(forwarding.line())
        assert found is not None and found[2] == "8080"
        assert fetch(f"http://127.0.0.1:{found[1]}/") == "hello\n"


def test_proxy(newest):
    """The API without credentials on a local port; and through it, a pod's own server."""
    kubectl = newest.kubectl
    serving(newest)
    with kubectl.start("proxy", "--port=0") as proxy:
        found = re.search(r"127\.0\.0\.1:\d+", proxy.line())
        assert found is not None
        base = f"http://{found[0]}"
        assert json.loads(fetch(f"{base}/version"))["minor"] == "35"
        pods = f"{base}/api/v1/namespaces/{kubectl.namespace}/pods"
        assert [pod["metadata"]["name"] for pod in json.loads(fetch(pods))["items"]] == ["web"]
        assert fetch(f"{pods}/web:8080/proxy/") == "hello\n"
        assert fetch(f"{pods}/web:http/proxy/index.html") == "hello\n"
    assert kubectl("get", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/pods/web:8080/proxy/index.html") == "hello\n"
    assert kubectl("get", "--raw", "/api/v1/nodes/machine/proxy/healthz") == "ok"
