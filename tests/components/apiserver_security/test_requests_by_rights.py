"""Through the whole apiserver: who comes in, what the default policy gives them, acting as others, and questions about rights."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

Running = Callable[[], AbstractAsyncContextManager[Any]]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
PODS = "/api/v1/namespaces/default/pods"


def bind(role: str, user: str = "ann") -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{role}-{user}", "namespace": "default"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
    }


def test_who_comes_in(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            assert (await c.send("GET", PODS, token="root"))[0] == 200
            status, body = await c.send("GET", PODS, token="wrong")
            assert (status, body["reason"], body["message"]) == (401, "Unauthorized", "Unauthorized")
            status, body = await c.send("GET", PODS)
            assert status == 403
            assert body["message"] == 'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "default"'
            assert (await c.send("GET", "/version"))[0] == 200
            status, body = await c.send("GET", "/metrics")
            assert (status, body["message"]) == (403, 'forbidden: User "system:anonymous" cannot get path "/metrics"')

    asyncio.run(main())


def test_no_anonymous_where_it_is_switched_off(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            c.security.authenticator.anonymous = False
            assert (await c.send("GET", "/version"))[0] == 401

    asyncio.run(main())


def test_a_binding_gives_rights_where_it_is(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            assert (await c.send("GET", PODS, token="ann"))[0] == 403
            assert (await c.send("POST", f"{RBAC}/namespaces/default/rolebindings", bind("system:aggregate-to-view"), token="root"))[0] == 201
            assert (await c.send("GET", PODS, token="ann"))[0] == 200
            assert (await c.send("GET", "/api/v1/pods", token="ann"))[0] == 403
            assert (await c.send("GET", "/api/v1/namespaces/default/secrets", token="ann"))[0] == 403

    asyncio.run(main())


def test_impersonation(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:

            async def as_user(token: str, **headers: str) -> tuple[int, Any]:
                named = {f"impersonate-{key.replace('_', '-')}": value for key, value in headers.items()}
                return await c.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=token, headers=named)

            status, body = await as_user("root", user="eve", group="a, b", uid="9", extra_reason="drill")
            assert status == 201
            assert body["status"]["userInfo"] == {
                "username": "eve",
                "uid": "9",
                "groups": ["a, b", "system:authenticated"],
                "extra": {"reason": ["drill"]},
            }
            status, body = await as_user("root", user="system:serviceaccount:x:bot")
            assert body["status"]["userInfo"]["groups"] == ["system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated"]
            status, body = await as_user("ann", user="root")
            assert (status, body["message"]) == (
                403,
                'users "root" is forbidden: User "ann" cannot impersonate resource "users" in API group "" at the cluster scope',
            )
            assert (await as_user("root", group="system:masters"))[0] == 400
            # Who may impersonate a user may not thereby take any group.
            rule = {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"]}
            await c.create("rbac.authorization.k8s.io/v1", "ClusterRole", "imp", rules=[rule])
            subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann"}
            ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "imp"}
            await c.create("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "imp", roleRef=ref, subjects=[subject])
            assert (await as_user("ann", user="eve"))[0] == 201
            assert (await as_user("ann", user="eve", group="system:masters"))[0] == 403

    asyncio.run(main())


def test_nobody_grants_more_than_they_hold_through_the_api(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            for role in ("system:aggregate-to-view", "system:aggregate-to-admin"):
                await c.send("POST", f"{RBAC}/namespaces/default/rolebindings", bind(role), token="root")
            path = f"{RBAC}/namespaces/default/rolebindings"
            assert (await c.send("POST", path, bind("system:aggregate-to-view", "eve"), token="ann"))[0] == 201
            status, body = await c.send("POST", path, bind("cluster-admin"), token="ann")
            assert status == 403 and "is attempting to grant RBAC permissions not currently held" in body["message"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("attributes", "allowed"),
    [
        ({"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "default"}}, True),
        ({"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "kube-system"}}, False),
        ({"resourceAttributes": {"verb": "create", "group": "apps", "resource": "deployments", "namespace": "default"}}, False),
        ({"nonResourceAttributes": {"verb": "get", "path": "/api"}}, True),
    ],
)
def test_can_i(cluster: Running, attributes: dict[str, Any], allowed: bool) -> None:
    async def main() -> None:
        async with cluster() as c:
            await c.send("POST", f"{RBAC}/namespaces/default/rolebindings", bind("system:aggregate-to-view"), token="root")
            path = "/apis/authorization.k8s.io/v1"
            status, own = await c.send("POST", f"{path}/selfsubjectaccessreviews", {"spec": attributes}, token="ann")
            spec = {**attributes, "user": "ann", "groups": ["system:authenticated"]}
            _, other = await c.send("POST", f"{path}/subjectaccessreviews", {"spec": spec}, token="root")
            assert status == 201 and own["status"]["allowed"] is other["status"]["allowed"] is allowed
            assert (await c.send("POST", f"{path}/subjectaccessreviews", {"spec": spec}, token="ann"))[0] == 403

    asyncio.run(main())


def test_reviews_that_ask_nothing_are_refused(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            path = "/apis/authorization.k8s.io/v1"
            status, body = await c.send("POST", f"{path}/selfsubjectaccessreviews", {"spec": {}}, token="root")
            assert status == 422 and "exactly one of nonResourceAttributes or resourceAttributes must be specified" in body["message"]
            spec = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "other"}, "user": "ann"}
            status, body = await c.send("POST", f"{path}/namespaces/default/localsubjectaccessreviews", {"spec": spec}, token="root")
            assert status == 422 and "must match metadata.namespace" in body["message"]

    asyncio.run(main())


def test_list_of_rights(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            await c.send("POST", f"{RBAC}/namespaces/default/rolebindings", bind("system:aggregate-to-view"), token="root")
            path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
            _, body = await c.send("POST", path, {"spec": {"namespace": "default"}}, token="ann")
            rules = body["status"]["resourceRules"]
            assert any("pods" in rule["resources"] and rule["verbs"] == ["get", "list", "watch"] for rule in rules)
            assert any("/healthz" in rule["nonResourceURLs"] for rule in body["status"]["nonResourceRules"])
            assert body["status"]["incomplete"] is False
            _, body = await c.send("POST", path, {"spec": {"namespace": "default"}}, token="root")
            assert body["status"]["resourceRules"][0] == {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}

    asyncio.run(main())
