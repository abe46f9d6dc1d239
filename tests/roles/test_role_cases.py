"""Facts in, operations out: every file of `cases/ROLE` is a test of that role; what such a file may hold is in `role_case.py`."""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from k8sfromscratch.lab.environment import Environment
from k8sfromscratch.lab.images import Image
from roles import preflight
from tests.roles.role_case import CASES, BadCase, Case, load, run
from tests.roles.test_preflight import GOOD, NOW_S

ROLES = ("preflight", "base", "pki", "etcd", "runtime", "control_plane", "addons", "node", "checks")
FILES = sorted(CASES.glob("*/*.yaml"))


@pytest.fixture(scope="session")
def pki_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all cases: making keys is what takes time."""
    return tmp_path_factory.mktemp("pki")


@pytest.fixture
def cluster(tmp_path: Path, pki_directory: Path) -> dict[str, Any]:
    return {
        "cluster_name": "test",
        "cluster_domain": "cluster.local",
        "pod_cidr": "10.244.0.0/16",
        "service_cidr": "10.96.0.0/16",
        "node_port_range": "30000-32767",
        "api_address": "192.0.2.11",
        "api_service_address": "10.96.0.1",
        "dns_address": "10.96.0.10",
        "node_monitor_grace_period_s": 40.0,
        "pki_directory": str(pki_directory),
        "admin_kubeconfig": str(tmp_path / "admin.kubeconfig"),
    }


def arguments_of(case: Case) -> dict[str, Any]:
    """The usual ones of the role, with the case's in their places."""
    given = dict(case.arguments)
    match case.role:
        case "base":
            python, dependencies, project = (str(given.get(key, usual)) for key, usual in (("python", "3.11"), ("dependencies", "d1"), ("project", "p1")))
            archives = Path(f"dependencies-{dependencies}.tar.gz"), Path(f"project-{project}.tar.gz")
            return {"wanted": Environment(python, archives[0], dependencies, archives[1], project, given.get("compiled", True))}
        case "runtime":
            images = given.get("images", {"busybox": "sha256:1"})
            return {"images": [Image(name, f"docker.io/library/{name}:latest", Path(f"{name}.tar"), digest) for name, digest in images.items()]}
        case "etcd" | "control_plane" | "node":
            return {"wheel": "wheel-1", **given}
        case "addons":
            return {"image": "docker.io/k8sfromscratch/addons:1", **given}
        case _:
            return given


def outcome(case: Case, cluster: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, list[str]]]:
    module: ModuleType = importlib.import_module(f"roles.{case.role}")
    data = dict(cluster)
    for name, text in case.control_host.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        data["pki_directory"] = str(tmp_path / "pki")
    if case.role == "preflight":
        monkeypatch.setattr(preflight.time, "time", lambda: NOW_S)
        monkeypatch.setattr(preflight, "_grounds", {})
        monkeypatch.setattr(preflight, "_found", {name: [] if name not in case.cluster["refused"] else ["swap is on"] for name in ("master-1", "worker-1")})
    ground = {"ReadGround": lambda given: None if given == "unreadable" else replace(GOOD, **{key: _frozen(value) for key, value in given.items()})}
    placed = replace(case, arguments=arguments_of(case))
    return run(placed, module, getattr(module, case.role), data, {}, ground)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_case(file: Path, cluster: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = load(file)
    if case.refuses is None:
        assert outcome(case, cluster, tmp_path, monkeypatch) == case.operations
        return
    try:
        done = outcome(case, cluster, tmp_path, monkeypatch)
    except PyinfraError as error:
        assert case.refuses in str(error)
        return
    ((said,),) = (told for operation in done for told in operation.values())
    assert said.startswith("fail: ") and case.refuses in said


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_the_cases_that_matter(role: str) -> None:
    names = {file.stem for file in FILES if file.parent.name == role}
    assert {"fresh_machine", "second_run"} < names, "and at least one of a machine that is partly as it should be"
    nothing = load(CASES / role / "second_run.yaml")
    assert nothing.operations == []


def test_no_case_is_of_an_unknown_role() -> None:
    assert {file.parent.name for file in FILES} == set(ROLES)
    roles = {file.parent.name for file in Path(preflight.__file__).parents[1].glob("*/__init__.py")}
    assert roles - {"lib"} == set(ROLES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("about: x\nfacts: {Answers: {all: true}}\n", "asserts nothing"),
        ("about: x\noperations: []\n", "gives no facts"),
        ("facts: {Answers: {all: true}}\noperations: []\n", "what is it about"),
        ("about: x\nfact: {}\noperations: []\n", "unknown: fact"),
        ("about: x\nfacts: {A: 1}\noperations: []\nrefuses: y\n", "asserts nothing"),
    ],
)
def test_a_case_that_shows_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "case.yaml"
    file.write_text(text)
    with pytest.raises(BadCase, match=said):
        load(file)


@pytest.mark.parametrize(
    ("role", "facts", "said"),
    [
        ("checks", "{Files: {all: as wanted}}", "the role asks Answers"),
        ("checks", "{Answers: {kubelet.service: true}}", "0 entries of the case are about it"),
        ("checks", "{Answers: {kubelet.service: true, node: true, all: true}}", "2 entries of the case are about it"),
        ("checks", "{Answers: {all: true}, Units: {}}", "the role never asks Units"),
        ("pki", "{Files: {/etc/passwd: as wanted}}", "the role asks Files of /etc/kubernetes/pki/ca.crt"),
        ("pki", "{Files: {all: as wanted, /etc/passwd: absent}}", "the role never asks Files: /etc/passwd"),
        ("pki", "{Files: {all: {mode: '600'}}}", "not a state"),
    ],
)
def test_facts_are_those_that_the_role_asks(role: str, facts: str, said: str, tmp_path: Path, cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / role / "case.yaml"
    file.parent.mkdir()
    file.write_text(f"about: x\ngroups: [workers]\nfacts: {facts}\noperations: []\n")
    with pytest.raises(BadCase, match=said):
        outcome(load(file), cluster, tmp_path, monkeypatch)
