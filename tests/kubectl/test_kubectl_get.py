"""`kubectl get` in every output form, with every way to select.

The tables, chunks, watches and what is sorted are tried with all releases: each asks for them in its own way.
"""

import json
import re

import pytest
import yaml

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web, tier: front}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "nginx:1"}
      - {name: log, image: fluent}
"""


@pytest.fixture
def three(kubectl):
    """Config maps a, b, c with tiers front, back and none."""
    for name, labels in (("a", {"tier": "front", "size": "3"}), ("b", {"tier": "back", "size": "1"}), ("c", {"size": "2"})):
        body = {"metadata": {"name": name, "labels": labels, "annotations": {"weight": str(9 - int(labels["size"]))}}, "data": {name: name}}
        kubectl.ask(f"/api/v1/namespaces/{kubectl.namespace}/configmaps", body)
    return kubectl


def test_tables(release):
    release("apply", "-f", "-", text=DEPLOYMENT)
    heading, row = release("get", "deployments").splitlines()
    assert heading.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "0/2", "0", "0"] and re.fullmatch(r"\d+s", row.split()[4])
    heading, row = release.table("get", "deployments", "-o", "wide", "--show-labels", "-L", "tier")
    assert heading == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR", "TIER", "LABELS"]
    assert row[5:] == ["web,log", "nginx:1,fluent", "app=web", "front", "app=web,tier=front"]
    release("create", "service", "clusterip", "web", "--tcp=80")
    everything = release("get", "all")
    assert "deployment.apps/web" in everything and "service/web" in everything
    several = release("get", "deployment/web", "service/web", "--no-headers").splitlines()
    assert [line.split()[0] for line in several if line] == ["deployment.apps/web", "service/web"]
    assert release("get", "deployment,service", "--show-kind", "-o", "name") == "deployment.apps/web\nservice/web\n"
    assert release("get", "deployments", "--show-kind", "--no-headers").startswith("deployment.apps/web ")
    assert release.run("get", "pods").stderr == f"No resources found in {release.namespace} namespace.\n"


def test_structured_output(kubectl):
    kubectl("apply", "-f", "-", text=DEPLOYMENT)
    as_json = json.loads(kubectl("get", "deployment", "web", "-o", "json"))
    as_yaml = yaml.safe_load(kubectl("get", "deployment", "web", "-o", "yaml"))
    assert as_json == as_yaml
    assert (as_json["kind"], as_json["apiVersion"], as_json["metadata"]["generation"]) == ("Deployment", "apps/v1", 1)
    listed = json.loads(kubectl("get", "deployments,services", "-o", "json"))
    assert (listed["kind"], [item["kind"] for item in listed["items"]]) == ("List", ["Deployment"])
    assert kubectl("get", "deployment", "web", "-o", "name") == "deployment.apps/web\n"
    assert "f:metadata" in kubectl("get", "deployment", "web", "-o", "yaml", "--show-managed-fields")


def test_templates(kubectl):
    kubectl("apply", "-f", "-", text=DEPLOYMENT)
    get = ("get", "deployment", "web", "-o")
    assert kubectl(*get, "jsonpath={.spec.replicas} {.spec.template.spec.containers[*].name}") == "2 web log"
    assert kubectl(*get, 'jsonpath={range .spec.template.spec.containers[?(@.name=="log")]}{.image}{"\\n"}{end}') == "fluent\n"
    assert json.loads(kubectl(*get, "jsonpath-as-json={.metadata.labels}")) == [{"app": "web", "tier": "front"}]
    assert kubectl(*get, "go-template={{range .spec.template.spec.containers}}{{.image}};{{end}}") == "nginx:1;fluent;"
    columns = "N:.metadata.name,IMAGES:.spec.template.spec.containers[*].image,NONE:.spec.absent"
    assert kubectl.table(*get, f"custom-columns={columns}") == [["N", "IMAGES", "NONE"], ["web", "nginx:1,fluent", "<none>"]]
    file = kubectl.home / "columns"
    file.write_text("NAME REPLICAS\n.metadata.name .spec.replicas\n")
    assert kubectl.table(*get, f"custom-columns-file={file}") == [["NAME", "REPLICAS"], ["web", "2"]]
    file.write_text("{.metadata.name}")
    assert kubectl(*get, f"jsonpath-file={file}") == "web"
    file.write_text("{{.metadata.name}}")
    assert kubectl(*get, f"go-template-file={file}") == "web"


def test_what_is_selected(three):
    def names(*words: str) -> str:
        return " ".join(name.removeprefix("configmap/") for name in three("get", "configmaps", "-o", "name", *words).split())

    assert names("-l", "tier=front") == "a"
    assert names("-l", "tier!=front") == "b c"
    assert names("-l", "tier in (front, back)") == "a b"
    assert names("-l", "tier notin (front)") == "b c"
    assert names("-l", "tier") == "a b"
    assert names("-l", "!tier,size=2") == "c"
    assert names("--field-selector=metadata.name=b") == "b"
    assert names("--field-selector=metadata.name!=b,metadata.namespace!=default") == "a c"
    assert "unable to parse requirement" in three.fails("get", "configmaps", "-l", "a in b")
    assert '"data" is not a known field selector' in three.fails("get", "configmaps", "--field-selector=data=1")
    three("run", "p", "--image=busybox", "--overrides", '{"spec":{"nodeName":"n9"}}')
    assert three("get", "pods", "--field-selector=spec.nodeName=n9,status.phase=Pending", "-o", "name") == "pod/p\n"
    assert three("get", "pods", "--field-selector=status.phase=Running", "-o", "name") == ""


def test_order_chunks_and_all_namespaces(release):
    for name, size in (("a", 3), ("b", 1), ("c", 2)):
        body = {"metadata": {"name": name, "annotations": {"size": str(size)}, "labels": {"of": release.namespace}}}
        release.ask(f"/api/v1/namespaces/{release.namespace}/configmaps", body)
    assert release("get", "configmaps", "--sort-by=.metadata.annotations.size", "-o", "name").split() == ["configmap/b", "configmap/c", "configmap/a"]
    rows = release("get", "configmaps", "--sort-by={.metadata.annotations.size}", "--no-headers").splitlines()
    assert [row.split()[0] for row in rows] == ["b", "c", "a"]
    chunked = release.run("get", "configmaps", "--chunk-size=1", "-o", "name", "-v=6")
    assert chunked.stdout.split() == ["configmap/a", "configmap/b", "configmap/c"]
    assert chunked.stderr.count("limit=1") == 3 and chunked.stderr.count("continue=") == 2
    heading, *rows = release.table("get", "configmaps", "--all-namespaces", "-l", f"of={release.namespace}")
    assert heading[:2] == ["NAMESPACE", "NAME"] and [row[:2] for row in rows] == [[release.namespace, name] for name in "abc"]


def test_a_watch_prints_what_happens(release):
    """Releases differ in whether they list first or let the watch send what is there."""
    limited = ("get", "configmaps", "--watch", "--request-timeout=5s")
    with release.start(*limited) as ending, release.start("get", "configmaps", "--watch", "--output-watch-events") as watch:
        release.ask(f"/api/v1/namespaces/{release.namespace}/configmaps", {"metadata": {"name": "first"}})
        assert watch.line().split() == ["EVENT", "NAME", "DATA", "AGE"]
        assert watch.line().split()[:3] == ["ADDED", "first", "0"]
        release("label", "configmap", "first", "a=b")
        assert watch.line().split()[:2] == ["MODIFIED", "first"]
        release("delete", "configmap", "first")
        assert watch.line().split()[:2] == ["DELETED", "first"]
        assert ending.ends() == 0, ending.rest("err")
    release.ask(f"/api/v1/namespaces/{release.namespace}/configmaps", {"metadata": {"name": "second"}})
    form = "jsonpath={.metadata.labels.a}{'\\n'}"
    with release.start("get", "configmap", "second", "--watch-only", "-o", form, "-v=6") as only:
        only.until("watch=true", of="err")
        release("label", "configmap", "second", "a=b")
        assert only.line() == "b\n"


def test_raw_paths_and_what_is_not_there(kubectl):
    assert json.loads(kubectl("get", "--raw", "/version"))["major"] == "1"
    assert kubectl("get", "--raw", "/livez") == "ok"
    assert json.loads(kubectl("get", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/configmaps?limit=1"))["kind"] == "ConfigMapList"
    assert kubectl.fails("get", "configmap", "none") == 'Error from server (NotFound): configmaps "none" not found\n'
    assert kubectl("get", "configmap", "none", "--ignore-not-found") == ""
    assert 'the server doesn\'t have a resource type "widgets"' in kubectl.fails("get", "widgets")
    assert kubectl("get", "cm", "--ignore-not-found") == ""
    assert kubectl("get", "deployments.v1.apps") == kubectl("get", "deploy") == ""
    kubectl("create", "deployment", "web", "--image=nginx")
    assert kubectl.json("get", "deployment", "web", "--subresource=status")["kind"] == "Deployment"
