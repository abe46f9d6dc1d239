"""Our answers beside those that a real kube-apiserver gave: each scenario on a fresh apiserver, every difference a row of deviations.yaml."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import orjson
import pytest

from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process import http_head, pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.recorded import corpus, page
from k8sfromscratch.testing.recorded.corpus import HttpRequest, Scenario
from k8sfromscratch.testing.recorded.deviations import Deviations
from k8sfromscratch.testing.recorded.facts import Facts, facts, saved
from k8sfromscratch.testing.virtual import run_virtual

HERE = Path(__file__).parent
SCENARIOS = {scenario.id: scenario for scenario in corpus.load(HERE / "requests")}
REQUESTS_MIN = 1000

_KEY = pki.make_key()
_USERS = {f"{name}-token": UserInfo(name, (*groups, "system:authenticated"), name) for name, groups in corpus.USERS.items()}
_DEVIATIONS = Deviations.load(HERE / "deviations.yaml")


@cache
def recorded(theme: str) -> Mapping[str, Mapping[str, Facts]]:
    return orjson.loads((HERE / "answers" / f"{theme}.json").read_bytes())


@cache
def unexplained(scenario_id: str) -> list[str]:
    """`step: what differs` for what no row explains."""
    scenario = SCENARIOS[scenario_id]
    answers = recorded(scenario.theme).get(scenario.name, {})
    found = []
    for step, ours in _replayed(scenario).items():
        if step not in answers:
            found.append(f"{step}: never recorded")
            continue
        found += [f"{step}: {difference}" for difference in _DEVIATIONS.unexplained(f"{scenario_id}/{step}", answers[step], ours)]
    return found


def _replayed(scenario: Scenario) -> dict[str, Facts]:
    answers: dict[str, Facts] = {}

    async def main(env: Env) -> None:
        storage = LocalStorage.memory(env)
        server = embedded(storage, env, signing_key=_KEY, tokens=_USERS)
        await server.start()

        async def send(request: HttpRequest) -> tuple[int, str, bytes]:
            raw_path, path, query = http_head.target(request.target.encode())
            headers = {name.lower(): value for name, value in request.headers.items()}
            response = await server.handle(Request(request.method, path, query, headers, request.body, raw_path=raw_path))
            assert isinstance(response, Response)
            body = response.body if isinstance(response.body, bytes) else b"".join([chunk async for chunk in response.body])
            return response.status, response.content_type, body

        try:
            variables = {"ns": scenario.name}
            for step in scenario.preparation():
                status, _, body = await send(step.request(variables))
                assert status == 201, body
            for step in scenario.steps:
                # Authorization and admission read caches: what the step before wrote must have reached them, as it has over a network.
                await server.feed.caught_up()
                request = step.request(variables)
                status, media_type, body = await send(request)
                answers[step.name] = facts(step, request, variables, status, media_type, body)
                variables |= saved(step, body)
        finally:
            await server.stop()
            await storage.close()

    run_virtual(main)
    return answers


@pytest.mark.parametrize("scenario_id", sorted(SCENARIOS))
def test_answers_are_upstreams(scenario_id: str) -> None:
    assert unexplained(scenario_id) == []


def test_no_deviation_is_out_of_date() -> None:
    for scenario_id in SCENARIOS:
        unexplained(scenario_id)
    assert _DEVIATIONS.stale() == []


def test_the_corpus_and_the_answers_belong_together() -> None:
    asked = {(one.theme, one.name, step.name) for one in SCENARIOS.values() for step in one.steps}
    themes = [path.stem for path in (HERE / "answers").glob("*.json")]
    answered = {(theme, scenario, step) for theme in themes for scenario, steps in recorded(theme).items() for step in steps}
    assert asked == answered
    assert len(asked) >= REQUESTS_MIN


def test_the_page_tells_what_the_rows_say() -> None:
    written = page.page(list(SCENARIOS.values()), Deviations.load(HERE / "deviations.yaml"))
    assert page.PAGE.read_text() == written, "run python -m k8sfromscratch.testing.recorded.page"
