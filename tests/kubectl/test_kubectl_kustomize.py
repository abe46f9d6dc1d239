"""`kustomize` and `apply -k`: a base with generators, and an overlay that patches it."""

import json

import pytest
import yaml

BASE = {
    "kustomization.yaml": """
resources: [deployment.yaml]
configMapGenerator:
- name: settings
  literals: [MODE=fast]
secretGenerator:
- name: password
  literals: [p=q]
""",
    "deployment.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1
        envFrom: [{configMapRef: {name: settings}}]
""",
}
OVERLAY = """
resources: [../base]
namePrefix: test-
labels:
- pairs: {env: test}
images: [{name: nginx, newTag: "2"}]
replicas: [{name: web, count: 3}]
patches:
- target: {kind: Deployment}
  patch: |
    - op: add
      path: /spec/template/spec/containers/0/args
      value: [-v]
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec: {minReadySeconds: 5}
"""


@pytest.fixture
def overlay(tmp_path):
    for name, text in BASE.items():
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "base" / name).write_text(text)
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay" / "kustomization.yaml").write_text(OVERLAY)
    return str(tmp_path / "overlay")


def test_apply_delete_and_diff(kubectl, overlay):
    built = {document["kind"]: document for document in yaml.safe_load_all(kubectl("kustomize", overlay))}
    assert set(built) == {"ConfigMap", "Secret", "Deployment"}
    assert kubectl.run("diff", "-k", overlay).returncode == 1
    assert kubectl("apply", "-k", overlay).count("created") == 3
    web = kubectl.object("deployment", "test-web")
    (container,) = web["spec"]["template"]["spec"]["containers"]
    assert (web["spec"]["replicas"], web["spec"]["minReadySeconds"], web["metadata"]["labels"]["env"]) == (3, 5, "test")
    assert (container["image"], container["args"]) == ("nginx:2", ["-v"])
    settings = container["envFrom"][0]["configMapRef"]["name"]
    assert settings.startswith("test-settings-") and kubectl.object("configmap", settings)["data"] == {"MODE": "fast"}
    assert kubectl("apply", "-k", overlay).count("unchanged") == 3
    assert kubectl.run("diff", "-k", overlay).returncode == 0
    assert kubectl("get", "-k", overlay, "-o", "name").count("\n") == 3
    assert kubectl("delete", "-k", overlay).count("deleted") == 3
    assert json.loads(kubectl("get", "deployments,secrets", "-o", "json"))["items"] == []
