"""Nothing that a client sends makes a 5xx or reaches another's objects."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process.http import Request
from k8sfromscratch.testing.virtual import VirtualLoop, virtual_env

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"5",
        b'"text"',
        b"\xff\xfe",
        b'{"metadata":{"name":"a"},"data":NaN}',
        b'{"metadata":{"name":"a"},"data":{"k":1e400}}',
        b'{"metadata":[]}',
        b'{"metadata":{"name":5}}',
        b'{"metadata":{"name":"a","labels":{"k":5}}}',
        b'{"metadata":{"name":"a"},"data":{"k":{}}}',
        b'{"kind":5,"metadata":{"name":"a"}}',
        b'{"apiVersion":{},"metadata":{"name":"a"}}',
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    ],
)
def test_bodies_that_are_no_config_map(with_api, body):
    async def main(api):
        refused = await api.json("POST", CONFIG_MAPS, body)
        assert refused["code"] == 400, refused

    with_api(main)


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({}, 422),
        ({"name": ""}, 422),
        ({"name": "A"}, 422),
        ({"name": "a/b"}, 422),
        ({"name": ".."}, 422),
        ({"name": "a" * 254}, 422),
        ({"name": "a", "labels": {"-": "x"}}, 422),
    ],
)
def test_names_and_labels_that_are_none(with_api, metadata, code):
    async def main(api):
        refused = await api.json("POST", CONFIG_MAPS, {"metadata": metadata})
        assert refused["code"] == code, refused
        assert refused["details"]["causes"]

    with_api(main)


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/apis/",
        "/api/v1/",
        "/api/v2",
        "/api/v1/nonsense",
        "/apis/apps",
        "/apis/nope/v1/x",
        "/nonsense",
        "/api/v1/namespaces/default/nodes",
        "//",
        "/api/v1/namespaces//configmaps",
        "/openapi/v3/apis/nope/v1",
        "/livez/nope",
    ],
)
def test_paths(with_api, path):
    async def main(api):
        response = await api.request("GET", path)
        assert response.status in (200, 400, 404), response.body

    with_api(main)


def test_names_in_paths_stay_in_their_namespace(with_api):
    """`..` and encoded slashes are parts of a name that no object has, never a way to another key."""

    async def main(api):
        await api.json("POST", "/api/v1/namespaces/kube-system/secrets", {"metadata": {"name": "s"}}, status=201)
        for name in ("..", "../kube-system/s", "%2e%2e", "a/../../kube-system/s"):
            response = await api.request("GET", f"/api/v1/namespaces/default/secrets/{name}")
            assert response.status in (404, 405), name

    with_api(main)


def test_methods_that_do_not_exist(with_api):
    async def main(api):
        for method in ("TRACE", "OPTIONS", "CONNECT", "BREW"):
            assert (await api.request(method, CONFIG_MAPS)).status == 405
        assert (await api.request("DELETE", "/api/v1/namespaces")).status == 405
        assert (await api.request("POST", "/version", {})).status == 405

    with_api(main)


def test_types_that_are_not_spoken(with_api):
    async def main(api):
        body = b'{"metadata":{"name":"a"}}'
        for kind in ("text/plain", "application/cbor", "application/xml"):
            assert (await api.request("POST", CONFIG_MAPS, body, headers={"content-type": kind})).status == 415
        assert (await api.request("POST", CONFIG_MAPS, b"metadata: {name: a}\ndata: {k: v}\n", headers={"content-type": "application/yaml"})).status == 201
        bomb = b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"
        for bad in (bomb, b"- - -\n" * 3, b"a: [", b"!!python/object:os.system {}", b"a: " + b"[" * 10_000):
            assert (await api.request("POST", CONFIG_MAPS, bad, headers={"content-type": "application/yaml"})).status == 400, bad[:20]
        for value in (b".nan", b"-.inf"):
            pod = b"{metadata: {name: a}, spec: {priority: " + value + b", containers: [{name: c, image: i}]}}"
            refused = await api.json("POST", "/api/v1/namespaces/default/pods", pod, headers={"content-type": "application/yaml"}, status=400)
            assert refused["message"] == f"error converting YAML to JSON: json: unsupported value: {value.decode()}"
        assert (await api.request("POST", CONFIG_MAPS, b" " * 4_000_000)).status == 413

    with_api(main)


def test_an_error_of_ours_is_told_without_its_insides(with_api, monkeypatch, caplog):
    async def main(api):
        async def broken(key):
            raise ZeroDivisionError("secret detail")

        monkeypatch.setattr(api.server.feed, "caught_up", lambda: broken(""))
        refused = await api.json("GET", CONFIG_MAPS, status=500)
        assert "secret" not in refused["message"]
        assert "secret detail" in caplog.text

    with_api(main)


def test_who_is_not_known_or_not_allowed_gets_nothing(with_api):
    async def main(api):
        nobody = await api.server.handle(Request("GET", CONFIG_MAPS))
        assert nobody.status == 403, "anonymous, and anonymous may not list"
        wrong = await api.server.handle(Request("GET", CONFIG_MAPS, headers={"authorization": "Bearer wrong"}))
        assert wrong.status == 401
        refused = await api.json("GET", CONFIG_MAPS, user=UserInfo("ann", ("system:authenticated",)), status=403)
        assert refused["message"] == 'configmaps is forbidden: User "ann" cannot list resource "configmaps" in API group "" in the namespace "default"'

    with_api(main)


def test_requests_beyond_the_limit_are_told_to_come_again(with_api):
    async def main(api):
        user = UserInfo("ann", ("system:authenticated",))
        seats = api.server._inflight.seats["readOnly"]
        while seats.admit(user.name) is not None:
            pass
        refused = await api.request("GET", CONFIG_MAPS, user=user)
        assert refused.status == 429
        assert refused.headers["Retry-After"] == "1"
        assert (await api.request("GET", CONFIG_MAPS)).status == 200, "system:masters are exempt"

    with_api(main)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metadata", "spec", "name", "labels", "template", "containers", "replicas", "selector", "x"]), inner, max_size=4)
    ),
    max_leaves=20,
)
QUERY = st.dictionaries(
    st.sampled_from(
        ["limit", "continue", "labelSelector", "fieldSelector", "resourceVersion", "resourceVersionMatch", "dryRun", "fieldValidation", "propagationPolicy"]
    ),
    st.text(max_size=8),
    max_size=3,
)
CONTENT = st.sampled_from(
    [
        "application/json",
        "application/yaml",
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/strategic-merge-patch+json",
        "application/vnd.kubernetes.protobuf",
    ]
)


REQUEST = st.tuples(
    st.sampled_from(["POST", "PUT", "PATCH", "DELETE", "GET"]),
    st.sampled_from([DEPLOYMENTS, f"{DEPLOYMENTS}/d", f"{DEPLOYMENTS}/d/scale", f"{DEPLOYMENTS}/d/status"]),
    JSON,
    QUERY,
    CONTENT,
)


def test_whatever_is_sent_no_answer_is_a_5xx(api_server):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    deployment = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        running = api_server(virtual_env(0))
        api = runner.run(running.__aenter__())

        @settings(max_examples=400, deadline=None)
        @given(REQUEST)
        def sent(request):
            method, path, body, query, content = request
            runner.run(api.request("POST", DEPLOYMENTS, deployment))
            response = runner.run(api.request(method, path, json.dumps(body).encode(), headers={"content-type": content}, **query))
            # 504 is upstream's answer to a resourceVersion of the future.
            assert response.status < 500 or response.status == 504, response.body

        try:
            sent()
        finally:
            runner.run(running.__aexit__(None, None, None))
