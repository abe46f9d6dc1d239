"""Patches made from the object they are sent to: right paths with wrong values, directives where none belong, selectors of all sorts.

Whatever is sent: no fault, a refused patch changes nothing, and what an accepted patch leaves is an object that the server takes back.
"""

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.core.authz.types import LOOPBACK
from k8sfromscratch.process import pki
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.virtual import VirtualLoop, virtual_env

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d", "labels": {"a": "b"}, "annotations": {"n": "1"}, "finalizers": ["example.com/hold"]},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "containers": [
                    {"name": "one", "image": "i:1", "ports": [{"containerPort": 80}], "env": [{"name": "X", "value": "1"}], "args": ["p", "q"]},
                    {"name": "two", "image": "i:2", "resources": {"requests": {"cpu": "100m"}}},
                ],
                "volumes": [{"name": "v", "emptyDir": {}}],
                "tolerations": [{"key": "k", "operator": "Exists"}],
            },
        },
    },
}


def _pointers(value: Any, at: str = "") -> list[str]:
    """Every place in the object, as RFC 6901 writes it, and places beside."""
    found = [at, f"{at}/none"]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        found += _pointers(child, f"{at}/{key}")
    return [*found, f"{at}/-", f"{at}/99"] if isinstance(value, list) else found


_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=6), st.just({}), st.just([])
)
_DIRECTIVES = st.sampled_from(
    [
        {"$patch": "delete"},
        {"$patch": "replace"},
        {"$patch": "merge"},
        {"$patch": "nonsense"},
        {"$patch": 3},
        {"$retainKeys": ["name"]},
        {"$retainKeys": "name"},
        {"$setElementOrder/containers": [{"name": "two"}, {"name": "one"}]},
        {"$setElementOrder/containers": [{}]},
        {"$setElementOrder/containers": 7},
        {"$deleteFromPrimitiveList/finalizers": ["example.com/hold"]},
        {"$deleteFromPrimitiveList/args": "p"},
        {"name": "one", "$patch": "delete"},
        {"$patch": "delete", "name": None},
    ]
)


@st.composite
def _bent(draw: st.DrawFn, value: Any = DEPLOYMENT) -> Any:
    """A part of the object with some of it left out, replaced or directed."""
    choice = draw(st.integers(0, 9))
    if choice == 0:
        return draw(_LEAVES)
    if choice == 1 and isinstance(value, dict):
        return {**value, **draw(_DIRECTIVES)}
    if isinstance(value, dict):
        kept = draw(st.lists(st.sampled_from(sorted(value)), unique=True, max_size=3)) if value else []
        return {key: draw(_bent(value[key])) for key in kept}
    if isinstance(value, list):
        return [draw(_bent(each)) for each in value]
    return draw(st.sampled_from([value, None, f"{value}x"]))


_POINTER = st.one_of(st.sampled_from(sorted(set(_pointers(DEPLOYMENT)))), st.text(max_size=8))
_PLACE = st.sampled_from(sorted(set(_pointers(DEPLOYMENT))))
_OPERATION = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "test"]), "path": _PLACE, "value": st.one_of(_LEAVES, _bent())}),
    st.fixed_dictionaries({"op": st.just("remove"), "path": _PLACE}),
    st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": _PLACE, "from": _PLACE}),
    st.fixed_dictionaries({"op": st.sampled_from(["add", "remove", "spoil"])}, optional={"path": _POINTER, "from": _POINTER, "value": _LEAVES}),
)
_PATCH = st.one_of(
    st.tuples(st.just("application/json-patch+json"), st.one_of(st.lists(_OPERATION, max_size=2), _LEAVES)),
    st.tuples(st.just("application/merge-patch+json"), _bent()),
    st.tuples(st.just("application/strategic-merge-patch+json"), _bent()),
    st.tuples(st.just("application/apply-patch+yaml"), _bent()),
)
_TERM = st.one_of(
    st.sampled_from(["a", "a=b", "a==b", "a!=b", "!a", "a in (b,c)", "a notin (b)", "a in ()", "in", "a=b=c", "x/y/z=1", "a>1", "a<x", "(", ",", " "]),
    st.text(max_size=8),
)
_SELECTOR = st.lists(_TERM, max_size=4).map(",".join)


class _Server:
    """An embedded apiserver driven from plain functions, as Hypothesis needs it."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._run = runner.run
        env = virtual_env(0)
        self.api = embedded(LocalStorage.memory(env), env, signing_key=pki.make_key(), tokens={}, address="127.0.0.1", port=6443)
        self._run(self.api.start())

    def send(self, method: str, path: str, body: Any = None, content: str = "application/json", **query: str) -> tuple[int, Any]:
        raw = b"" if body is None else json.dumps(body).encode()
        request = Request(method, path, {name: [value] for name, value in query.items()}, {"content-type": content}, raw, direct_user=LOOPBACK)
        response = self._run(self.api.handle(request))
        assert isinstance(response, Response) and isinstance(response.body, bytes)
        assert response.status < 500, (method, path, body, response.body)
        return response.status, json.loads(response.body)

    def fresh(self) -> Any:
        """The deployment as it was made, whatever became of the last one."""
        status, found = self.send("GET", f"{DEPLOYMENTS}/d")
        if status == 200:
            found["metadata"].pop("finalizers", None)
            self.send("PUT", f"{DEPLOYMENTS}/d", found)
            self.send("DELETE", f"{DEPLOYMENTS}/d", propagationPolicy="Background")
        status, made = self.send("POST", DEPLOYMENTS, DEPLOYMENT)
        assert status == 201, made
        return made

    def close(self) -> None:
        self._run(self.api.stop())


def test_a_patch_is_refused_without_effect_or_leaves_a_valid_object() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        server = _Server(runner)

        @settings(max_examples=300, deadline=None)
        @given(patch=_PATCH)
        def sent(patch: tuple[str, Any]) -> None:
            content, body = patch
            before = server.fresh()
            more = {"fieldManager": "fuzz", "force": "true"} if "apply" in content else {}
            status, answer = server.send("PATCH", f"{DEPLOYMENTS}/d", body, content, **more)
            _, after = server.send("GET", f"{DEPLOYMENTS}/d")
            if status != 200:
                assert answer["kind"] == "Status" and answer["message"], answer
                assert after == before
                return
            assert after == answer
            assert server.send("PUT", f"{DEPLOYMENTS}/d", after)[0] == 200, after

        try:
            sent()
        finally:
            server.close()


def test_a_selector_is_refused_or_selects() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        server = _Server(runner)
        server.fresh()

        @settings(max_examples=300, deadline=None)
        @given(labels=_SELECTOR, fields=st.one_of(st.just(""), _SELECTOR))
        def sent(labels: str, fields: str) -> None:
            status, answer = server.send("GET", DEPLOYMENTS, labelSelector=labels, fieldSelector=fields)
            assert status in (200, 400), answer
            if status == 200:
                assert {item["metadata"]["name"] for item in answer["items"]} <= {"d"}
            watched = server.send("DELETE", DEPLOYMENTS, labelSelector=labels, fieldSelector=fields, dryRun="All")
            assert watched[0] == status, "deleting selects as listing does"

        try:
            sent()
        finally:
            server.close()
