"""What people type every day."""

import json
import subprocess

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: nginx:1
        ports: [{containerPort: 80}]
      - name: log
        image: fluent
"""


def test_create_in_its_many_forms(kubectl):
    """The generators send protobuf, manifests JSON."""
    kubectl("create", "deployment", "web", "--image=nginx", "--replicas=3")
    kubectl("create", "configmap", "conf", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "pw", "--from-literal=p=q")
    kubectl("create", "service", "clusterip", "web", "--tcp=80:8080")
    kubectl("create", "serviceaccount", "bot")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "readers", "--role=reader", "--user=ann")
    kubectl("create", "job", "once", "--image=busybox", "--", "echo", "hi")
    kubectl("create", "cronjob", "often", "--schedule=*/5 * * * *", "--image=busybox")
    kubectl("create", "ingress", "web", "--rule=web.example/=web:80")
    kubectl("create", "quota", "small", "--hard=pods=3")
    kubectl("create", "poddisruptionbudget", "steady", "--selector=app=web", "--min-available=1")
    kubectl("run", "alone", "--image=busybox", "--labels=app=alone", "--env=A=B", "--port=80")
    assert kubectl.json("get", "deployment", "web")["spec"]["replicas"] == 3
    assert kubectl.json("get", "configmap", "conf")["data"] == {"a": "b"}
    assert kubectl.json("get", "secret", "pw")["data"] == {"p": "cQ=="}
    assert kubectl.json("get", "pod", "alone")["spec"]["containers"][0]["env"] == [{"name": "A", "value": "B"}]
    assert "already exists" in kubectl.fails("create", "configmap", "conf")


def test_apply_merges_with_what_others_wrote(kubectl):
    assert kubectl("apply", "-f", "-", text=DEPLOYMENT) == "deployment.apps/web created\n"
    assert kubectl("apply", "-f", "-", text=DEPLOYMENT) == "deployment.apps/web unchanged\n"
    kubectl("scale", "deployment", "web", "--replicas=5")
    without_replicas = DEPLOYMENT.replace("  replicas: 2\n", "").replace("nginx:1", "nginx:2")
    kubectl("annotate", "deployment", "web", "who=someone-else")
    changed = without_replicas.replace("      - name: log\n        image: fluent\n", "")
    differences = kubectl.run("diff", "-f", "-", text=changed)
    assert differences.returncode == 1
    assert "+      - image: nginx:2" in differences.stdout
    assert kubectl("apply", "-f", "-", text=changed) == "deployment.apps/web configured\n"
    live = kubectl.json("get", "deployment", "web")
    assert [(c["name"], c["image"]) for c in live["spec"]["template"]["spec"]["containers"]] == [("web", "nginx:2")]
    assert live["metadata"]["annotations"]["who"] == "someone-else"
    assert kubectl.run("diff", "-f", "-", text=changed).returncode == 0


def test_get_prints_the_usual_columns(kubectl):
    kubectl("apply", "-f", "-", text=DEPLOYMENT)
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    heading, row = kubectl("get", "deployments").splitlines()
    assert heading.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "0/2", "0", "0"]
    wide = kubectl("get", "deployments", "-o", "wide").splitlines()[1].split()
    assert wide[5:] == ["web,log", "nginx:1,fluent", "app=web"]
    service = kubectl("get", "service", "web", "--no-headers").split()
    assert (service[0], service[1], service[4]) == ("web", "ClusterIP", "80/TCP")
    assert kubectl("get", "deployment", "web", "-o", "name") == "deployment.apps/web\n"
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "2"
    assert kubectl("get", "deployment", "web", "-o", "custom-columns=N:.metadata.name", "--no-headers") == "web\n"
    assert kubectl("get", "deployment", "-l", "app=none") == ""
    everything = kubectl("get", "all")
    assert "deployment.apps/web" in everything and "service/web" in everything
    assert "kube-system" in kubectl("get", "namespaces", "--show-labels")
    assert kubectl("get", "--raw", "/version").startswith("{")


def test_labels_annotations_and_patches(kubectl):
    kubectl("create", "configmap", "c", "--from-literal=a=1")
    kubectl("label", "configmap", "c", "tier=front")
    assert "already has a value" in kubectl.fails("label", "configmap", "c", "tier=back")
    kubectl("label", "configmap", "c", "tier=back", "--overwrite")
    kubectl("annotate", "configmap", "c", "note=x")
    kubectl("annotate", "configmap", "c", "note-")
    kubectl("patch", "configmap", "c", "--type=merge", "-p", '{"data":{"b":"2"}}')
    kubectl("patch", "configmap", "c", "--type=json", "-p", '[{"op":"remove","path":"/data/a"}]')
    kubectl("patch", "configmap", "c", "-p", '{"data":{"c":"3"}}')
    live = kubectl.json("get", "configmap", "c")
    assert live["data"] == {"b": "2", "c": "3"}
    assert live["metadata"]["labels"] == {"tier": "back"}
    assert "annotations" not in live["metadata"]
    assert kubectl("get", "configmap", "-l", "tier in (back)", "-o", "name") == "configmap/c\n"


def test_scale_set_rollout_and_edit(kubectl, tmp_path):
    kubectl("apply", "-f", "-", text=DEPLOYMENT)
    kubectl("scale", "deployment", "web", "--replicas=4", "--current-replicas=2")
    assert "Expected replicas to be 2" in kubectl.fails("scale", "deployment", "web", "--replicas=4", "--current-replicas=2")
    kubectl("set", "image", "deployment/web", "web=nginx:9")
    kubectl("set", "env", "deployment/web", "MODE=fast")
    kubectl("set", "resources", "deployment/web", "--requests=cpu=100m")
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "pause", "deployment/web")
    kubectl("autoscale", "deployment", "web", "--min=1", "--max=3", "--cpu-percent=50")
    editor = tmp_path / "editor.sh"
    editor.write_text("#!/bin/sh\nsed -i s/nginx:9/nginx:10/ $1\n")
    editor.chmod(0o755)
    command = ["kubectl", "--kubeconfig", str(kubectl.kubeconfig), "-n", kubectl.namespace, "edit", "deployment", "web"]
    subprocess.run(command, env={"HOME": str(kubectl.home), "PATH": "/usr/bin:/bin", "KUBE_EDITOR": str(editor)}, check=True, capture_output=True, timeout=60)
    spec = kubectl.json("get", "deployment", "web")["spec"]
    assert (spec["replicas"], spec["paused"]) == (4, True)
    container = spec["template"]["spec"]["containers"][0]
    assert (container["image"], container["env"], container["resources"]) == ("nginx:10", [{"name": "MODE", "value": "fast"}], {"requests": {"cpu": "100m"}})
    assert kubectl.json("get", "hpa", "web")["spec"]["maxReplicas"] == 3


def test_replace_and_delete(kubectl):
    kubectl("create", "-f", "-", text=DEPLOYMENT)
    kubectl("replace", "-f", "-", text=DEPLOYMENT.replace("nginx:1", "nginx:3"))
    before = kubectl.json("get", "deployment", "web")["metadata"]["uid"]
    kubectl("replace", "--force", "-f", "-", text=DEPLOYMENT)
    assert kubectl.json("get", "deployment", "web")["metadata"]["uid"] != before
    assert kubectl("delete", "deployment", "web", "--cascade=background").strip().startswith('deployment.apps "web" deleted')
    assert "NotFound" in kubectl.fails("get", "deployment", "web")
    for index in range(3):
        kubectl("create", "configmap", f"c{index}")
    kubectl("label", "configmap", "c0", "keep=yes")
    kubectl("delete", "configmap", "-l", "!keep")
    assert kubectl("get", "configmap", "-o", "name") == "configmap/c0\n"
    kubectl("delete", "configmap", "--all")
    kubectl("delete", "configmap", "nope", "--ignore-not-found")


def test_wait_and_watch(kubectl):
    kubectl("run", "p", "--image=busybox")
    status = '{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}'
    waiting = subprocess.Popen(
        ["kubectl", "--kubeconfig", str(kubectl.kubeconfig), "-n", kubectl.namespace, "wait", "pod/p", "--for=condition=Ready", "--timeout=30s"],
        env={"HOME": str(kubectl.home), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    kubectl("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", status)
    assert waiting.communicate(timeout=40)[0] == "pod/p condition met\n"
    kubectl("delete", "pod", "p")
    kubectl("wait", "--for=delete", "pod/p", "--timeout=10s")
    watching = kubectl.run("get", "configmaps", "--watch", "--request-timeout=1s")
    assert watching.returncode == 0


def test_describe_explain_and_api_resources(kubectl):
    kubectl("apply", "-f", "-", text=DEPLOYMENT)
    described = kubectl("describe", "deployment", "web")
    assert "StrategyType:           RollingUpdate" in described
    explained = kubectl("explain", "deployment.spec.template.spec.containers.livenessProbe")
    assert "FIELD: livenessProbe <Probe>" in explained
    assert "initialDelaySeconds" in explained
    assert "replicas\t<integer>" in kubectl("explain", "deployment.spec")
    resources = kubectl("api-resources", "--no-headers")
    assert any(line.split()[:4] == ["deployments", "deploy", "apps/v1", "true"] for line in resources.splitlines())
    assert "apps/v1" in kubectl("api-versions").splitlines()
    assert "Kubernetes control plane" in kubectl("cluster-info")
    assert json.loads(kubectl("version", "-o", "json"))["serverVersion"]["minor"] == "35"


def test_a_wrong_manifest_gets_the_field_and_the_reason(kubectl):
    misspelt = DEPLOYMENT.replace("replicas: 2", "replica: 2")
    assert 'unknown field "spec.replica"' in kubectl.fails("apply", "-f", "-", text=misspelt)
    mistyped = DEPLOYMENT.replace("replicas: 2", "replicas: two")
    assert "spec.replicas" in kubectl.fails("apply", "-f", "-", text=mistyped)
    unmatched = DEPLOYMENT.replace("matchLabels: {app: web}", "matchLabels: {app: other}")
    assert "`selector` does not match template `labels`" in kubectl.fails("apply", "-f", "-", text=unmatched)
    unnamed = DEPLOYMENT.replace("  name: web\nspec", "  name: Web_1\nspec")
    assert "metadata.name: Invalid value" in kubectl.fails("apply", "-f", "-", text=unnamed)


def test_dry_run_changes_nothing(kubectl):
    assert "created (server dry run)" in kubectl("apply", "--dry-run=server", "-f", "-", text=DEPLOYMENT)
    assert kubectl("get", "deployments") == ""


def test_nodes_cordon_taint(kubectl):
    node = '{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}'
    kubectl("create", "-f", "-", text=node)
    kubectl("cordon", "n1")
    kubectl("taint", "node", "n1", "k=v:NoSchedule")
    assert "SchedulingDisabled" in kubectl("get", "nodes")
    kubectl("uncordon", "n1")
    kubectl("drain", "n1", "--ignore-daemonsets", "--timeout=5s")
    kubectl("delete", "node", "n1")


def test_who_may_do_what(kubectl, as_ann):
    assert "ann" in as_ann("auth", "whoami")
    assert 'User "ann" cannot list resource "pods"' in as_ann.fails("get", "pods")
    kubectl("create", "role", "views", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "ann-views", "--role=views", "--user=ann")
    assert as_ann("get", "pods") == ""
    assert as_ann("auth", "can-i", "list", "pods") == "yes\n"
    assert as_ann.run("auth", "can-i", "delete", "pods").stdout == "no\n"
    assert 'cannot list resource "secrets"' in as_ann.fails("get", "secrets")
    token = kubectl("create", "token", "default")
    assert len(token.split(".")) == 3


def test_each_release_of_kubectl(release):
    release("create", "deployment", "web", "--image=nginx")
    release("get", "deployments")
    release("scale", "deployment", "web", "--replicas=2")
    release("apply", "-f", "-", text=DEPLOYMENT.replace("name: web\nspec", "name: applied\nspec"))
    release("apply", "-f", "-", text=DEPLOYMENT.replace("name: web\nspec", "name: applied\nspec").replace("nginx:1", "nginx:2"))
    release("explain", "pod.spec")
    release("label", "deployment", "web", "a=b")
    release("delete", "deployment", "web", "applied")


def test_a_killed_apiserver_comes_back_with_everything(cluster, kubectl):
    kubectl("create", "configmap", "kept", "--from-literal=a=b")
    cluster.processes["apiserver"].kill()
    cluster.processes["apiserver"].wait()
    cluster.start_apiserver()
    cluster.wait_ready()
    assert kubectl.json("get", "configmap", "kept")["data"] == {"a": "b"}


def test_a_killed_etcd_loses_nothing_and_watches_go_on(cluster, kubectl):
    kubectl("create", "configmap", "kept", "--from-literal=a=b")
    watching = subprocess.Popen(
        ["kubectl", "--kubeconfig", str(kubectl.kubeconfig), "-n", kubectl.namespace, "get", "configmaps", "--watch", "-o", "name"],
        env={"HOME": str(kubectl.home), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    assert watching.stdout.readline() == "configmap/kept\n"
    cluster.processes["etcd"].kill()
    cluster.processes["etcd"].wait()
    cluster.start_etcd()
    cluster.wait_ready()
    assert kubectl.json("get", "configmap", "kept")["data"] == {"a": "b"}
    kubectl("create", "configmap", "new")
    assert watching.stdout.readline() == "configmap/new\n"
    watching.terminate()
    watching.communicate()


def test_server_side_apply(kubectl):
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", text=DEPLOYMENT)
    kubectl("scale", "deployment", "web", "--replicas=7")
    refused = kubectl.fails("apply", "--server-side", "-f", "-", text=DEPLOYMENT)
    assert "Apply failed with 1 conflict" in refused and ".spec.replicas" in refused
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=DEPLOYMENT)
    live = json.loads(kubectl("get", "deployment", "web", "-o", "json", "--show-managed-fields"))
    assert live["spec"]["replicas"] == 2
    assert [(entry["manager"], entry["operation"]) for entry in live["metadata"]["managedFields"]] == [("kubectl", "Apply")]
    assert "managedFields" not in kubectl.json("get", "deployment", "web")["metadata"]


def test_a_client_side_applied_object_becomes_a_server_side_applied_one(kubectl):
    kubectl("apply", "-f", "-", text=DEPLOYMENT)
    kubectl("apply", "--server-side", "-f", "-", text=DEPLOYMENT.replace("      - name: log\n        image: fluent\n", ""))
    live = json.loads(kubectl("get", "deployment", "web", "-o", "json", "--show-managed-fields"))
    assert [container["name"] for container in live["spec"]["template"]["spec"]["containers"]] == ["web"]
    assert ("kubectl", "Apply") in [(entry["manager"], entry["operation"]) for entry in live["metadata"]["managedFields"]]
