"""A kopf operator, run as `kopf run`: custom resources, their status and finalizers, ownership, a second version."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "greetings.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "greetings", "singular": "greeting", "kind": "Greeting", "shortNames": ["gr"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Text", "type": "string", "jsonPath": ".spec.text"}],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "maxLength": 40}}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


@pytest.fixture
def kubectl(cluster: Any, namespace: str) -> Callable[..., str]:
    return lambda *words, **more: cluster.run("kubectl", "--namespace", namespace, *words, **more)


@pytest.fixture
def operator(kubectl: Callable[..., str], cluster: Any, namespace: str, tmp_path: Path) -> Iterator[Path]:
    """Its log."""
    kubectl("apply", "-f", "-", stdin=json.dumps(DEFINITION))
    kubectl("wait", "--for=condition=established", "crd/greetings.example.com", "--timeout=80s")
    log = tmp_path / "operator.log"
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", namespace, str(Path(__file__).with_name("operator.py"))]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=cluster.environment, stdout=output, stderr=output)
    try:
        yield log
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(80)
        kubectl("delete", "crd", "greetings.example.com", "--timeout=60s")


def _greeting(name: str, text: str) -> str:
    return json.dumps({"apiVersion": "example.com/v1", "kind": "Greeting", "metadata": {"name": name}, "spec": {"text": text}})


def test_an_operator_creates_follows_changes_and_cleans_up(operator: Path, kubectl: Callable[..., str]) -> None:
    kubectl("apply", "-f", "-", stdin=_greeting("hi", "good morning"))
    kubectl("wait", "greeting/hi", "--for=jsonpath={.status.text}=good morning", "--timeout=80s")
    made = json.loads(kubectl("get", "configmap", "hi", "-o", "json"))
    assert made["data"] == {"text": "good morning"} and made["metadata"]["ownerReferences"][0]["kind"] == "Greeting"
    assert json.loads(kubectl("get", "gr", "hi", "-o", "json"))["metadata"]["finalizers"] == ["greetings.example.com/finalizer"]
    assert kubectl("get", "greetings").split() == ["NAME", "TEXT", "hi", "good", "morning"]

    kubectl("patch", "greeting", "hi", "--type=merge", "-p", json.dumps({"spec": {"text": "good night"}}))
    kubectl("wait", "greeting/hi", "--for=jsonpath={.status.text}=good night", "--timeout=80s")
    assert json.loads(kubectl("get", "configmap", "hi", "-o", "json"))["data"] == {"text": "good night"}

    kubectl("delete", "greeting", "hi", "--timeout=80s")
    assert json.loads(kubectl("get", "configmap", "hi-goodbye", "-o", "json"))["data"] == {"of": "hi"}
    kubectl("wait", "configmap/hi", "--for=delete", "--timeout=80s")
    assert "Traceback" not in operator.read_text(), operator.read_text()
