"""The default roles: there after a start, made good after damage, never against the user's will; and enough for the system's own components."""

import asyncio
import copy
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from k8sfromscratch.api.registry import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from k8sfromscratch.components.apiserver.bootstrap_rbac import POLICY, ensure, reconcile
from k8sfromscratch.components.apiserver.policy import AUTOUPDATE, cluster_binding, cluster_role, group, rule, user
from k8sfromscratch.components.apiserver.policy_cluster import PEOPLE
from k8sfromscratch.core.authz.chain import AuthorizerChain
from k8sfromscratch.core.authz.types import Attributes, UserInfo
from k8sfromscratch.core.reconcile.clusterrole_aggregation import plan
from k8sfromscratch.core.reconcile.plan import Patch
from k8sfromscratch.testing.views import MemoryView

Running = Callable[[], AbstractAsyncContextManager[Any]]
_, ROLE = cluster_role("r", rule("get list", "", "pods"), rule("get", "apps", "deployments"))
_, BINDING = cluster_binding("r", group("a"), user("b"))


def changed(obj: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(obj), **parts}


def test_reconcile() -> None:
    assert reconcile(None, ROLE) == ROLE
    assert reconcile(copy.deepcopy(ROLE), ROLE) is None
    assert reconcile(changed(ROLE, rules=[{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]), ROLE) is None
    own = {"verbs": ["delete"], "apiGroups": [""], "resources": ["pods"]}
    repaired = reconcile(changed(ROLE, rules=[own, ROLE["rules"][0]]), ROLE)
    assert repaired is not None and repaired["rules"] == [own, *ROLE["rules"]]
    frozen = changed(ROLE, rules=[], metadata={"name": "r", "annotations": {AUTOUPDATE: "false"}})
    assert reconcile(frozen, ROLE) is None


def test_reconcile_keeps_what_users_wrote_on_it() -> None:
    marked = changed(ROLE, metadata={"name": "r", "labels": {"own": "x"}, "annotations": {}})
    repaired = reconcile(marked, ROLE)
    assert repaired is not None
    assert repaired["metadata"]["labels"] == {"own": "x", "kubernetes.io/bootstrapping": "rbac-defaults"}
    assert repaired["metadata"]["annotations"] == {AUTOUPDATE: "true"}


def test_reconcile_bindings() -> None:
    assert reconcile(copy.deepcopy(BINDING), BINDING) is None
    repaired = reconcile(changed(BINDING, subjects=[user("c"), user("b")]), BINDING)
    assert repaired is not None and repaired["subjects"] == [user("c"), user("b"), group("a")]
    repaired = reconcile(changed(BINDING, roleRef={**BINDING["roleRef"], "name": "other"}), BINDING)
    assert repaired is not None and repaired["roleRef"]["name"] == "r"


def test_damage_is_repaired_at_the_next_start(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            assert await ensure(c.root, POLICY) == 0
            await c.root.delete(CLUSTER_ROLES, "system:node-proxier")
            broken = await c.root.get(CLUSTER_ROLE_BINDINGS, "system:kube-scheduler")
            await c.root.delete(CLUSTER_ROLE_BINDINGS, "system:kube-scheduler")
            other = {**broken["roleRef"], "name": "view"}
            await c.create("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "system:kube-scheduler", roleRef=other, subjects=broken["subjects"])
            await c.server.feed.caught_up()
            assert await ensure(c.root, POLICY) == 2
            assert (await c.root.get(CLUSTER_ROLE_BINDINGS, "system:kube-scheduler"))["roleRef"]["name"] == "system:kube-scheduler"

    asyncio.run(main())


def named(name: str, *groups: str) -> UserInfo:
    return UserInfo(name, (*groups, "system:authenticated"))


SCHEDULER, MANAGER, PROXY = named("system:kube-scheduler"), named("system:kube-controller-manager"), named("system:kube-proxy")
FLANNEL, ANYBODY = named("system:flannel"), named("somebody")


@pytest.mark.parametrize(
    ("who", "what", "allowed"),
    [
        (SCHEDULER, "list pods", True),
        (SCHEDULER, "create pods/binding", True),
        (SCHEDULER, "create pods", False),
        (SCHEDULER, "list namespaces", True),
        (SCHEDULER, "list storageclasses.storage.k8s.io", True),
        (SCHEDULER, "create leases.coordination.k8s.io", True),
        (SCHEDULER, "update leases.coordination.k8s.io kube-scheduler", True),
        (SCHEDULER, "update leases.coordination.k8s.io kube-controller-manager", False),
        (SCHEDULER, "get secrets", False),
        (MANAGER, "create replicasets.apps", True),
        (MANAGER, "delete pods", True),
        (MANAGER, "update deployments/status.apps", True),
        (MANAGER, "watch widgets.example.com", True),
        (MANAGER, "patch clusterroles.rbac.authorization.k8s.io", True),
        (MANAGER, "create configmaps", True),
        (PROXY, "watch endpointslices.discovery.k8s.io", True),
        (PROXY, "watch nodes", True),
        (PROXY, "watch secrets", False),
        (FLANNEL, "patch nodes", True),
        (FLANNEL, "delete nodes", False),
        (ANYBODY, "list pods", False),
        (ANYBODY, "create selfsubjectaccessreviews.authorization.k8s.io", True),
        (named("system:serviceaccount:kube-system:deployment-controller"), "update deployments.apps", True),
        (named("system:serviceaccount:kube-system:deployment-controller"), "get secrets", False),
        (named("system:node:n1", "system:nodes"), "list secrets", False),
    ],
)
def test_components_have_what_they_need_and_no_more(who: UserInfo, what: str, allowed: bool) -> None:
    verb, resource, *name = what.split()
    first, _, api_group = resource.partition(".")
    plural, _, subresource = first.partition("/")
    view = MemoryView(*(obj for _, obj in POLICY))
    namespace = "kube-system" if plural == "leases" else ""
    asked = Attributes(who, verb, namespace, api_group, "v1", plural, subresource, name[0] if name else "")
    assert AuthorizerChain().authorize(asked, view).allowed is allowed


def test_admin_edit_and_view_aggregate_in_steps() -> None:
    """With the controller's own plan: view is in edit, edit in admin; only admin may write roles, and view sees no secrets."""
    roles = {
        obj["metadata"]["name"]: {**copy.deepcopy(obj), "metadata": {**obj["metadata"], "uid": obj["metadata"]["name"]}}
        for r, obj in PEOPLE
        if r is CLUSTER_ROLES
    }
    for _ in range(3):
        for name in ("view", "edit", "admin"):
            for action in plan(roles[name], list(roles.values())).steps:
                assert isinstance(action, Patch)
                roles[name]["rules"] = action.patch["rules"]

    def may(role_name: str, verb: str, resource: str, api_group: str = "") -> bool:
        _, bound = cluster_binding(role_name, user("ann"))
        view = MemoryView(*roles.values(), bound)
        return AuthorizerChain(["RBAC"]).authorize(Attributes(named("ann"), verb, "default", api_group, "v1", resource), view).allowed

    assert may("view", "list", "pods") and not may("view", "get", "secrets") and not may("view", "create", "pods")
    assert may("edit", "list", "pods") and may("edit", "create", "pods") and may("edit", "get", "secrets")
    assert not may("edit", "create", "roles", "rbac.authorization.k8s.io") and may("admin", "create", "roles", "rbac.authorization.k8s.io")
    assert may("admin", "create", "pods") and not may("admin", "update", "nodes")
