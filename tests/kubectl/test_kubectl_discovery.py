"""`explain`, `api-resources`, `api-versions`, `cluster-info` and `version`, by every release.

Discovery is legacy or aggregated, and the OpenAPI document protobuf v2 or JSON v3, depending on the release.
"""

import json

import pytest

from k8sfromscratch.api.registry import RESOURCES


def test_explain(release):
    field = release("explain", "deployment.spec.template.spec.containers.livenessProbe")
    assert "GROUP:      apps" in field and "VERSION:    v1" in field and "livenessProbe <Probe>" in field
    assert "initialDelaySeconds" in field
    assert "replicas\t<integer>" in release("explain", "deployment.spec")
    assert "required" in release("explain", "pod.spec.containers")
    assert "restartPolicy <string>" in release("explain", "pod.spec.restartPolicy")
    assert "Pod is a collection of containers" in release("explain", "pods")
    recursive = release("explain", "ingress", "--recursive")
    assert "pathType" in recursive and "secretName" in recursive
    assert "targetCPUUtilizationPercentage" in release("explain", "hpa.spec", "--api-version=autoscaling/v1")
    assert 'field "nothing" does not exist' in release.fails("explain", "pod.spec.nothing")
    assert "the server doesn't have a resource type" in release.fails("explain", "widgets")


def test_explain_by_the_older_document(release):
    """The second output form reads OpenAPI v2, as all releases before 1.27 did."""
    assert "initialDelaySeconds" in release("explain", "pod.spec.containers.livenessProbe", "--output=plaintext-openapiv2")


def test_every_kind_is_explained(kubectl):
    """A kind whose GVK is missing in the document would be 'couldn't find resource'."""
    listed = [line.split() for line in kubectl("api-resources", "--no-headers", "--verbs=create,get").splitlines()]
    explained = {f"{words[0]}.{words[-3].partition('/')[0]}" if "/" in words[-3] else words[0] for words in listed}
    assert len(explained) > 50
    for resource in sorted(explained)[::6]:
        assert "DESCRIPTION:" in kubectl("explain", resource), resource


def test_api_resources(release):
    lines = [line.split() for line in release("api-resources", "--no-headers").splitlines()]
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in lines
    assert ["nodes", "no", "v1", "false", "Node"] in lines
    preferred = {(words[-1], words[0]) for words in lines}
    missing = {(one.kind, one.plural) for one in RESOURCES} - preferred
    assert missing == set()
    assert set(release("api-resources", "--api-group=batch", "-o", "name").split()) == {"cronjobs.batch", "jobs.batch"}
    cluster_wide = release("api-resources", "--namespaced=false", "-o", "name").split()
    assert "nodes" in cluster_wide and "pods" not in cluster_wide
    wide = release("api-resources", "-o", "wide", "--sort-by=kind", "--categories=all")
    assert "create,delete,deletecollection,get,list,patch,update,watch" in wide and "configmaps" not in wide


def test_api_versions(release):
    versions = release("api-versions").split()
    assert {"v1", "apps/v1", "autoscaling/v1", "autoscaling/v2", "batch/v1", "apiextensions.k8s.io/v1", "resource.k8s.io/v1"} <= set(versions)
    assert versions == sorted(versions)


def test_version(release):
    told = json.loads(release("version", "-o", "json"))
    assert (told["serverVersion"]["major"], told["serverVersion"]["minor"]) == ("1", "35")
    assert told["clientVersion"]["minor"] == str(release.minor()) or release.minor() == 99
    assert "Server Version: v1.35" in release("version", *(["--short"] if release.minor() < 28 else []))


def test_cluster_info(kubectl, tmp_path):
    assert "Kubernetes control plane" in kubectl("cluster-info")
    kubectl("create", "deployment", "web", "--image=nginx")
    kubectl("cluster-info", "dump", f"--namespaces={kubectl.namespace}", f"--output-directory={tmp_path}")
    dumped = json.loads((tmp_path / kubectl.namespace / "deployments.json").read_text())
    assert [item["metadata"]["name"] for item in dumped["items"]] == ["web"]
    assert json.loads((tmp_path / "nodes.json").read_text())["kind"] == "NodeList"


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_openapi_is_there_in_json_too(kubectl, version):
    document = json.loads(kubectl("get", "--raw", f"/openapi/{version}"))
    assert "apis/apps/v1" in document["paths"] or "/apis/apps/v1/namespaces/{namespace}/deployments/{name}" in document["paths"]
