"""`kubectl create KIND`: every generator there is, by every release.

All releases, because each chooses the group version and the fields that it writes itself, and because generators send protobuf, not JSON.
"""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from k8sfromscratch.process import pki


def test_workloads(release):
    release("create", "deployment", "web", "--image=nginx:1", "--image=busybox", "--replicas=3", "--port=8080")
    web = release.object("deployment", "web")
    assert (web["spec"]["replicas"], web["spec"]["selector"]["matchLabels"]) == (3, {"app": "web"})
    containers = web["spec"]["template"]["spec"]["containers"]
    assert [(c["name"], c["image"], c.get("ports")) for c in containers] == [
        ("nginx", "nginx:1", [{"containerPort": 8080, "protocol": "TCP"}]),
        ("busybox", "busybox", None),
    ]
    release("create", "deployment", "shell", "--image=busybox", "--", "sleep", "9")
    assert release("get", "deployment", "shell", "-o", "jsonpath={.spec.template.spec.containers[0].command}") == '["sleep","9"]'

    release("create", "job", "once", "--image=busybox", "--", "echo", "hi")
    once = release.object("job", "once")
    assert once["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert once["spec"]["template"]["spec"]["containers"][0]["command"] == ["echo", "hi"]
    assert once["spec"]["selector"]["matchLabels"] == {"batch.kubernetes.io/controller-uid": once["metadata"]["uid"]}

    release("create", "cronjob", "often", "--schedule=*/5 * * * *", "--image=busybox", "--restart=OnFailure", "--", "date")
    often = release.object("cronjob", "often")
    assert (often["spec"]["schedule"], often["spec"]["concurrencyPolicy"]) == ("*/5 * * * *", "Allow")
    assert often["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"] == ["date"]
    release("create", "job", "now", "--from=cronjob/often")
    now = release.object("job", "now")
    assert now["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual"
    assert [(owner["kind"], owner["name"]) for owner in now["metadata"]["ownerReferences"]] == [("CronJob", "often")]
    assert "spec.schedule: Invalid value" in release.fails("create", "cronjob", "never", "--schedule=every day", "--image=busybox")


def test_configmaps(release, tmp_path):
    (tmp_path / "one").write_text("first")
    (tmp_path / "two").write_bytes(b"\xff\x00")
    (tmp_path / "settings.env").write_text("# a comment\nMODE=fast\nLEVEL=3\n")
    release("create", "configmap", "files", f"--from-file={tmp_path}/one", f"--from-file=second={tmp_path}/two", "--from-literal=third=3")
    files = release.object("configmap", "files")
    assert files["data"] == {"one": "first", "third": "3"}
    assert files["binaryData"] == {"second": base64.b64encode(b"\xff\x00").decode()}
    release("create", "configmap", "whole", f"--from-file={tmp_path}")
    assert set(release.object("configmap", "whole")["data"]) == {"one", "settings.env"}
    release("create", "configmap", "env", f"--from-env-file={tmp_path}/settings.env", "--append-hash")
    (hashed,) = [name for name in release("get", "configmaps", "-o", "name").split() if name.startswith("configmap/env-")]
    assert release.json("get", hashed)["data"] == {"MODE": "fast", "LEVEL": "3"}
    assert 'configmaps "files" already exists' in release.fails("create", "configmap", "files")


def test_secrets(release, tmp_path):
    release("create", "secret", "generic", "pw", "--from-literal=p=q", "--type=example.com/pw")
    assert release.object("secret", "pw")["data"] == {"p": "cQ=="}
    assert release("get", "secret", "pw", "-o", "jsonpath={.type}") == "example.com/pw"
    key = pki.make_key()
    certificate = pki.issue(pki.Spec("web", dns_names=("web",), usages=("server",)), key, None, datetime.now(UTC))
    (tmp_path / "crt").write_bytes(pki.certificate_pem(certificate))
    (tmp_path / "key").write_bytes(pki.key_pem(key))
    release("create", "secret", "tls", "cert", f"--cert={tmp_path}/crt", f"--key={tmp_path}/key")
    cert = release.object("secret", "cert")
    assert (cert["type"], sorted(cert["data"])) == ("kubernetes.io/tls", ["tls.crt", "tls.key"])
    assert base64.b64decode(cert["data"]["tls.crt"]) == (tmp_path / "crt").read_bytes()
    release("create", "secret", "docker-registry", "hub", "--docker-server=hub.example", "--docker-username=u", "--docker-password=p")
    hub = release.object("secret", "hub")
    assert hub["type"] == "kubernetes.io/dockerconfigjson"
    assert json.loads(base64.b64decode(hub["data"][".dockerconfigjson"]))["auths"]["hub.example"]["username"] == "u"


def test_services_of_the_four_types(release):
    release("create", "service", "clusterip", "inner", "--tcp=80:8080", "--tcp=443")
    inner = release.object("service", "inner")["spec"]
    assert (inner["type"], inner["selector"], inner["clusterIP"].startswith("10.")) == ("ClusterIP", {"app": "inner"}, True)
    assert [(p["name"], p["port"], p["targetPort"]) for p in inner["ports"]] == [("80-8080", 80, 8080), ("443", 443, 443)]
    release("create", "service", "clusterip", "headless", "--clusterip=None")
    assert release("get", "service", "headless", "-o", "jsonpath={.spec.clusterIP}") == "None"
    release("create", "service", "nodeport", "outer", "--tcp=80:8080")
    (port,) = release.object("service", "outer")["spec"]["ports"]
    assert 30000 <= port["nodePort"] <= 32767
    refused = release.fails("create", "service", "nodeport", "same", "--tcp=80:8080", f"--node-port={port['nodePort']}")
    assert "provided port is already allocated" in refused
    release("create", "service", "loadbalancer", "balanced", "--tcp=80:8080")
    balanced = release.object("service", "balanced")["spec"]
    assert (balanced["type"], balanced["allocateLoadBalancerNodePorts"], balanced["externalTrafficPolicy"]) == ("LoadBalancer", True, "Cluster")
    assert release("get", "service", "balanced", "--no-headers").split()[3] == "<pending>"
    release("create", "service", "externalname", "elsewhere", "--external-name=www.example")
    elsewhere = release.object("service", "elsewhere")["spec"]
    assert (elsewhere["type"], elsewhere["externalName"], "clusterIP" in elsewhere) == ("ExternalName", "www.example", False)


def test_an_ingress(release):
    rules = ("--rule=web.example/=web:80", "--rule=web.example/api*=api:http,tls=cert")
    release("create", "ingress", "web", *rules, "--class=inner", "--annotation=a=b", "--default-backend=other:8080")
    spec = release.object("ingress", "web")["spec"]
    assert (spec["ingressClassName"], spec["defaultBackend"]["service"]) == ("inner", {"name": "other", "port": {"number": 8080}})
    assert spec["tls"] == [{"hosts": ["web.example"], "secretName": "cert"}]
    paths = [path for rule in spec["rules"] for path in rule["http"]["paths"]]
    assert [(p["path"], p["pathType"], p["backend"]["service"]["port"]) for p in paths] == [
        ("/", "Exact", {"number": 80}),
        ("/api", "Prefix", {"name": "http"}),
    ]


def test_roles_and_bindings(release):
    suffix = release.namespace
    release("create", "role", "reader", "--verb=get,list", "--resource=pods,deployments.apps/scale", "--resource-name=web")
    rules = release.object("role", "reader")["rules"]
    assert sorted((rule["apiGroups"], rule["resources"], rule["resourceNames"], rule["verbs"]) for rule in rules) == [
        ([""], ["pods"], ["web"], ["get", "list"]),
        (["apps"], ["deployments/scale"], ["web"], ["get", "list"]),
    ]
    release("create", "rolebinding", "readers", "--role=reader", "--user=ann", "--group=staff", f"--serviceaccount={suffix}:bot")
    binding = release.object("rolebinding", "readers")
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    assert [(s["kind"], s["name"]) for s in binding["subjects"]] == [("User", "ann"), ("Group", "staff"), ("ServiceAccount", "bot")]

    release("create", "clusterrole", f"prober-{suffix}", "--verb=get", "--non-resource-url=/livez")
    assert release.object("clusterrole", f"prober-{suffix}")["rules"] == [{"nonResourceURLs": ["/livez"], "verbs": ["get"]}]
    label = f"example.com/aggregate={suffix}"
    release("create", "clusterrole", f"sum-{suffix}", f"--aggregation-rule={label}")
    selectors = release.object("clusterrole", f"sum-{suffix}")["aggregationRule"]["clusterRoleSelectors"]
    assert selectors == [{"matchLabels": {"example.com/aggregate": suffix}}]
    release("create", "clusterrolebinding", f"probers-{suffix}", f"--clusterrole=prober-{suffix}", "--group=staff")
    assert release.object("clusterrolebinding", f"probers-{suffix}")["roleRef"]["name"] == f"prober-{suffix}"
    release("delete", "clusterrole,clusterrolebinding", f"prober-{suffix}", f"sum-{suffix}", f"probers-{suffix}", "--ignore-not-found")


def test_limits_and_budgets(release):
    release("create", "quota", "small", "--hard=pods=3,requests.cpu=2", "--scopes=NotTerminating")
    assert release.object("quota", "small")["spec"] == {"hard": {"pods": "3", "requests.cpu": "2"}, "scopes": ["NotTerminating"]}
    release("create", "poddisruptionbudget", "steady", "--selector=app=web", "--min-available=50%")
    steady = release.object("pdb", "steady")
    assert (steady["apiVersion"], steady["spec"]["minAvailable"]) == ("policy/v1", "50%")
    release("create", "pdb", "moving", "--selector=app in (a,b)", "--max-unavailable=1")
    assert release.object("pdb", "moving")["spec"]["maxUnavailable"] == 1
    name = f"high-{release.namespace}"
    release("create", "priorityclass", name, "--value=1000", "--description=first", "--preemption-policy=Never")
    high = release.object("priorityclass", name)
    assert (high["value"], high["description"], high["preemptionPolicy"]) == (1000, "first", "Never")
    release("delete", "priorityclass", name)


def test_a_namespace_an_account_and_its_token(release):
    name = f"{release.namespace}-more"
    assert release("create", "namespace", name) == f"namespace/{name} created\n"
    assert release("get", "namespace", name, "-o", "jsonpath={.status.phase} {.spec.finalizers} {.metadata.labels}") == (
        f'Active ["kubernetes"] {{"kubernetes.io/metadata.name":"{name}"}}'
    )
    there = release.but(namespace=name)
    there("create", "serviceaccount", "bot")
    claims = _claims(there("create", "token", "bot", "--audience=vault", "--duration=1h"))
    assert (claims["sub"], claims["aud"]) == (f"system:serviceaccount:{name}:bot", ["vault"])
    assert timedelta(seconds=claims["exp"] - claims["iat"]) == timedelta(hours=1)
    there("create", "secret", "generic", "bound")
    uid = there("get", "secret", "bound", "-o", "jsonpath={.metadata.uid}")
    claims = _claims(there("create", "token", "bot", "--bound-object-kind=Secret", "--bound-object-name=bound", f"--bound-object-uid={uid}"))
    assert claims["kubernetes.io"]["secret"] == {"name": "bound", "uid": uid}
    assert 'serviceaccounts "none" not found' in there.fails("create", "token", "none")
    assert "may not specify a duration less than 10 minutes" in there.fails("create", "token", "bot", "--duration=1m")


def _claims(token: str) -> dict:
    payload = token.strip().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


@pytest.mark.parametrize("mode", ["client", "server"])
def test_a_dry_run_prints_and_makes_nothing(release, mode):
    words = ("create", "deployment", "web", "--image=nginx", f"--dry-run={mode}", "-o", "json")
    made = json.loads(release(*words))
    assert made["metadata"]["name"] == "web"
    assert ("uid" in made["metadata"]) == (mode == "server")
    assert release("get", "deployments") == ""


def test_from_files_from_input_and_with_the_configuration_kept(kubectl, tmp_path):
    body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "c-", "labels": {"a": "b"}}})
    kubectl("create", "-f", "-", text=body)
    kubectl("create", "-f", "-", text=body)
    names = kubectl("get", "configmaps", "-l", "a=b", "-o", "name").split()
    assert len(set(names)) == 2 and all(len(name) == len("configmap/c-") + 5 for name in names)
    (tmp_path / "two.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n")
    assert kubectl("create", "--save-config", "-f", str(tmp_path / "two.yaml")) == "configmap/one created\nconfigmap/two created\n"
    kept = kubectl.json("get", "configmap", "one")["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert json.loads(kept)["metadata"]["name"] == "one"
    raw = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "raw"}})
    answer = kubectl("create", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/configmaps", "-f", "-", text=raw)
    assert json.loads(answer)["metadata"]["name"] == "raw"
    assert 'namespaces "absent" not found' in kubectl.but(namespace="absent").fails("create", "configmap", "c")
