"""`kubectl apply` and `diff`, client side and server side.

All releases where the patch is computed by kubectl (from OpenAPI v2 in older releases, v3 in newer ones), for pruning, and for the move
from one side to the other, which each release does in its own way.
"""

import json

import pytest
import yaml

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {tier: front}
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
        args: [one, two]
        ports: [{containerPort: 80}]
      - name: log
        image: fluent
"""
WITHOUT_LOG = DEPLOYMENT.replace("      - name: log\n        image: fluent\n", "")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def config_map(name: str, *, app: str = "", **data: str) -> str:
    labels = {"labels": {"app": app}} if app else {}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **labels}, "data": data})


def managers(kubectl, *words: str) -> list[tuple[str, str]]:
    live = json.loads(kubectl("get", *words, "-o", "json", "--show-managed-fields"))
    return [(entry["manager"], entry["operation"]) for entry in live["metadata"]["managedFields"]]


def test_client_side_merges_with_what_others_wrote(release):
    """What was applied before and is gone now is removed, what others wrote stays; lists merge by their key, or are replaced as a whole."""
    assert release("apply", "-f", "-", text=DEPLOYMENT) == "deployment.apps/web created\n"
    assert release("apply", "-f", "-", text=DEPLOYMENT) == "deployment.apps/web unchanged\n"
    sidecar = {"spec": {"replicas": 5, "template": {"spec": {"containers": [{"name": "injected", "image": "proxy"}]}}}}
    release("patch", "deployment", "web", "-p", json.dumps(sidecar))
    changed = WITHOUT_LOG.replace("  replicas: 2\n", "").replace("nginx:1", "nginx:2").replace("[one, two]", "[two]").replace("  labels: {tier: front}\n", "")
    assert release("apply", "-f", "-", text=changed) == "deployment.apps/web configured\n"
    live = release.object("deployment", "web")
    containers = {c["name"]: (c["image"], c.get("args")) for c in live["spec"]["template"]["spec"]["containers"]}
    assert containers == {"web": ("nginx:2", ["two"]), "injected": ("proxy", None)}
    assert "labels" not in live["metadata"]
    assert json.loads(live["metadata"]["annotations"][LAST_APPLIED])["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"


@pytest.mark.parametrize("side", ["--server-side=false", "--server-side"])
def test_diff_tells_what_apply_would_do(release, side):
    """0: no difference, 1: differences, more: an error."""
    release("apply", side, "-f", "-", text=DEPLOYMENT)
    same = release.run("diff", side, "-f", "-", text=DEPLOYMENT)
    assert (same.returncode, same.stdout) == (0, "")
    changed = release.run("diff", side, "-f", "-", text=DEPLOYMENT.replace("nginx:1", "nginx:2"))
    lines = {line[0] + line[1:].strip(" -") for line in changed.stdout.splitlines() if line[0] in "+-"}
    assert changed.returncode == 1 and {"-image: nginx:1", "+image: nginx:2"} <= lines
    new = release.run("diff", side, "-f", "-", text=config_map("new", a="1"))
    assert (new.returncode, '+  a: "1"' in new.stdout) == (1, True)
    assert release.run("diff", side, "-f", "-", text=DEPLOYMENT.replace("replicas: 2", "replicas: two")).returncode > 1
    assert release("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "nginx:1"


def test_pruning_removes_what_is_no_longer_applied(release):
    """With --prune by label: every object that kubectl applied, is labelled, and is not in the set."""
    one, two = config_map("one", app="web"), config_map("two", app="web")
    release("create", "-f", "-", text=config_map("not-applied", app="web"))
    release("apply", "-f", "-", text=f"{one}\n---\n{two}")
    said = release("apply", "--prune", "-l", "app=web", "--prune-allowlist=core/v1/ConfigMap", "-f", "-", text=one)
    assert "configmap/one unchanged" in said and "configmap/two pruned" in said
    assert release("get", "configmaps", "-l", "app=web", "-o", "name").split() == ["configmap/not-applied", "configmap/one"]


def test_an_applyset_prunes_by_its_members(release):
    """KUBECTL_APPLYSET is in 1.27 and later: the set's parent is a Secret that lists the kinds; members have its label."""
    release = release.but(environment={"KUBECTL_APPLYSET": "true"})
    apply = ("apply", "--prune", "--applyset=mine", "-n", release.namespace, "-f", "-")
    release(*apply, text=f"{config_map('one')}\n---\n{config_map('two')}")
    parent = release.object("secret", "mine")["metadata"]
    assert parent["annotations"]["applyset.kubernetes.io/tooling"].startswith("kubectl/v1.")
    assert "configmap/two pruned" in release(*apply, text=config_map("one"))
    member = release.object("configmap", "one")["metadata"]
    assert member["labels"]["applyset.kubernetes.io/part-of"] == parent["labels"]["applyset.kubernetes.io/id"]
    assert "NotFound" in release.fails("get", "configmap", "two")


def test_server_side_conflicts_and_force(release):
    assert release("apply", "--server-side", "-f", "-", text=DEPLOYMENT) == "deployment.apps/web serverside-applied\n"
    release("scale", "deployment", "web", "--replicas=7")
    refused = release.fails("apply", "--server-side", "-f", "-", text=DEPLOYMENT)
    assert "Apply failed with 1 conflict" in refused and ".spec.replicas" in refused
    release("apply", "--server-side", "-f", "-", text=DEPLOYMENT.replace("  replicas: 2\n", ""))
    assert release("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "7"
    release("apply", "--server-side", "--force-conflicts", "-f", "-", text=DEPLOYMENT)
    assert release("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "2"
    assert managers(release, "deployment", "web") == [("kubectl", "Apply")]
    assert "managedFields" not in release.json("get", "deployment", "web")["metadata"]


def test_server_side_removes_what_its_manager_no_longer_applies(kubectl):
    kubectl("apply", "--server-side", "-f", "-", text=config_map("c", a="1", b="2"))
    kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", text=config_map("c", b="2", c="3"))
    kubectl("apply", "--server-side", "-f", "-", text=config_map("c", a="1"))
    assert kubectl.json("get", "configmap", "c")["data"] == {"a": "1", "b": "2", "c": "3"}
    kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", text=config_map("c", c="3"))
    assert kubectl.json("get", "configmap", "c")["data"] == {"a": "1", "c": "3"}
    assert managers(kubectl, "configmap", "c") == [("kubectl", "Apply"), ("other", "Apply")]


def test_from_client_side_to_server_side_and_back(release):
    """The fields that client-side apply owned move to the new manager, so that leaving one out removes it."""
    release("apply", "-f", "-", text=DEPLOYMENT)
    assert managers(release, "deployment", "web") == [("kubectl-client-side-apply", "Update")]
    release("apply", "--server-side", "-f", "-", text=WITHOUT_LOG)
    live = release.object("deployment", "web")
    assert [container["name"] for container in live["spec"]["template"]["spec"]["containers"]] == ["web"]
    assert ("kubectl", "Apply") in managers(release, "deployment", "web")
    assert ("kubectl-client-side-apply", "Update") not in managers(release, "deployment", "web")
    assert release("apply", "-f", "-", text=DEPLOYMENT) == "deployment.apps/web configured\n"
    live = release.object("deployment", "web")
    assert [container["name"] for container in live["spec"]["template"]["spec"]["containers"]] == ["web", "log"]


def test_lists_directories_and_the_ways_to_give_input(kubectl, tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "one.yaml").write_text(config_map("one"))
    (tmp_path / "deeper" / "two.yaml").write_text(config_map("two"))
    (tmp_path / "deeper" / "ignored.txt").write_text("not: a manifest")
    assert kubectl("apply", "-f", str(tmp_path)) == "configmap/one created\n"
    assert set(kubectl("apply", "-R", "-f", str(tmp_path)).splitlines()) == {"configmap/one unchanged", "configmap/two created"}
    items = [yaml.safe_load(config_map("three")), yaml.safe_load(config_map("four"))]
    both = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    assert kubectl("apply", "-f", "-", text=both) == "configmap/three created\nconfigmap/four created\n"
    typed = json.dumps({"apiVersion": "v1", "kind": "ConfigMapList", "items": items})
    assert kubectl("apply", "--server-side", "-f", "-", text=typed).count("serverside-applied") == 2
    assert kubectl("apply", "-o", "name", "-f", f"{tmp_path}/one.yaml", "-f", f"{tmp_path}/deeper/two.yaml") == "configmap/one\nconfigmap/two\n"
    selected = kubectl("apply", "-l", "app=b", "-f", "-", text=f"{config_map('five', app='a')}\n---\n{config_map('six', app='b')}")
    assert selected == "configmap/six created\n"


def test_last_applied_is_seen_set_and_edited(kubectl):
    kubectl("create", "-f", "-", text=config_map("c", a="1"))
    warned = kubectl.run("apply", "-f", "-", text=config_map("c", a="2"))
    assert "missing the kubectl.kubernetes.io/last-applied-configuration annotation" in warned.stderr and warned.returncode == 0
    assert json.loads(kubectl("apply", "view-last-applied", "configmap", "c", "-o", "json"))["data"] == {"a": "2"}
    kubectl("apply", "set-last-applied", "-f", "-", text=config_map("c", a="3", b="4"))
    assert json.loads(kubectl("apply", "view-last-applied", "configmap", "c", "-o", "json"))["data"] == {"a": "3", "b": "4"}
    assert kubectl.json("get", "configmap", "c")["data"] == {"a": "2"}


@pytest.mark.parametrize("side", ["--server-side=false", "--server-side"])
def test_a_dry_run_changes_nothing(kubectl, side):
    assert "(server dry run)" in kubectl("apply", side, "--dry-run=server", "-f", "-", text=DEPLOYMENT)
    assert kubectl("get", "deployments") == ""
    kubectl("apply", side, "-f", "-", text=DEPLOYMENT)
    tried = json.loads(kubectl("apply", side, "--dry-run=server", "-o", "json", "-f", "-", text=DEPLOYMENT.replace("replicas: 2", "replicas: 9")))
    assert tried["spec"]["replicas"] == 9
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "2"


def test_a_wrong_manifest_gets_the_field_and_the_reason(release):
    """All releases: validation was kubectl's own by OpenAPI v2 and is the server's now."""
    misspelt = DEPLOYMENT.replace("replicas: 2", "replica: 2")
    assert 'unknown field "spec.replica"' in release.fails("apply", "-f", "-", text=misspelt)
    warned = release.run("apply", "--validate=warn", "-f", "-", text=misspelt)
    assert (warned.returncode, 'Warning: unknown field "spec.replica"' in warned.stderr) == (0, True)
    assert release.run("apply", "--validate=ignore", "-f", "-", text=misspelt).stderr == ""
    mistyped = DEPLOYMENT.replace("replicas: 2", "replicas: two")
    assert "spec.replicas" in release.fails("apply", "-f", "-", text=mistyped)
    unmatched = DEPLOYMENT.replace("matchLabels: {app: web}", "matchLabels: {app: other}").replace("name: web\n  labels", "name: other\n  labels")
    assert "`selector` does not match template `labels`" in release.fails("apply", "-f", "-", text=unmatched)
    assert "field is immutable" in release.fails("apply", "-f", "-", text=DEPLOYMENT.replace("{app: web}", "{app: other}"))
    unnamed = DEPLOYMENT.replace("  name: web\n  labels", "  name: Web_1\n  labels")
    assert "metadata.name: Invalid value" in release.fails("apply", "-f", "-", text=unnamed)
    assert 'no matches for kind "Deploymint" in version "apps/v1"' in release.fails("apply", "-f", "-", text=DEPLOYMENT.replace("Deployment", "Deploymint"))


def test_force_makes_anew_what_cannot_change(kubectl):
    kubectl("apply", "-f", "-", text=DEPLOYMENT)
    before = kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.uid}")
    assert "deployment.apps/web" in kubectl("apply", "--force", "-f", "-", text=DEPLOYMENT.replace("{app: web}", "{app: other}"))
    live = kubectl.json("get", "deployment", "web")
    assert live["spec"]["selector"]["matchLabels"] == {"app": "other"} and live["metadata"]["uid"] != before
