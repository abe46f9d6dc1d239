"""Who may do what: `auth can-i`, `auth whoami`, `auth reconcile`, `certificate`, `create token`, impersonation."""

import base64
import json

import pytest
import yaml
from cryptography import x509

from k8sfromscratch.api.registry import ROLE_BINDINGS


def bind(kubectl, name: str, *words: str) -> None:
    """Rights follow the apiserver's caches, which etcd may tell of it later than it tells us: a read brings them up to now."""
    kubectl("create", "rolebinding", name, *words)
    kubectl.ask(ROLE_BINDINGS.path(kubectl.namespace))


def test_whoami(release, as_ann):
    ann = as_ann.but(program=release.program, release=release.release)
    if release.minor() < 28:  # it asks for the beta versions only, which are not in v1.35
        assert "selfsubjectreviews API is not enabled" in ann.fails("auth", "whoami")
        return
    said = ann("auth", "whoami")
    assert "ann" in said and "developers" in said and "system:authenticated" in said
    assert "system:masters" in release("auth", "whoami", "-o", "json")


def test_rights_are_granted_step_by_step(kubectl, as_ann):
    """The parts of `edit` and `view`: these two are put together by a controller, and here is none."""
    assert 'User "ann" cannot list resource "pods" in API group ""' in as_ann.fails("get", "pods")
    kubectl("create", "role", "views", "--verb=get,list", "--resource=pods")
    bind(kubectl, "ann-views", "--role=views", "--user=ann")
    assert as_ann("get", "pods") == ""
    assert 'cannot list resource "secrets"' in as_ann.fails("get", "secrets")
    bind(kubectl, "dev-edit", "--clusterrole=system:aggregate-to-edit", "--group=developers")
    as_ann("create", "configmap", "c")
    as_ann("delete", "configmap", "c")
    escalating = as_ann.fails("create", "role", "all", "--verb=*", "--resource=*")
    assert 'cannot create resource "roles"' in escalating


def test_can_i(kubectl, as_ann):
    kubectl("create", "role", "views", "--verb=get,list", "--resource=pods,deployments.apps,pods/log", "--resource=services")
    bind(kubectl, "ann-views", "--role=views", "--user=ann")
    assert as_ann("auth", "can-i", "list", "pods") == "yes\n"
    no = as_ann.run("auth", "can-i", "delete", "pods")
    assert (no.returncode, no.stdout) == (1, "no\n")
    assert as_ann("auth", "can-i", "get", "pods", "--subresource=log") == "yes\n"
    assert as_ann("auth", "can-i", "get", "deployments.apps/web") == "yes\n"
    assert as_ann.run("auth", "can-i", "list", "pods", "--all-namespaces").stdout.startswith("no")
    assert as_ann("auth", "can-i", "get", "/version") == "yes\n"
    assert as_ann.run("auth", "can-i", "get", "/metrics").stdout == "no\n"
    assert kubectl("auth", "can-i", "list", "pods", "--as=ann") == "yes\n"
    assert kubectl.run("auth", "can-i", "list", "secrets", "--as=bob", "--as-group=staff").returncode == 1
    assert kubectl("auth", "can-i", "*", "*", "--as=bob", "--as-group=system:masters") == "yes\n"
    assert kubectl.run("auth", "can-i", "list", "pods", "--as=ann", "--quiet").stdout == ""
    heading, *rows = kubectl.table("auth", "can-i", "--list", "--as=ann")
    assert [name.strip() for name in heading] == ["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]
    rules = {row[0]: row[-1] for row in rows}
    assert rules["pods"] == rules["deployments.apps"] == "[get list]"
    assert rules["selfsubjectaccessreviews.authorization.k8s.io"] == "[create]"
    assert "cannot impersonate" in as_ann.fails("get", "pods", "--as=bob")


def test_reconcile_adds_what_is_missing(kubectl):
    def manifest(*verbs: str) -> str:
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r", "namespace": kubectl.namespace}}
        role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}]
        subject = {"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}
        binding = {"apiVersion": role["apiVersion"], "kind": "RoleBinding", "metadata": {"name": "b", "namespace": kubectl.namespace}, "subjects": [subject]}
        binding["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
        return yaml.safe_dump_all([role, binding])

    def verbs() -> set[str]:
        return {verb for rule in kubectl.object("role", "r")["rules"] for verb in rule["verbs"]}

    said = kubectl("auth", "reconcile", "-f", "-", text=manifest("get"))
    assert "role.rbac.authorization.k8s.io/r reconciled" in said and "rolebinding.rbac.authorization.k8s.io/b reconciled" in said
    kubectl("auth", "reconcile", "-f", "-", text=manifest("list"))
    assert verbs() == {"get", "list"}
    kubectl("auth", "reconcile", "--remove-extra-permissions", "-f", "-", text=manifest("list"))
    assert verbs() == {"list"}
    changed = manifest("list").replace("kind: Role\n  name: r", "kind: ClusterRole\n  name: view")
    assert "cannot change roleRef" in kubectl.fails("apply", "-f", "-", text=changed)
    kubectl("auth", "reconcile", "-f", "-", text=changed)
    assert kubectl.object("rolebinding", "b")["roleRef"]["name"] == "view"


def test_a_token_is_its_accounts(kubectl):
    kubectl("create", "serviceaccount", "bot")
    kubectl("create", "rolebinding", "bot", "--clusterrole=system:aggregate-to-view", f"--serviceaccount={kubectl.namespace}:bot")
    token = kubectl("create", "token", "bot").strip()
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": token}
    path = kubectl.home / f"{kubectl.namespace}.bot"
    path.write_text(json.dumps(config))
    bot = kubectl.but(kubeconfig=path)
    assert f"system:serviceaccount:{kubectl.namespace}:bot" in bot("auth", "whoami")
    assert bot("get", "pods") == ""
    assert f'User "system:serviceaccount:{kubectl.namespace}:bot" cannot create' in bot.fails("create", "configmap", "c")
    unused = kubectl("create", "token", "bot").strip()
    kubectl("delete", "serviceaccount", "bot")
    path.write_text(json.dumps(config).replace(token, unused))
    assert "must be logged in" in bot.fails("get", "pods")


@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_certificate_requests(live, signing_request, verdict):
    """Approved ones are signed by the controller; the certificate has the name that was asked for."""
    name = f"{verdict}-{live.namespace}"
    spec = {"request": signing_request, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
    body = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name}, "spec": spec}
    live("create", "-f", "-", text=json.dumps(body))
    assert live("get", "csr", name, "--no-headers").split()[-1] == "Pending"
    live("certificate", verdict, name)
    condition = {"approve": "Approved", "deny": "Denied"}[verdict]
    assert live("get", "csr", name, "--no-headers").split()[-1].startswith(condition)
    assert live("get", "csr", name, "-o", "jsonpath={.status.conditions[0].type}") == condition
    if verdict == "approve":
        live("wait", f"csr/{name}", "--for=jsonpath={.status.conditions[0].status}=True", "--timeout=30s")
        with live.start("get", "csr", name, "--watch", "-o", "jsonpath={.status.certificate}{'\\n'}") as watching:
            issued = next(line for line in iter(watching.line, "") if line.strip())
        certificate = x509.load_pem_x509_certificate(base64.b64decode(issued))
        assert certificate.subject.rfc4514_string() == "CN=eve,O=developers"
    live("delete", "csr", name)
