"""What a request costs the apiserver's own code: processor time in one process on the memory store, so that it is true on a busy machine too.

python benchmarks/bench_apiserver_cpu.py [--profile create|get|patch|list]      with a profile of one of them
"""

import argparse
import asyncio
import cProfile
import pstats
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from http_load import pod, pod_name

from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.core.authz.types import LOOPBACK
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.storage.local import LocalStorage

PODS = "/api/v1/namespaces/default/pods"
COUNT = 2000
MERGE, TABLE = "application/merge-patch+json", "application/json;as=Table;v=v1;g=meta.k8s.io"


async def measure_all(profiled: str) -> None:
    env = Env()
    server = embedded(LocalStorage.memory(env), env, signing_key=pki.make_key())
    await server.start()

    async def call(method: str, path: str, body: Any = None, content_type: str = "application/json", accept: str = "") -> None:
        headers = {"content-type": content_type, "accept": accept, "user-agent": "bench"}
        response = await server.handle(Request(method, path, {}, headers, b"" if body is None else orjson.dumps(body), direct_user=LOOPBACK))
        assert isinstance(response, Response) and response.status < 300, response
        await asyncio.sleep(0)  # the watch cache follows

    async def measure(name: str, count: int, one: Callable[[int], Awaitable[None]]) -> None:
        profile = cProfile.Profile() if name == profiled else None
        start_s = time.process_time()
        if profile is not None:
            profile.enable()
        for index in range(count):
            await one(index)
        if profile is not None:
            profile.disable()
        print(f"{name:10} {(time.process_time() - start_s) / count * 1e6:9.0f} µs")
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(60)

    await call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await measure("create", COUNT, lambda i: call("POST", PODS, pod(i)))
    await measure("get", COUNT, lambda i: call("GET", f"{PODS}/{pod_name(i)}"))
    await measure("patch", COUNT, lambda i: call("PATCH", f"{PODS}/{pod_name(i)}", {"metadata": {"annotations": {"x": str(i)}}}, MERGE))
    await measure("list", 20, lambda i: call("GET", PODS))
    await measure("table", 5, lambda i: call("GET", PODS, accept=TABLE))
    await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--profile", choices=["create", "get", "patch", "list", "table"], default="")
    asyncio.run(measure_all(parser.parse_args().profile))


if __name__ == "__main__":
    main()
