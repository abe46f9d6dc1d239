"""Admission webhooks on real TLS: what they are asked, what their answers do, and what a bad one cannot do."""

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from k8sfromscratch.process.clock import Env, SystemClock
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.testing.tls_server import TlsServer, tls_server

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
KINDS = {"mutating": "MutatingWebhookConfiguration", "validating": "ValidatingWebhookConfiguration"}
EVERYTHING = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
WRITTEN = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class Hooks:
    """Webhooks by path, each an answer to the request of a review."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.raw: Callable[[Request], Awaitable[Response]] | None = None

    async def handle(self, request: Request) -> Response:
        if self.raw is not None:
            return await self.raw(request)
        review = orjson.loads(request.body)
        self.asked.append((request.path, review["request"]))
        response = {"uid": review["request"]["uid"], "allowed": True, **self.answers[request.path](review["request"])}
        return Response(200, orjson.dumps({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}))

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


class Setting:
    def __init__(self, api: Any, hooks: Hooks, server: TlsServer) -> None:
        self.api, self.hooks, self.server = api, hooks, server

    async def configure(self, kind: str, name: str, *webhooks: dict[str, Any], status: int = 201) -> Any:
        path = f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations"
        made = await self.api.json("POST", path, {"metadata": {"name": name}, "webhooks": list(webhooks)}, status=status)
        await self.api.server.feed.caught_up()
        return made

    def webhook(self, path: str, answer: Answer = lambda request: {}, **more: Any) -> dict[str, Any]:
        self.hooks.answers[f"/{path}"] = answer
        return {
            "name": f"{path}.example.com",
            "clientConfig": {"url": f"{self.server.url}/{path}", "caBundle": self.server.ca_bundle},
            "rules": [WRITTEN],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **more,
        }

    async def create(self, name: str = "a", status: int = 201, **more: Any) -> Any:
        return await self.api.json("POST", CONFIG_MAPS, self.api.config_map(name, k="v"), status=status, **more)


@pytest.fixture
def setting(api_server: Any, tmp_path: Path) -> Callable[[Callable[[Setting], Awaitable[None]]], None]:
    @asynccontextmanager
    async def made() -> AsyncIterator[Setting]:
        async with AsyncExitStack() as stack:
            hooks = Hooks()
            server = await stack.enter_async_context(tls_server(hooks.handle, tmp_path / "hooks"))
            api = await stack.enter_async_context(api_server(Env(SystemClock(), random.Random(1))))
            await api.json("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}}, status=201)
            yield Setting(api, hooks, server)

    def run(test: Callable[[Setting], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(60), made() as setting:
                await test(setting)

        asyncio.run(main())

    return run


def patching(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(list(operations))).decode()}


def adds(key: str, value: str) -> Answer:
    return lambda request: patching({"op": "add", "path": f"/data/{key}", "value": value})


def denies(**status: Any) -> Answer:
    return lambda request: {"allowed": False, "status": status}


def test_a_webhook_is_told_what_it_needs_to_judge(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.configure("validating", "v", s.webhook("look"))
        made = await s.create(fieldManager="me")
        (_, asked), *_ = s.hooks.asked
        assert asked["operation"] == "CREATE" and asked["namespace"] == "default" and asked["name"] == "a"
        assert asked["kind"] == asked["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
        assert asked["resource"] == asked["requestResource"] == {"group": "", "version": "v1", "resource": "configmaps"}
        assert asked["userInfo"]["username"] == "system:apiserver" and asked["dryRun"] is False
        assert asked["object"]["data"] == {"k": "v"} and asked["object"]["metadata"]["uid"] == made["metadata"]["uid"] and asked["oldObject"] is None
        assert asked["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}

        await s.api.json("PUT", f"{CONFIG_MAPS}/a", s.api.config_map("a", k="w"), status=200)
        _, asked = s.hooks.asked[-1]
        assert (asked["operation"], asked["oldObject"]["data"], asked["object"]["data"]) == ("UPDATE", {"k": "v"}, {"k": "w"})

    setting(test)


def test_mutating_webhooks_change_the_object_one_after_another_by_name(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.configure("mutating", "b", s.webhook("third", lambda request: patching({"op": "copy", "from": "/data/one", "path": "/data/three"})))
        await s.configure("mutating", "a", s.webhook("first", adds("one", "1")), s.webhook("second", adds("two", "2")))
        await s.configure("validating", "v", s.webhook("last"))
        made = await s.create()
        assert made["data"] == {"k": "v", "one": "1", "two": "2", "three": "1"}
        assert s.hooks.paths() == ["/first", "/second", "/third", "/last"]
        assert s.hooks.asked[-1][1]["object"]["data"] == made["data"]
        assert (await s.api.json("GET", f"{CONFIG_MAPS}/a"))["data"] == made["data"]

    setting(test)


def test_what_a_webhook_writes_is_defaulted_and_validated_like_what_a_client_sends(setting: Any) -> None:
    async def test(s: Setting) -> None:
        rule = {**WRITTEN, "resources": ["pods"]}
        sidecar = {"name": "side", "image": "side"}
        add = s.webhook("side", lambda request: patching({"op": "add", "path": "/spec/containers/-", "value": sidecar}), rules=[rule])
        await s.configure("mutating", "m", add)
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
        made = await s.api.json("POST", "/api/v1/namespaces/default/pods", pod, status=201)
        side = made["spec"]["containers"][1]
        assert side["imagePullPolicy"] == "Always" and side["terminationMessagePolicy"] == "File"
        sidecar["name"] = "Not A Name"
        refused = await s.api.json("POST", "/api/v1/namespaces/default/pods", {**pod, "metadata": {"name": "q"}}, status=422)
        assert "spec.containers[1].name" in refused["message"]

    setting(test)


def test_reinvocation_shows_later_changes_to_earlier_webhooks(setting: Any) -> None:
    async def test(s: Setting) -> None:
        counting: Answer = lambda request: patching({"op": "add", "path": "/data/seen", "value": str(len(request["object"]["data"]))})  # noqa: E731
        first = s.webhook("first", counting, reinvocationPolicy="IfNeeded")
        never = s.webhook("never", adds("n", "n"))
        await s.configure("mutating", "m", first, never)
        made = await s.create()
        assert s.hooks.paths() == ["/first", "/never", "/first"]
        assert made["data"] == {"k": "v", "n": "n", "seen": "3"}

    setting(test)


@pytest.mark.parametrize(
    ("status", "code", "reason", "message"),
    [
        ({}, 400, None, 'admission webhook "no.example.com" denied the request without explanation'),
        ({"message": "not today"}, 400, None, 'admission webhook "no.example.com" denied the request: not today'),
        ({"reason": "Forbidden"}, 400, "Forbidden", 'admission webhook "no.example.com" denied the request: Forbidden'),
        ({"message": "m", "code": 403, "reason": "Forbidden"}, 403, "Forbidden", 'admission webhook "no.example.com" denied the request: m'),
        ({"message": "m", "code": 200}, 400, None, 'admission webhook "no.example.com" denied the request: m'),
        ({"message": "m", "code": 9999}, 400, None, 'admission webhook "no.example.com" denied the request: m'),
    ],
)
@pytest.mark.parametrize("kind", ["mutating", "validating"])
def test_a_denial_reaches_the_client_with_the_webhooks_words(setting: Any, kind: str, status: Any, code: int, reason: str | None, message: str) -> None:
    async def test(s: Setting) -> None:
        await s.configure(kind, "c", s.webhook("no", denies(**status)))
        refused = await s.create(status=code)
        assert (refused["code"], refused.get("reason"), refused["message"]) == (code, reason, message)
        await s.api.json("GET", f"{CONFIG_MAPS}/a", status=404)

    setting(test)


def test_validating_webhooks_are_asked_at_once_and_the_first_refusal_in_order_counts(setting: Any) -> None:
    async def test(s: Setting) -> None:
        everyone_here, waiting = asyncio.Event(), 0

        async def meet(request: Request) -> Response:
            nonlocal waiting
            waiting += 1
            if waiting == 2:
                everyone_here.set()
            await everyone_here.wait()
            s.hooks.raw = None
            return await s.hooks.handle(request)

        await s.configure("validating", "v", s.webhook("one", denies(message="one")), s.webhook("two", denies(message="two")))
        s.hooks.raw = meet
        refused = await s.create(status=400)
        assert refused["message"].endswith(": one") and sorted(s.hooks.paths()) == ["/one", "/two"]

    setting(test)


def test_warnings_become_headers_and_are_cut_to_what_a_head_can_hold(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.configure("validating", "v", s.webhook("w", lambda request: {"warnings": ["mind the gap", "x" * 1000]}))
        response = await s.api.request("POST", CONFIG_MAPS, s.api.config_map("a"))
        assert response.status == 201
        assert response.headers["Warning"] == f'299 - "mind the gap", 299 - "{"x" * 256}"'

    setting(test)


async def _hang(request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def _fixed(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response(status, body, content_type, dict(headers))

    return answer


def _lying(**changes: Any) -> Callable[[Request], Awaitable[Response]]:
    """An answer that is right but for these members of its response."""

    async def answer(request: Request) -> Response:
        response = {"uid": orjson.loads(request.body)["request"]["uid"], "allowed": True, **changes}
        return Response(200, orjson.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))

    return answer


BAD = [
    ("mutating", _hang, "context deadline exceeded"),
    ("mutating", _fixed(500, b"oops"), "answered with 500"),
    ("mutating", _fixed(302, b"", Location="https://127.0.0.1:1/elsewhere"), "answered with 302"),
    ("mutating", _fixed(200, b"<html>", "text/html"), "serializer for text/html doesn't exist"),
    ("mutating", _fixed(200, b"{"), "not JSON"),
    ("mutating", _fixed(200, b"[1]"), "webhook response was absent"),
    ("mutating", _fixed(200, b" " * (9 * 1024 * 1024)), "larger than"),
    ("mutating", _lying(uid="other"), 'got "other"'),
    ("mutating", _lying(allowed="yes"), "response.allowed is not a boolean"),
    ("mutating", _lying(patchType="JSONPatch"), "response.patchType but not response.patch"),
    ("mutating", _lying(patch="W10="), "response.patch but not response.patchType"),
    ("mutating", _lying(patch="W10=", patchType="Merge"), 'unsupported patch type "Merge"'),
    ("mutating", _lying(patch="!", patchType="JSONPatch"), "no base64 of JSON"),
    ("mutating", _lying(patch="e30=", patchType="JSONPatch"), "not a list of operations"),
    ("mutating", _lying(warnings="w"), "response.warnings is not a list"),
    ("validating", _lying(patch="W10=", patchType="JSONPatch"), "validating webhook may not return response.patch"),
]


@pytest.mark.parametrize(("kind", "answer", "message"), BAD, ids=[message for _, _, message in BAD])
def test_a_webhook_that_fails_refuses_or_is_passed_over_as_its_policy_says(setting: Any, kind: str, answer: Any, message: str) -> None:
    async def test(s: Setting) -> None:
        s.hooks.raw = answer
        await s.configure(kind, "c", s.webhook("bad", timeoutSeconds=1 if answer is _hang else 30))
        refused = await s.create(status=500)
        assert refused["reason"] == "InternalError"
        assert refused["message"].startswith('Internal error occurred: failed calling webhook "bad.example.com": ') and message in refused["message"]
        path = f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/c"
        await s.api.json(
            "PATCH",
            path,
            [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}],
            headers={"content-type": "application/json-patch+json"},
            status=200,
        )
        await s.api.server.feed.caught_up()
        await s.create()

    setting(test)


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([{"op": "add", "path": "/no/such", "value": 1}], "cannot be used"),
        ([{"op": "replace", "path": "", "value": []}], "the patch leaves no object"),
        ([{"op": "replace", "path": "/data", "value": 7}], "cannot be used"),
        ([{"op": "replace", "path": "/metadata/name", "value": "b"}], "attempted to change metadata.name"),
        ([{"op": "remove", "path": "/metadata"}], "attempted to change metadata.name"),
        ([{"op": "add", "path": "/metadata/uid", "value": "0"}], "attempted to change metadata.uid"),
    ],
)
def test_a_patch_that_does_not_fit_is_the_webhooks_fault_and_no_traceback(setting: Any, operations: Any, message: str, caplog: Any) -> None:
    async def test(s: Setting) -> None:
        await s.configure("mutating", "m", s.webhook("bad", lambda request: patching(*operations)))
        refused = await s.create(status=500)
        assert "bad.example.com" in refused["message"] and message in refused["message"]
        assert not any(record.exc_info for record in caplog.records)

    setting(test)


def test_a_server_that_is_not_there_or_not_trusted_is_named(setting: Any) -> None:
    async def test(s: Setting) -> None:
        webhook = s.webhook("x")
        del webhook["clientConfig"]["caBundle"]
        await s.configure("validating", "v", webhook)
        refused = await s.create(status=500)
        assert f'Post "{s.server.url}/x?timeout=10s": tls: failed to verify certificate' in refused["message"]
        await s.configure("mutating", "m", s.webhook("y", clientConfig={"url": "https://127.0.0.1:1/y"}))
        assert "127.0.0.1:1/y?timeout=10s" in (await s.create(status=500))["message"]

    setting(test)


def test_a_dry_run_asks_only_those_that_declare_no_side_effects(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.configure("validating", "v", s.webhook("pure", sideEffects="NoneOnDryRun"))
        await s.create(dryRun="All")
        assert s.hooks.asked[-1][1]["dryRun"] is True and s.hooks.asked[-1][1]["options"]["dryRun"] == ["All"]

    setting(test)


def test_deletes_connects_scales_and_evictions_are_shown_as_what_they_are(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.configure("validating", "v", s.webhook("all", rules=[EVERYTHING]))
        await s.create()
        await s.api.json("DELETE", f"{CONFIG_MAPS}/a", {"propagationPolicy": "Foreground", "dryRun": ["All"]}, status=200)
        _, asked = s.hooks.asked[-1]
        assert (asked["operation"], asked["object"], asked["oldObject"]["data"]) == ("DELETE", None, {"k": "v"})
        assert asked["options"]["propagationPolicy"] == "Foreground" and asked["dryRun"] is True

        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
        spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
        path = "/apis/apps/v1/namespaces/default/deployments"
        await s.api.json("POST", path, {"metadata": {"name": "d"}, "spec": spec}, status=201)
        await s.api.json("PUT", f"{path}/d/scale", {"metadata": {"name": "d"}, "spec": {"replicas": 3}}, status=200)
        _, asked = s.hooks.asked[-1]
        assert (asked["subResource"], asked["kind"]["kind"], asked["object"]["spec"]) == ("scale", "Scale", {"replicas": 3})
        assert asked["oldObject"]["spec"] == {"replicas": 1}

        await s.api.json("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "p"}, "spec": template["spec"]}, status=201)
        await s.api.json("POST", "/api/v1/namespaces/default/pods/p/binding", {"target": {"name": "n"}}, status=201)
        _, asked = s.hooks.asked[-1]
        assert (asked["subResource"], asked["kind"]["kind"], asked["operation"]) == ("binding", "Binding", "CREATE")
        await s.api.json("POST", "/api/v1/namespaces/default/pods/p/eviction", {"deleteOptions": {"gracePeriodSeconds": 0}}, status=201)
        assert [(asked["operation"], asked.get("subResource")) for _, asked in s.hooks.asked[-2:]] == [("CREATE", "eviction"), ("DELETE", None)]

        await s.api.request("GET", "/api/v1/namespaces/default/services/x/proxy/path")
        _, asked = s.hooks.asked[-1]
        assert (asked["operation"], asked["kind"]["kind"]) == ("CONNECT", "ServiceProxyOptions")
        assert asked["object"] == {"kind": "ServiceProxyOptions", "apiVersion": "v1", "path": "/path"}

    setting(test)


def test_a_token_is_what_webhooks_left_of_its_request(setting: Any) -> None:
    async def test(s: Setting) -> None:
        rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["serviceaccounts/token"]}
        narrowed = patching({"op": "add", "path": "/spec/audiences", "value": ["vault"]}, {"op": "add", "path": "/spec/expirationSeconds", "value": 700})
        await s.configure("mutating", "m", s.webhook("m", lambda request: narrowed, rules=[rule]))
        made = await s.api.json("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}}, status=201)
        assert (made["spec"]["audiences"], made["spec"]["expirationSeconds"]) == (["vault"], 700)
        claims = made["status"]["token"].split(".")[1]
        assert orjson.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["aud"] == ["vault"]

    setting(test)


def test_a_pod_is_bound_where_webhooks_left_its_binding(setting: Any) -> None:
    async def test(s: Setting) -> None:
        rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/binding"]}
        told = patching({"op": "add", "path": "/metadata", "value": {"name": "p", "annotations": {"zone": "a"}}})
        await s.configure("mutating", "m", s.webhook("m", lambda request: told, rules=[rule]))
        pods = "/api/v1/namespaces/default/pods"
        await s.api.json("POST", pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}, status=201)
        await s.api.json("POST", f"{pods}/p/binding", {"target": {"name": "n"}}, status=201)
        bound = await s.api.json("GET", f"{pods}/p", status=200)
        assert (bound["spec"]["nodeName"], bound["metadata"]["annotations"]) == ("n", {"zone": "a"})

    setting(test)


def test_what_is_deleted_or_connected_cannot_be_patched(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.create()
        await s.configure("mutating", "m", s.webhook("m", adds("x", "y"), rules=[{**WRITTEN, "operations": ["DELETE"]}]))
        refused = await s.api.json("DELETE", f"{CONFIG_MAPS}/a", status=500)
        assert "attempted to modify the object, which is not supported for this operation" in refused["message"]

    setting(test)


def test_equivalent_rules_get_the_version_they_ask_for_and_may_patch_it(setting: Any) -> None:
    async def test(s: Setting) -> None:
        rule = {**WRITTEN, "apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}
        to_ten = s.webhook("old", lambda request: patching({"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 10}), rules=[rule])
        await s.configure("mutating", "m", to_ten, s.webhook("exact", rules=[rule], matchPolicy="Exact"))
        metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
        spec = {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 3, "metrics": [metric]}
        hpa = {"metadata": {"name": "h"}, "spec": spec}
        made = await s.api.json("POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", hpa, status=201)
        assert s.hooks.paths() == ["/old"]
        _, asked = s.hooks.asked[0]
        assert (asked["kind"]["version"], asked["requestKind"]["version"], asked["object"]["apiVersion"]) == ("v1", "v2", "autoscaling/v1")
        assert made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 10 and made["apiVersion"] == "autoscaling/v2"

    setting(test)


def test_webhooks_never_see_what_configures_them(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.configure("validating", "closed", s.webhook("no", denies(message="closed"), rules=[EVERYTHING]))
        await s.create(status=400)
        await s.api.json("DELETE", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/closed", status=200)
        await s.api.server.feed.caught_up()
        await s.create()

    setting(test)


def test_a_service_is_called_by_its_name_wherever_it_is(setting: Any, tmp_path: Path) -> None:
    async def test(s: Setting) -> None:
        s.hooks.answers["/checks"] = lambda request: {}
        async with tls_server(s.hooks.handle, tmp_path / "service", names=("hook.default.svc",)) as server:
            service = {"metadata": {"name": "hook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
            reference = {"namespace": "default", "name": "hook", "port": server.port, "path": "/checks"}
            webhook = s.webhook("checks", clientConfig={"service": reference, "caBundle": server.ca_bundle})
            await s.configure("validating", "v", webhook)
            assert 'service "hook" not found' in (await s.create(status=500))["message"]
            await s.api.json("POST", "/api/v1/namespaces/default/services", service, status=201)
            await s.api.server.feed.caught_up()
            await s.create()
            assert s.hooks.paths() == ["/checks"]
        await s.api.json("DELETE", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/v", status=200)
        async with tls_server(s.hooks.handle, tmp_path / "wrong", names=("other.default.svc",)) as server:
            reference = {**reference, "port": server.port}
            wrong = s.webhook("checks", clientConfig={"service": reference, "caBundle": server.ca_bundle})
            await s.configure("validating", "w", wrong)
            refused = await s.create("b", status=500)
            assert "failed to verify certificate" in refused["message"] and f"https://hook.default.svc:{server.port}/checks" in refused["message"]

    setting(test)


def test_v1beta1_is_spoken_to_those_that_know_nothing_newer(setting: Any) -> None:
    async def test(s: Setting) -> None:
        def old(request: dict[str, Any]) -> dict[str, Any]:
            return {"uid": "", "patch": patching({"op": "add", "path": "/data/x", "value": "y"})["patch"]}

        await s.configure("mutating", "m", s.webhook("old", old, admissionReviewVersions=["v2", "v1beta1"]))
        assert (await s.create())["data"] == {"k": "v", "x": "y"}

    setting(test)


def test_match_conditions_choose_and_are_compiled_when_they_are_written(setting: Any) -> None:
    async def test(s: Setting) -> None:
        def conditions(*expressions: str) -> list[dict[str, str]]:
            return [{"name": f"c{index}", "expression": expression} for index, expression in enumerate(expressions)]

        await s.configure(
            "validating",
            "v",
            s.webhook("never", matchConditions=conditions("request.userInfo.username != 'system:apiserver'", "object.no.such == 1")),
            s.webhook("wide", matchConditions=conditions("object.data.k == 'v' && oldObject == null", "request.subResource == ''")),
            s.webhook("open", matchConditions=conditions("object.data.missing == 'x'"), failurePolicy="Ignore"),
        )
        await s.create()
        assert s.hooks.paths() == ["/wide"]
        await s.configure("validating", "w", s.webhook("closed", matchConditions=conditions("object.data.missing == 'x'")))
        refused = await s.create("b", status=403)
        assert refused["message"].startswith('configmaps "b" is forbidden: c0: ') and "missing" in refused["message"]
        refused = await s.configure("mutating", "m", s.webhook("bad", matchConditions=conditions("object.")), status=422)
        assert refused["details"]["causes"][0]["field"] == "webhooks[0].matchConditions[0].expression"
        assert "compilation failed" in refused["message"]

    setting(test)
