"""ResourceQuota's admission through the real server: parallel requests never exceed, what is refused is not charged."""

import asyncio

from k8sfromscratch.api import errors
from k8sfromscratch.components.apiserver.store import Store
from k8sfromscratch.testing.virtual import run_virtual

QUOTAS, PODS = "/api/v1/namespaces/default/resourcequotas", "/api/v1/namespaces/default/pods"


async def quota(api, name, counted=True, used=None, **hard):
    hard = {key.replace("__", "/").replace("_", "."): value for key, value in hard.items()}
    body = {"metadata": {"name": name}, "spec": {"hard": hard}}
    made = await api.json("POST", QUOTAS, body, status=201)
    if counted:
        made["status"] = {"hard": hard, "used": {key: (used or {}).get(key, "0") for key in hard}}
        await api.json("PUT", f"{QUOTAS}/{name}/status", made, status=200)
    await api.server.feed.caught_up()


async def used(api, name):
    return (await api.json("GET", f"{QUOTAS}/{name}"))["status"]["used"]


def pod(name, **requests):
    resources = {"requests": requests} if requests else {}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}}


def test_fifty_at_once_against_ten_are_exactly_ten(with_api):
    async def test(api):
        await quota(api, "q", pods="10")
        answers = await asyncio.gather(*(api.json("POST", PODS, pod(f"p{i}")) for i in range(50)))
        refused = [answer for answer in answers if answer["kind"] == "Status"]
        assert len(refused) == 40
        assert len((await api.json("GET", PODS))["items"]) == 10
        assert await used(api, "q") == {"pods": "10"}
        for answer in refused:
            assert (answer["code"], answer["reason"]) == (403, "Forbidden")
        last = await api.json("POST", PODS, pod("last"), status=403)
        assert last["message"] == 'pods "last" is forbidden: exceeded quota: q, requested: pods=1, used: pods=10, limited: pods=10'

    with_api(test)


def test_two_servers_on_one_store_do_not_exceed_either(api_server):
    async def main(env):
        async with api_server(env) as one, api_server(env, one.storage) as other:
            await one.json("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}}, status=201)
            await quota(one, "q", pods="10")
            await other.server.feed.caught_up()
            answers = await asyncio.gather(*(api.json("POST", PODS, pod(f"p{i}-{n}")) for i in range(15) for n, api in enumerate((one, other))))
            assert sum(answer["kind"] == "Pod" for answer in answers) == 10
            assert await used(one, "q") == {"pods": "10"}

    run_virtual(main)


def test_what_one_quota_refuses_is_charged_to_none(with_api):
    async def test(api):
        await quota(api, "a", pods="5")
        await quota(api, "b", requests_cpu="1")
        for name in ("x", "y", "z"):
            await api.json("POST", PODS, pod(name, cpu="400m"))
        assert (await used(api, "a"), await used(api, "b")) == ({"pods": "2"}, {"requests.cpu": "800m"})

    with_api(test)


def test_what_was_charged_before_the_store_failed_is_not_charged_again(with_api, monkeypatch):
    async def test(api):
        await quota(api, "a", pods="10")
        await quota(api, "b", requests_cpu="1")
        update, failures = Store.update, [errors.ServiceUnavailable("the store does not answer"), None]

        async def failing_once(self, served, key, *rest, **more):
            for _ in range(20):
                await asyncio.sleep(0)  # others get in line meanwhile
            if key.endswith("/b") and failures and (failure := failures.pop()) is not None:
                raise failure
            return await update(self, served, key, *rest, **more)

        monkeypatch.setattr(Store, "update", failing_once)
        # The first heads the line and charges for nobody else; the second for all behind it, and meets the failure.
        answers = await asyncio.gather(*(api.json("POST", PODS, pod(f"p{i}", cpu="100m")) for i in range(5)))
        assert not failures and sum(answer["kind"] == "Pod" for answer in answers) == 4
        assert await used(api, "b") == {"requests.cpu": "400m"}
        # That of the one that failed is left for the controller to find.
        assert await used(api, "a") == {"pods": "5"}

    with_api(test)


def test_dry_runs_are_judged_and_not_charged(with_api):
    async def test(api):
        await quota(api, "q", pods="1")
        await api.json("POST", PODS, pod("a"), dryRun="All", status=201)
        assert await used(api, "q") == {"pods": "0"}
        await api.json("POST", PODS, pod("a"), status=201)
        await api.json("POST", PODS, pod("b"), dryRun="All", status=403)

    with_api(test)


def test_a_quota_counts_once_the_controller_has_counted(with_api):
    async def test(api):
        await quota(api, "q", counted=False, pods="0")
        await api.json("POST", PODS, pod("before"), status=201)

    with_api(test)


def test_containers_must_say_what_a_quota_counts(with_api):
    async def test(api):
        await quota(api, "q", limits_cpu="10", requests_memory="1Gi")
        answer = await api.json("POST", PODS, pod("p"), status=403)
        assert answer["message"] == 'pods "p" is forbidden: failed quota: q: must specify limits.cpu for: c; requests.memory for: c'

    with_api(test)


def test_an_update_that_uses_more_is_charged_the_difference(with_api):
    async def test(api):
        await quota(api, "q", services="2", services_nodeports="2")
        services = "/api/v1/namespaces/default/services"
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}
        made = await api.json("POST", services, body, status=201)
        assert await used(api, "q") == {"services": "1", "services.nodeports": "0"}
        made["spec"]["type"] = "NodePort"
        made = await api.json("PUT", f"{services}/s", made, status=200)
        assert await used(api, "q") == {"services": "1", "services.nodeports": "1"}
        made["spec"]["ports"] = [{"name": f"p{port}", "port": port} for port in (80, 81, 82)]
        answer = await api.json("PUT", f"{services}/s", made, status=403)
        assert "exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=1, limited: services.nodeports=2" in answer["message"]

    with_api(test)


def test_any_kind_is_counted(with_api):
    async def test(api):
        await quota(api, "q", count__configmaps="1", count__deployments_apps="0")
        await api.json("POST", "/api/v1/namespaces/default/configmaps", api.config_map("a"), status=201)
        answer = await api.json("POST", "/api/v1/namespaces/default/configmaps", api.config_map("b"), status=403)
        assert answer["message"].endswith("exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1")

    with_api(test)
