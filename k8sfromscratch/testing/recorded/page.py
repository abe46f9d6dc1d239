"""The page about it, docs/compatibility.md: written from the corpus and the rows, held to them by a test.

python -m k8sfromscratch.testing.recorded.page
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from k8sfromscratch.testing.recorded import corpus
from k8sfromscratch.testing.recorded.corpus import Scenario
from k8sfromscratch.testing.recorded.deviations import Deviations

ROOT = Path(__file__).resolve().parents[3]
RECORDED = ROOT / "tests" / "recorded"
PAGE = ROOT / "docs" / "compatibility.md"

_HEAD = """# Compatibility with upstream

What a real kube-apiserver answers has been recorded and is asked of ours in every run of the tests: {steps} requests in {scenarios} scenarios.

- `tests/recorded/requests/*.yaml` are the requests, by theme. A scenario has its own namespace, and its steps build on one another.
- `tests/recorded/answers/*.json` are kube-apiserver 1.20.2's answers: status, reason, causes, messages; objects with their defaults; the cells of tables.
  `tools/record_answers.py` records them anew where upstream's binary is. That release must not be built with Go 1.18 or later as it is: its JSON library
  (reflect2 before 1.0.2) iterates over maps by an entry point of the runtime that has changed, and corrupts memory.
- `tests/recorded/test_recorded_answers.py` plays each scenario on a fresh apiserver and compares.
- `tests/recorded/deviations.yaml` says where we differ and why: 1.35, whose API we serve, does otherwise; we chose so; or something is lacking.
  A difference without a row fails the test, and so does a row without a difference.

The kinds that 1.20 had in a beta version only are asked there as such (policy, discovery, CronJobs). This page is written by
`python -m k8sfromscratch.testing.recorded.page`.

| theme | scenarios | requests |
|---|---|---|
"""
_SECTIONS = (("Gap: ", "## What is lacking"), ("Choice: ", "## What we chose"), ("", "## What releases after 1.20 do otherwise"))


def page(scenarios: Sequence[Scenario], deviations: Deviations) -> str:
    steps = Counter[str]()
    count = Counter(scenario.theme for scenario in scenarios)
    for scenario in scenarios:
        steps[scenario.theme] += len(scenario.steps)
    text = _HEAD.format(steps=steps.total(), scenarios=len(scenarios))
    text += "".join(f"| {theme} | {count[theme]} | {steps[theme]} |\n" for theme in sorted(count))
    rows = {row.why: len(row.where) for row in deviations.rows}
    for prefix, title in _SECTIONS:
        chosen = {why: where for why, where in rows.items() if why.startswith(prefix)}
        rows = {why: where for why, where in rows.items() if why not in chosen}
        text += f"\n{title}\n\n| reason | answers |\n|---|---|\n"
        text += "".join(f"| {_sentence(why.removeprefix(prefix))} | {where} |\n" for why, where in chosen.items())
    text += "\n## Words that changed\n\n| reason |\n|---|\n"
    return text + "".join(f"| {_sentence(one.why)} |\n" for one in deviations.wordings)


def _sentence(why: str) -> str:
    return (why[0].upper() + why[1:]).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(corpus.load(RECORDED / "requests"), Deviations.load(RECORDED / "deviations.yaml")))
