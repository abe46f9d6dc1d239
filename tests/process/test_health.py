import asyncio

from prometheus_client import CollectorRegistry, Counter

from k8sfromscratch.process.health import health_handler
from k8sfromscratch.process.http import Request, Response


def asked(path: str, *, method: str = "GET", **query: str) -> tuple[int, str]:
    registry = CollectorRegistry()
    Counter("things_total", "things", registry=registry).inc(3)
    handler = health_handler(registry, {"ping": lambda: None, "disk": lambda: "it is full"})
    response = asyncio.run(handler(Request(method, path, {name: [value] for name, value in query.items()})))  # type: ignore[arg-type]
    assert isinstance(response, Response) and isinstance(response.body, bytes)
    return response.status, response.body.decode()


def test_a_failing_check_is_named() -> None:
    assert asked("/readyz") == (500, "[+]ping ok\n[-]disk failed: it is full\nreadyz check failed\n")


def test_without_it_all_is_well_in_short_and_in_full() -> None:
    assert asked("/livez", exclude="disk") == (200, "ok")
    assert asked("/livez", exclude="disk", verbose="") == (200, "[+]ping ok\n[+]disk excluded: ok\nlivez check passed\n")


def test_one_check_by_its_name() -> None:
    assert asked("/healthz/ping") == (200, "ok")
    assert asked("/healthz/disk") == (500, "internal server error: it is full\n")
    assert asked("/healthz/none")[0] == 404


def test_metrics_are_those_of_the_components_own_registry() -> None:
    status, body = asked("/metrics")
    assert status == 200 and "things_total 3.0" in body and "python_info" not in body


def test_anything_else_is_refused() -> None:
    assert asked("/")[0] == 404
    assert asked("/livez", method="POST")[0] == 405
