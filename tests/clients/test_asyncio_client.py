"""kubernetes_asyncio: the same API from an event loop."""

import asyncio
from typing import Any

import pytest
from kubernetes_asyncio import client, config, watch
from kubernetes_asyncio.client.exceptions import ApiException


def test_objects_watches_and_errors(cluster: Any, namespace: str) -> None:
    async def main() -> None:
        async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
            core = client.CoreV1Api(api)
            listed = await core.list_namespaced_config_map(namespace)
            seen: list[tuple[str, str]] = []

            async def follow() -> None:
                since = listed.metadata.resource_version
                async with watch.Watch().stream(core.list_namespaced_config_map, namespace, resource_version=since, timeout_seconds=120) as stream:
                    async for event in stream:
                        seen.append((event["type"], event["object"].metadata.name))
                        if event["type"] == "DELETED":
                            return

            following = asyncio.create_task(follow())
            names = [f"c{number}" for number in range(5)]
            await asyncio.gather(*(core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name))) for name in names))
            await core.patch_namespaced_config_map("c0", namespace, {"data": {"k": "v"}})
            await core.delete_namespaced_config_map("c1", namespace)
            await asyncio.wait_for(following, 120)
            mine = [(kind, name) for kind, name in seen if name != "kube-root-ca.crt"]
            assert sorted(mine[:5]) == [("ADDED", name) for name in names]
            assert mine[5:] == [("MODIFIED", "c0"), ("DELETED", "c1")]
            with pytest.raises(ApiException) as refused:
                await core.read_namespaced_config_map("none", namespace)
            assert refused.value.status == 404

    asyncio.run(main())
