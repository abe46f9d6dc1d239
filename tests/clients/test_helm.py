"""The real helm installs, upgrades, rolls back and uninstalls a chart of ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHART = Path(__file__).parent / "chart"


@pytest.fixture
def helm(needs: Callable[..., None], cluster: Any, namespace: str) -> Callable[..., str]:
    needs("helm")
    return lambda *words: cluster.run("helm", "--namespace", namespace, *words)


def _get(cluster: Any, namespace: str, *words: str) -> Any:
    return json.loads(cluster.run("kubectl", "--namespace", namespace, "get", *words, "-o", "json"))


def test_install_upgrade_rollback_uninstall(helm: Callable[..., str], cluster: Any, namespace: str) -> None:
    helm("install", "hi", str(CHART), "--wait", "--timeout=60s")
    # helm has looked at the ReplicaSet, of which the Deployment tells a moment later.
    cluster.run("kubectl", "--namespace", namespace, "wait", "deployment/hi", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=30s")
    assert json.loads(helm("list", "-o", "json"))[0]["status"] == "deployed"
    assert _get(cluster, namespace, "configmap", "hi-before")["data"] == {"revision": "1"}

    helm("upgrade", "hi", str(CHART), "--set", "greeting=salut,replicas=3", "--wait", "--timeout=60s")
    assert _get(cluster, namespace, "configmap", "hi")["data"] == {"greeting": "salut"}
    assert _get(cluster, namespace, "deployment", "hi")["spec"]["replicas"] == 3
    assert _get(cluster, namespace, "configmap", "hi-before")["data"] == {"revision": "2"}

    helm("rollback", "hi", "1", "--wait", "--timeout=60s")
    deployment = _get(cluster, namespace, "deployment", "hi")
    assert deployment["spec"]["replicas"] == 2 and deployment["spec"]["template"]["metadata"]["annotations"] == {"greeting": "hello"}
    assert [(entry["revision"], entry["status"]) for entry in json.loads(helm("history", "hi", "-o", "json"))] == [
        (1, "superseded"),
        (2, "superseded"),
        (3, "deployed"),
    ]

    helm("uninstall", "hi", "--wait", "--timeout=60s")
    assert json.loads(helm("list", "-a", "-o", "json")) == []
    assert [item["metadata"]["name"] for item in _get(cluster, namespace, "services,deployments")["items"]] == []


def test_a_chart_that_the_server_refuses_is_a_failed_release(helm: Callable[..., str], cluster: Any, namespace: str) -> None:
    said = cluster.fails("helm", "--namespace", namespace, "install", "bad", str(CHART), "--set", "replicas=-1")
    assert "spec.replicas" in said and "must be greater than or equal to 0" in said
    assert json.loads(helm("list", "-a", "-o", "json"))[0]["status"] == "failed"


def test_a_dry_run_on_the_server_leaves_nothing(helm: Callable[..., str], cluster: Any, namespace: str) -> None:
    said = helm("install", "try", str(CHART), "--dry-run=server")
    assert "name: try" in said
    assert _get(cluster, namespace, "secrets,services")["items"] == []
