"""Secrets of type kubernetes.io/service-account-token: filled, good as long as they are there, and deleted with their account."""

import base64

import pytest

from k8sfromscratch.api.registry import SECRETS, SERVICE_ACCOUNTS, TOKEN_REVIEWS

TYPE = "kubernetes.io/service-account-token"


def secret_of(account):
    return {"type": TYPE, "metadata": {"annotations": {"kubernetes.io/service-account.name": account}}}


async def filled(cluster, name="key"):
    found = await cluster.get(SECRETS, name)
    return found if found is not None and (found.get("data") or {}).get("token") else None


async def gone(cluster, name="key"):
    return await cluster.get(SECRETS, name) is None


async def reviewed(cluster, token):
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {"token": token}}
    return (await cluster.client.create(TOKEN_REVIEWS, body))["status"]


def test_a_secret_is_filled_with_a_token_that_is_good_until_the_secret_is_deleted(play):
    async def story(cluster):
        account = await cluster.apply(SERVICE_ACCOUNTS, "robot")
        await cluster.apply(SECRETS, "key", **secret_of("robot"))
        found = await cluster.until(lambda: filled(cluster))
        assert base64.b64decode(found["data"]["namespace"]) == b"default"
        assert found["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == account["metadata"]["uid"]
        token = base64.b64decode(found["data"]["token"]).decode()
        status = await reviewed(cluster, token)
        assert status["authenticated"] and status["user"]["username"] == "system:serviceaccount:default:robot"
        await cluster.client.delete(SECRETS, "key", "default")
        await cluster.until(lambda: refused(cluster, token))

    async def refused(cluster, token):
        return not (await reviewed(cluster, token)).get("authenticated")

    play(story)


def test_a_secret_goes_with_its_account_and_one_of_no_account_at_once(play):
    async def story(cluster):
        await cluster.apply(SECRETS, "stray", **secret_of("nobody"))
        await cluster.until(lambda: gone(cluster, "stray"))
        await cluster.apply(SERVICE_ACCOUNTS, "robot")
        await cluster.apply(SECRETS, "key", **secret_of("robot"))
        await cluster.until(lambda: filled(cluster))
        await cluster.client.delete(SERVICE_ACCOUNTS, "robot", "default")
        await cluster.until(lambda: gone(cluster))

    play(story)


@pytest.mark.parametrize("kind", ["Opaque", "example.com/other"])
def test_other_secrets_are_nobodys_business(play, kind):
    async def story(cluster):
        await cluster.apply(SECRETS, "other", **{**secret_of("nobody"), "type": kind})
        await cluster.apply(SERVICE_ACCOUNTS, "robot")
        await cluster.apply(SECRETS, "key", **secret_of("robot"))
        await cluster.until(lambda: filled(cluster))
        assert "data" not in await cluster.get(SECRETS, "other")

    play(story)
