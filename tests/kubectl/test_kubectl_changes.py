"""`patch`, `edit`, `replace`, `label`, `annotate`, `set` and `taint`: what changes an object in place.

`edit`, `scale` and `autoscale` with all releases: kubectl makes the patch itself, and newer ones know subresources.
"""

import json

import pytest

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "nginx:1", ports: [{containerPort: 80}]}
      - {name: log, image: fluent}
"""


def containers(kubectl) -> dict:
    return {c["name"]: c for c in kubectl.object("deployment", "web")["spec"]["template"]["spec"]["containers"]}


def test_three_kinds_of_patch(kubectl):
    kubectl("create", "-f", "-", text=DEPLOYMENT)

    def patch(body: object, *words: str) -> str:
        return kubectl("patch", "deployment", "web", "-p", json.dumps(body), *words)

    def spec(*of: dict, **more: object) -> dict:
        return {"spec": {"template": {"spec": {"containers": list(of), **more}}}}

    assert patch(spec({"name": "log", "image": "fluent:2"})) == "deployment.apps/web patched\n"
    assert {name: c["image"] for name, c in containers(kubectl).items()} == {"web": "nginx:1", "log": "fluent:2"}
    assert patch(spec({"name": "log", "image": "fluent:2"})) == "deployment.apps/web patched (no change)\n"
    patch(spec({"name": "log", "$patch": "delete"}, **{"$setElementOrder/containers": [{"name": "web"}]}))
    assert list(containers(kubectl)) == ["web"]
    patch({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}})
    assert kubectl.object("deployment", "web")["spec"]["strategy"] == {"type": "Recreate"}
    patch(spec({"name": "only", "image": "busybox"}), "--type=merge")
    assert list(containers(kubectl)) == ["only"]
    path = "/spec/template/spec/containers/0/image"
    patch([{"op": "test", "path": path, "value": "busybox"}, {"op": "replace", "path": path, "value": "busybox:2"}], "--type=json")
    assert containers(kubectl)["only"]["image"] == "busybox:2"
    failed = kubectl.fails("patch", "deployment", "web", "--type=json", "-p", json.dumps([{"op": "test", "path": path, "value": "other"}]))
    assert "The request is invalid" in failed
    file = kubectl.home / "patch.yaml"
    file.write_text("spec: {replicas: 4}")
    kubectl("patch", "deployment", "web", "--patch-file", str(file))
    patch({"status": {"replicas": 4, "readyReplicas": 3}}, "--subresource=status", "--type=merge")
    live = kubectl.object("deployment", "web")
    assert (live["spec"]["replicas"], live["status"]["readyReplicas"]) == (4, 3)
    local = kubectl("patch", "--local", "-f", "-", "-p", '{"spec":{"replicas":9}}', "-o", "jsonpath={.spec.replicas}", text=DEPLOYMENT)
    assert local == "9"


def test_edit(release):
    release("create", "-f", "-", text=DEPLOYMENT)
    done = release.edit("deployment", "web", script="s/nginx:1/nginx:2/")
    assert (done.returncode, done.stdout) == (0, "deployment.apps/web edited\n"), done.stderr
    assert containers(release)["web"]["image"] == "nginx:2"
    assert "cancelled" in release.edit("deployment", "web", script="s/not/there/").stderr
    wrong = release.edit("deployment", "web", script="s/nginx:2/nginx:3/; s/replicas: 2/replicas: many/")
    assert wrong.returncode != 0 and containers(release)["web"]["image"] == "nginx:2"
    release("patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":4}}')
    done = release.edit("deployment", "web", "--subresource=status", script="s/^  replicas: 4/  replicas: 5/")
    assert done.returncode == 0, done.stderr
    assert release.object("deployment", "web")["status"]["replicas"] == 5
    release("create", "configmap", "c", "--from-literal=a=1")
    both = release.edit("configmap/c", "deployment/web", "-o", "json", script='s/"a": "1"/"a": "2"/; s/fluent/fluent:9/')
    assert both.returncode == 0, both.stderr
    assert (release.object("configmap", "c")["data"], containers(release)["log"]["image"]) == ({"a": "2"}, "fluent:9")


def test_replace(kubectl):
    kubectl("create", "-f", "-", text=DEPLOYMENT)
    before = kubectl.object("deployment", "web")
    assert kubectl("replace", "-f", "-", text=DEPLOYMENT.replace("nginx:1", "nginx:3")) == "deployment.apps/web replaced\n"
    after = kubectl.object("deployment", "web")
    assert containers(kubectl)["web"]["image"] == "nginx:3" and after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["generation"] == 2
    refused = kubectl.fails("replace", "-f", "-", text=json.dumps({**before, "spec": {**before["spec"], "replicas": 3}}))
    assert "the object has been modified; please apply your changes to the latest version and try again" in refused
    forced = kubectl("replace", "--force", "-f", "-", text=DEPLOYMENT).splitlines()
    assert forced[0].startswith('deployment.apps "web" ') and forced[-1] == "deployment.apps/web replaced"
    assert kubectl.object("deployment", "web")["metadata"]["uid"] != before["metadata"]["uid"]
    assert 'deployments.apps "other" not found' in kubectl.fails("replace", "-f", "-", text=DEPLOYMENT.replace("{name: web}", "{name: other}"))
    status = {**kubectl.object("deployment", "web"), "status": {"replicas": 7}}
    kubectl("replace", "--subresource=status", "-f", "-", text=json.dumps(status))
    assert kubectl.object("deployment", "web")["status"] == {"replicas": 7}


@pytest.mark.parametrize("command", ["label", "annotate"])
def test_labels_and_annotations(kubectl, command):
    field = {"label": "labels", "annotate": "annotations"}[command]

    def values() -> dict | None:
        return kubectl.object("configmap", "c")["metadata"].get(field)

    kubectl("create", "configmap", "c")
    kubectl("create", "configmap", "d")
    kubectl(command, "configmap", "c", "tier=front", "example.com/a=1")
    assert values() == {"tier": "front", "example.com/a": "1"}
    assert "already has a value (front)" in kubectl.fails(command, "configmap", "c", "tier=back")
    kubectl(command, "configmap", "c", "tier=back", "example.com/a-", "--overwrite")
    assert values() == {"tier": "back"}
    version = kubectl.object("configmap", "c")["metadata"]["resourceVersion"]
    assert "object has been modified" in kubectl.fails(command, "configmap", "c", "--resource-version=1", "b=1")
    kubectl(command, "configmap", "c", f"--resource-version={version}", "b=1")
    assert '"tier":"back"' in kubectl("get", "configmap", "c", "-o", f"jsonpath={{.metadata.{field}}}")
    assert "tier=back" in kubectl(command, "configmap", "c", "--list")
    kubectl(command, "configmaps", "--all", "tier-", "b-")
    assert values() is None
    wrong = kubectl.fails(command, "configmap", "c", "-bad-=x" if command == "annotate" else "a=not a value")
    assert "nvalid" in wrong or "unknown" in wrong


def test_set(kubectl):
    kubectl("create", "-f", "-", text=DEPLOYMENT)
    kubectl("create", "serviceaccount", "bot")
    kubectl("set", "image", "deployment/web", "web=nginx:9", "log=fluent:9")
    kubectl("create", "configmap", "settings", "--from-literal=LEVEL=3")
    kubectl("set", "env", "deployment/web", "MODE=fast", "-c", "web")
    kubectl("set", "env", "deployment/web", "--from=configmap/settings", "-c", "web")
    kubectl("set", "resources", "deployment/web", "-c=web", "--requests=cpu=100m", "--limits=cpu=200m,memory=64Mi")
    kubectl("set", "serviceaccount", "deployment", "web", "bot")
    found = containers(kubectl)
    assert (found["web"]["image"], found["log"]["image"]) == ("nginx:9", "fluent:9")
    level = {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"key": "LEVEL", "name": "settings"}}}
    assert sorted(found["web"]["env"], key=lambda one: one["name"]) == [level, {"name": "MODE", "value": "fast"}]
    assert found["web"]["resources"] == {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m", "memory": "64Mi"}}
    assert kubectl.object("deployment", "web")["spec"]["template"]["spec"]["serviceAccountName"] == "bot"
    assert "MODE=fast" in kubectl("set", "env", "deployment/web", "--list")
    kubectl("set", "env", "deployment/web", "MODE-", "LEVEL-")
    assert "env" not in containers(kubectl)["web"]
    kubectl("create", "service", "clusterip", "web", "--tcp=80")
    kubectl("set", "selector", "service", "web", "app=other,tier=front")
    assert kubectl.object("service", "web")["spec"]["selector"] == {"app": "other", "tier": "front"}
    kubectl("create", "rolebinding", "views", "--clusterrole=view", "--user=ann")
    kubectl("set", "subject", "rolebinding", "views", "--user=bob", "--group=staff", f"--serviceaccount={kubectl.namespace}:bot")
    assert [s["name"] for s in kubectl.object("rolebinding", "views")["subjects"]] == ["ann", "bob", "staff", "bot"]


def test_scale(release):
    """Preconditions are kubectl's own check; then it patches the scale subresource, or updates it."""
    release("create", "-f", "-", text=DEPLOYMENT)
    assert release("scale", "deployment", "web", "--replicas=4", "--current-replicas=2") == "deployment.apps/web scaled\n"
    assert "Expected replicas to be 2, was 4" in release.fails("scale", "deployment", "web", "--replicas=4", "--current-replicas=2")
    version = release.object("deployment", "web")["metadata"]["resourceVersion"]
    release("scale", "deployment/web", "--replicas=1", f"--resource-version={version}")
    assert "Expected resource version to be" in release.fails("scale", "deployment/web", "--replicas=2", f"--resource-version={version}")
    assert release.object("deployment", "web")["spec"]["replicas"] == 1
    release("create", "-f", "-", text='{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}')
    assert "the server could not find the requested resource" in release.fails("scale", "configmap/c", "--replicas=2")


def test_autoscale_and_expose(release):
    """Which version of the autoscaler is created differs: v1 in older releases, v2 in newer ones.  A flag was renamed, too."""
    release("create", "-f", "-", text=DEPLOYMENT)
    release("autoscale", "deployment", "web", "--min=1", "--max=3", "--cpu-percent=50")
    spec = release.object("hpa", "web")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"], spec["scaleTargetRef"]) == (1, 3, {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"})
    assert spec["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]
    row = release.table("get", "hpa", "web")[1]
    assert row[:6] == ["web", "Deployment/web", "cpu: <unknown>/50%", "1", "3", "0"]
    old = json.loads(release("get", "--raw", f"/apis/autoscaling/v1/namespaces/{release.namespace}/horizontalpodautoscalers/web"))
    assert old["spec"]["targetCPUUtilizationPercentage"] == 50

    release("expose", "deployment", "web", "--port=8080", "--target-port=80", "--name=front", "--type=NodePort", "--labels=a=b")
    front = release.object("service", "front")
    assert (front["spec"]["type"], front["spec"]["selector"], front["metadata"]["labels"]) == ("NodePort", {"app": "web"}, {"a": "b"})
    assert [(p["port"], p["targetPort"]) for p in front["spec"]["ports"]] == [(8080, 80)]
    release("expose", "deployment", "web")
    assert [(p["port"], p["targetPort"]) for p in release.object("service", "web")["spec"]["ports"]] == [(80, 80)]
    release("expose", "service", "web", "--port=9090", "--name=again", "--cluster-ip=None")
    assert release.object("service", "again")["spec"]["clusterIP"] == "None"
    release("run", "alone", "--image=busybox", "--port=5000", "--expose", "--labels=app=alone")
    assert release.object("service", "alone")["spec"]["ports"][0]["port"] == 5000
