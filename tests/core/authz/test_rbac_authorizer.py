"""Decisions by bindings, the index's following of a changing cluster, and the escalation check."""

from typing import Any

import pytest

from k8sfromscratch.api.errors import Forbidden
from k8sfromscratch.api.registry import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.authz.chain import AuthorizerChain
from k8sfromscratch.core.authz.escalation import EscalationCheck
from k8sfromscratch.core.authz.rbac import RbacAuthorizer
from k8sfromscratch.core.authz.types import Attributes, UserInfo
from k8sfromscratch.testing.views import MemoryView

Object = dict[str, Any]
RBAC = "rbac.authorization.k8s.io/v1"
READ_PODS = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}
ANN = UserInfo("ann", ("devs", "system:authenticated"))


def role(name: str, *rules: Object, namespace: str = "") -> Object:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": RBAC, "kind": "Role" if namespace else "ClusterRole", "metadata": metadata, "rules": list(rules)}


def binding(name: str, role_name: str, *subjects: tuple[str, ...], namespace: str = "", kind: str = "ClusterRole") -> Object:
    listed = [{"kind": s[0], "name": s[1], **({"namespace": s[2]} if len(s) > 2 else {})} for s in subjects]
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    obj = {"apiVersion": RBAC, "kind": "RoleBinding" if namespace else "ClusterRoleBinding", "metadata": metadata}
    return {**obj, "subjects": listed, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role_name}}


def asks(user: UserInfo, verb: str = "get", namespace: str = "a", resource: str = "pods", name: str = "") -> Attributes:
    return Attributes(user, verb, namespace, "", "v1", resource, "", name)


def test_cluster_binding_counts_everywhere_and_says_why() -> None:
    view = MemoryView(role("reader", READ_PODS), binding("readers", "reader", ("Group", "devs")))
    decision = RbacAuthorizer().authorize(asks(ANN, namespace="anywhere"), view)
    assert decision.allowed
    assert decision.reason == 'RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to Group "devs"'


def test_role_binding_counts_in_its_namespace_only() -> None:
    rbac, view = RbacAuthorizer(), MemoryView(role("reader", READ_PODS), binding("readers", "reader", ("User", "ann"), namespace="a"))
    decision = rbac.authorize(asks(ANN), view)
    assert decision.allowed and decision.reason == 'RBAC: allowed by RoleBinding "readers/a" of ClusterRole "reader" to User "ann"'
    assert not rbac.authorize(asks(ANN, namespace="b"), view).allowed
    assert not rbac.authorize(asks(ANN, verb="list", namespace=""), view).allowed


def test_a_role_is_found_in_the_bindings_namespace() -> None:
    rbac = RbacAuthorizer()
    view = MemoryView(role("r", READ_PODS, namespace="b"), binding("x", "r", ("User", "ann"), namespace="a", kind="Role"))
    decision = rbac.authorize(asks(ANN), view)
    assert not decision.allowed and decision.reason == 'RBAC: role.rbac.authorization.k8s.io "r" not found'
    view.put(role("r", READ_PODS, namespace="a"))
    assert rbac.authorize(asks(ANN), view).allowed


@pytest.mark.parametrize(
    ("subject", "allowed"), [(("ServiceAccount", "bot", "x"), True), (("ServiceAccount", "bot"), False), (("ServiceAccount", "bot", "y"), False)]
)
def test_service_accounts(subject: tuple[str, ...], allowed: bool) -> None:
    view = MemoryView(role("reader", READ_PODS), binding("readers", "reader", subject))
    assert RbacAuthorizer().authorize(asks(UserInfo("system:serviceaccount:x:bot")), view).allowed is allowed


def test_a_service_account_without_namespace_is_of_the_bindings_own() -> None:
    view = MemoryView(role("reader", READ_PODS), binding("readers", "reader", ("ServiceAccount", "bot"), namespace="a"))
    assert RbacAuthorizer().authorize(asks(UserInfo("system:serviceaccount:a:bot")), view).allowed


def test_a_user_is_no_group_of_the_same_name() -> None:
    view = MemoryView(role("reader", READ_PODS), binding("readers", "reader", ("Group", "ann")))
    assert not RbacAuthorizer().authorize(asks(ANN), view).allowed


def test_named_objects_are_judged_by_name_each_time() -> None:
    rbac = RbacAuthorizer()
    view = MemoryView(role("one", {**READ_PODS, "resourceNames": ["x"]}), binding("b", "one", ("User", "ann")))
    assert rbac.authorize(asks(ANN, name="x"), view).allowed
    assert not rbac.authorize(asks(ANN, name="y"), view).allowed
    assert rbac.authorize(asks(ANN, name="x"), view).allowed


@pytest.mark.parametrize("lose_marks", [False, True])
def test_every_change_counts_at_once(lose_marks: bool) -> None:
    """Roles and bindings come, change and go; a lost watch in between must not matter."""
    rbac, view = RbacAuthorizer(), MemoryView()

    def allowed() -> bool:
        if lose_marks:
            view.lose_marks()
        return rbac.authorize(asks(ANN), view).allowed

    bound = binding("readers", "reader", ("Group", "devs"))
    assert not allowed()
    view.put(bound)
    assert not allowed()
    view.put(role("reader", READ_PODS))
    assert allowed()
    view.put(role("reader", {**READ_PODS, "verbs": ["watch"]}))
    assert not allowed()
    view.put(role("reader", READ_PODS), binding("readers", "reader", ("Group", "others")))
    assert not allowed()
    view.put(bound)
    assert allowed()
    view.remove(bound)
    assert not allowed()


def test_rules_for_joins_what_counts_in_the_namespace() -> None:
    view = MemoryView(
        role("reader", READ_PODS),
        role("writer", {"verbs": ["create"], "apiGroups": [""], "resources": ["pods"]}, namespace="a"),
        binding("c", "reader", ("Group", "devs"), ("User", "ann")),
        binding("n", "writer", ("User", "ann"), namespace="a", kind="Role"),
        binding("g", "gone", ("User", "ann"), namespace="a"),
    )
    rbac = RbacAuthorizer()
    rules, missing = rbac.rules_for(ANN, "a", view)
    assert [r.to_object() for r in rules] == [READ_PODS, {"verbs": ["create"], "apiGroups": [""], "resources": ["pods"]}]
    assert missing == ['clusterrole.rbac.authorization.k8s.io "gone" not found']
    assert rbac.rules_for(ANN, "", view) == (rules[:1], [])


def test_chain() -> None:
    view = MemoryView()
    assert AuthorizerChain(["RBAC"]).authorize(asks(UserInfo("root", ("system:masters",))), view).allowed
    assert not AuthorizerChain(["Node", "RBAC"]).authorize(asks(ANN), view).allowed
    assert AuthorizerChain(["RBAC", "AlwaysAllow"]).authorize(asks(ANN), view).allowed
    assert AuthorizerChain(["RBAC", "AlwaysDeny"]).authorize(asks(ANN), view).reason == "Everything is forbidden."


@pytest.mark.parametrize(
    ("modes", "complaint"), [(["ABAC"], '"ABAC" is not a valid authorization mode'), (["RBAC", "RBAC"], "more than once"), ([], "at least one")]
)
def test_wrong_modes_are_refused(modes: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        AuthorizerChain(modes)


def check(view: MemoryView, user: UserInfo, obj: Object, old: Object | None = None) -> None:
    chain = AuthorizerChain(["RBAC"])
    assert chain.rbac is not None
    resource = {"Role": ROLES, "ClusterRole": CLUSTER_ROLES, "RoleBinding": ROLE_BINDINGS, "ClusterRoleBinding": CLUSTER_ROLE_BINDINGS}[obj["kind"]]
    metadata = obj["metadata"]
    request = AdmissionRequest("UPDATE" if old else "CREATE", resource, "", metadata.get("namespace", ""), metadata["name"], user, obj, old)
    EscalationCheck(chain, chain.rbac).validate(request, view)


MANAGE = {"verbs": ["create", "update", "get"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]}


def test_nobody_grants_more_than_they_hold() -> None:
    view = MemoryView(role("manager", MANAGE, READ_PODS), binding("m", "manager", ("User", "ann"), namespace="a"))
    check(view, ANN, role("ok", READ_PODS, namespace="a"))
    with pytest.raises(Forbidden) as error:
        check(view, ANN, role("more", {**READ_PODS, "verbs": ["get", "delete"]}, namespace="a"))
    assert error.value.message == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "ann" (groups=["devs" "system:authenticated"]) is attempting to grant RBAC '
        'permissions not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}'
    )
    with pytest.raises(Forbidden):
        check(view, ANN, role("cluster", READ_PODS))
    check(view, UserInfo("root", ("system:masters",)), role("any", {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}))


def test_an_aggregating_role_needs_everything() -> None:
    view = MemoryView(role("reader", READ_PODS), binding("b", "reader", ("User", "ann")))
    with pytest.raises(Forbidden):
        check(view, ANN, {**role("agg"), "aggregationRule": {"clusterRoleSelectors": [{}]}})


def test_unchanged_rules_may_be_written_by_whoever_may_update() -> None:
    view, secret = MemoryView(), role("r", {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}, namespace="a")
    check(view, ANN, {**secret, "metadata": {**secret["metadata"], "labels": {"a": "b"}}}, old=secret)
    with pytest.raises(Forbidden):
        check(view, ANN, role("r", READ_PODS, namespace="a"), old=secret)


def test_binding_needs_the_roles_rules_or_the_verb_bind() -> None:
    view = MemoryView(
        role("reader", READ_PODS), role("power", {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}), binding("b", "reader", ("User", "ann"))
    )
    check(view, ANN, binding("ok", "reader", ("User", "eve"), namespace="a"))
    with pytest.raises(Forbidden, match="not currently held"):
        check(view, ANN, binding("bad", "power", ("User", "ann"), namespace="a"))
    with pytest.raises(Forbidden, match='"none" not found'):
        check(view, ANN, binding("bad", "none", ("User", "ann"), namespace="a"))
    may_bind = {"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["power"]}
    view.put(role("binder", may_bind), binding("binds", "binder", ("User", "ann"), namespace="a"))
    check(view, ANN, binding("good", "power", ("User", "ann"), namespace="a"))
    with pytest.raises(Forbidden):
        check(view, ANN, binding("elsewhere", "power", ("User", "ann"), namespace="b"))
