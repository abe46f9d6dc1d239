"""Tokens of service accounts: made by TokenRequest, good while what they are bound to exists, checkable by others through the JWKS."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import jwt
import pytest

from k8sfromscratch.api.registry import PODS, SERVICE_ACCOUNTS
from k8sfromscratch.components.apiserver.security import EMBEDDED_ISSUER

Running = Callable[[], AbstractAsyncContextManager[Any]]
Object = dict[str, Any]
TOKEN = "/api/v1/namespaces/default/serviceaccounts/bot/token"
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def new_token(c: Any, **spec: Any) -> str:
    status, body = await c.send("POST", TOKEN, {"spec": spec}, token="root")
    assert status == 201, body
    return body["status"]["token"]


async def with_account(c: Any) -> Object:
    await c.create("v1", "ServiceAccount", "default", "default")
    return await c.create("v1", "ServiceAccount", "bot", "default")


async def with_pod(c: Any, node: str = "") -> Object:
    spec: Object = {"containers": [{"name": "c", "image": "i"}], "serviceAccountName": "bot"}
    return await c.create("v1", "Pod", "web", "default", spec={**spec, **({"nodeName": node} if node else {})})


def test_a_token_is_its_account(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            account = await with_account(c)
            token = await new_token(c)
            status, body = await c.send("POST", WHOAMI, {}, token=token)
            assert status == 201
            claims = jwt.decode(token, options={"verify_signature": False})
            assert body["status"]["userInfo"] == {
                "username": "system:serviceaccount:default:bot",
                "uid": account["metadata"]["uid"],
                "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
                "extra": {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]},
            }
            assert claims["exp"] - claims["iat"] == 3600
            assert claims["kubernetes.io"] == {"namespace": "default", "serviceaccount": {"name": "bot", "uid": account["metadata"]["uid"]}}

    asyncio.run(main())


def test_others_can_check_it(cluster: Running) -> None:
    """As a cloud provider does: from the discovery document to the keys to the signature."""

    async def main() -> None:
        async with cluster() as c:
            await with_account(c)
            token = await new_token(c, audiences=["vault"])
            own = await new_token(c)
            status, configuration = await c.send("GET", "/.well-known/openid-configuration", token=own)
            assert status == 200 and configuration["issuer"] == EMBEDDED_ISSUER and configuration["jwks_uri"] == "https://127.0.0.1:6443/openid/v1/jwks"
            _, keys = await c.send("GET", "/openid/v1/jwks", token=own)
            key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
            options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
            claims = jwt.decode(token, key, configuration["id_token_signing_alg_values_supported"], options, audience="vault", issuer=EMBEDDED_ISSUER)
            assert claims["sub"] == "system:serviceaccount:default:bot"
            assert (await c.send("GET", "/openid/v1/jwks"))[0] == 403

    asyncio.run(main())


def test_a_token_for_others_is_not_for_us(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            await with_account(c)
            token = await new_token(c, audiences=["vault"])
            assert (await c.send("POST", WHOAMI, {}, token=token))[0] == 401
            path = "/apis/authentication.k8s.io/v1/tokenreviews"
            _, review = await c.send("POST", path, {"spec": {"token": token, "audiences": ["vault", "x"]}}, token="root")
            assert review["status"]["authenticated"] is True and review["status"]["audiences"] == ["vault"]
            _, review = await c.send("POST", path, {"spec": {"token": token}}, token="root")
            assert "authenticated" in review["status"] and review["status"]["authenticated"] is False
            _, review = await c.send("POST", path, {"spec": {"token": "ann"}}, token="root")
            assert review["status"]["user"]["username"] == "ann"

    asyncio.run(main())


def test_it_ends(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            await with_account(c)
            token = await new_token(c, expirationSeconds=600)
            c.clock.advance(659)
            assert (await c.send("POST", WHOAMI, {}, token=token))[0] == 201
            c.clock.advance(2)
            assert (await c.send("POST", WHOAMI, {}, token=token))[0] == 401

    asyncio.run(main())


@pytest.mark.parametrize("again", [False, True])
def test_it_ends_with_its_account(cluster: Running, again: bool) -> None:
    """Seen at the latest when the bound objects are looked at again; an account of the same name is another."""

    async def main() -> None:
        async with cluster() as c:
            await with_account(c)
            token = await new_token(c)
            assert (await c.send("POST", WHOAMI, {}, token=token))[0] == 201
            await c.root.delete(SERVICE_ACCOUNTS, "bot", "default")
            if again:
                await c.create("v1", "ServiceAccount", "bot", "default")
            c.clock.advance(11)
            assert (await c.send("POST", WHOAMI, {}, token=token))[0] == 401

    asyncio.run(main())


def test_a_pods_token(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            await with_account(c)
            node = await c.create("v1", "Node", "n1")
            pod = await with_pod(c, "n1")
            ref = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": pod["metadata"]["uid"]}
            token = await new_token(c, boundObjectRef=ref, expirationSeconds=3607)
            claims = jwt.decode(token, options={"verify_signature": False})
            assert claims["kubernetes.io"]["pod"] == {"name": "web", "uid": pod["metadata"]["uid"]}
            assert claims["kubernetes.io"]["node"] == {"name": "n1", "uid": node["metadata"]["uid"]}
            assert claims["exp"] - claims["iat"] == 365 * 24 * 3600 and claims["kubernetes.io"]["warnafter"] == claims["iat"] + 3607
            _, body = await c.send("POST", WHOAMI, {}, token=token)
            assert body["status"]["userInfo"]["extra"]["authentication.kubernetes.io/pod-name"] == ["web"]
            await c.root.delete(PODS, "web", "default", grace_period_s=0)
            c.clock.advance(11)
            assert (await c.send("POST", WHOAMI, {}, token=token))[0] == 401

    asyncio.run(main())


@pytest.mark.parametrize(
    ("spec", "status", "message"),
    [
        ({"expirationSeconds": 599}, 422, "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 2**33}, 422, "may not specify a duration larger than 2^32 seconds"),
        ({"expirationSeconds": "1h"}, 400, "TokenRequest.spec.expirationSeconds: must be an integer"),
        ({"audiences": "x"}, 400, "TokenRequest.spec.audiences: must be a list of strings"),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}}, 404, 'pods "none" not found'),
        ({"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "x"}}, 400, "to object of type ConfigMap"),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "other"}}, 409, "does not match the UID in record"),
    ],
)
def test_what_cannot_be_had(cluster: Running, spec: Object, status: int, message: str) -> None:
    async def main() -> None:
        async with cluster() as c:
            await with_account(c)
            await with_pod(c)
            answered, body = await c.send("POST", TOKEN, {"spec": spec}, token="root")
            assert answered == status and message in body["message"]

    asyncio.run(main())


def test_account_and_pod_must_belong_together(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            await with_account(c)
            await with_pod(c)
            spec = {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web"}}
            status, body = await c.send("POST", TOKEN.replace("bot", "default"), {"spec": spec}, token="root")
            assert status == 400 and "to pod running with different serviceaccount name." in body["message"]
            assert (await c.send("POST", TOKEN.replace("bot", "none"), {"spec": {}}, token="root"))[0] == 404

    asyncio.run(main())


def test_a_kubelet_gets_tokens_of_its_own_pods_only(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            await with_account(c)
            pod = await with_pod(c, "n1")
            ref = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": pod["metadata"]["uid"]}

            async def ask(node: str, **spec: Any) -> int:
                headers = {"impersonate-user": f"system:node:{node}", "impersonate-group": "system:nodes"}
                return int((await c.send("POST", TOKEN, {"spec": spec}, token="root", headers=headers))[0])

            assert await ask("n1", boundObjectRef=ref) == 201
            assert await ask("n2", boundObjectRef=ref) == 403
            assert await ask("n1") == 403
            assert await ask("n1", boundObjectRef=ref, audiences=["vault"]) == 403

    asyncio.run(main())


def test_forged_tokens(cluster: Running) -> None:
    async def main() -> None:
        async with cluster() as c:
            await with_account(c)
            token = await new_token(c)
            claims = jwt.decode(token, options={"verify_signature": False})
            kid = jwt.get_unverified_header(token)["kid"]
            key = c.security.issuer.key.public.key
            forged = [
                jwt.encode(claims, "secret-that-is-long-enough-for-hs256-here", algorithm="HS256", headers={"kid": kid}),
                jwt.encode(claims, None, algorithm="none", headers={"kid": kid}),
                token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB"),
                ".".join([token.split(".")[0], token.split(".")[1] + "A", token.split(".")[2]]),
            ]
            assert key is not None
            for bad in forged:
                assert (await c.send("POST", WHOAMI, {}, token=bad))[0] == 401

    asyncio.run(main())
