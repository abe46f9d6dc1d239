"""A lab with fewer workers than before: their machines go, and when the others are deployed the cluster forgets their nodes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import k8sfromscratch.lab.__main__ as lab_main
from k8sfromscratch.lab.errors import CommandFailed
from k8sfromscratch.lab.record import MachineRecord, Record
from k8sfromscratch.lab.spec import ClusterSpec


class Machines:
    """A provider, and what was done in which order."""

    def __init__(self, record: Record, directory: Path) -> None:
        self.record, self.kubeconfig = record, directory / "admin.kubeconfig"
        self.did: list[str] = []

    def names(self) -> dict[str, bool]:
        return dict.fromkeys(self.record.machines, True)

    def remove(self, name: str) -> None:
        del self.record.machines[name]
        self.did.append(f"remove {name}")


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machines:
    record = Record(machines={name: MachineRecord(root="") for name in ("master-1", "worker-1", "worker-2", "worker-3")})
    machines = Machines(record, tmp_path)

    @contextmanager
    def locked(_class: type[Record]) -> Iterator[Record]:
        yield record

    def carried_out(argv: list[Any]) -> str:
        machines.did.append(" ".join(map(str, argv)).replace(str(tmp_path), ""))
        return ""

    monkeypatch.setattr(Record, "load", classmethod(lambda cls: record.model_copy(deep=True)))
    monkeypatch.setattr(Record, "locked", classmethod(locked))
    monkeypatch.setattr(lab_main, "LAB_DIR", tmp_path)
    monkeypatch.setattr(lab_main, "provider_for", lambda _spec: machines)
    monkeypatch.setattr(lab_main, "run", carried_out)
    monkeypatch.setattr(lab_main.kubectl, "ensure", lambda: "kubectl")
    return machines


def up(lab: Machines, monkeypatch: pytest.MonkeyPatch, *, workers: int, deployed: int = 0) -> int:
    def provision(*_words: Any) -> int:
        lab.did.append("deploy")
        return deployed

    monkeypatch.setattr(lab_main, "_provision", provision)
    return lab_main.up(ClusterSpec(workers=workers))


def test_the_cluster_forgets_the_nodes_of_machines_that_went(lab: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    assert up(lab, monkeypatch, workers=1) == 0
    forget = "kubectl --kubeconfig=/admin.kubeconfig delete node --ignore-not-found worker-2 worker-3"
    assert lab.did == ["remove worker-2", "remove worker-3", "deploy", forget]
    lab.did.clear()
    assert up(lab, monkeypatch, workers=1) == 0
    assert lab.did == ["deploy"]


def test_what_a_failed_run_did_not_come_to_the_next_one_does(lab: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    assert up(lab, monkeypatch, workers=2, deployed=1) == 1
    assert lab.did == ["remove worker-3", "deploy"]

    def refuses(_argv: list[Any]) -> str:
        raise CommandFailed("kubectl ended with 1")

    with monkeypatch.context() as broken, pytest.raises(CommandFailed):
        broken.setattr(lab_main, "run", refuses)
        up(lab, monkeypatch, workers=2)
    assert up(lab, monkeypatch, workers=2) == 0
    assert lab.did[-1].endswith("delete node --ignore-not-found worker-3")


def test_a_worker_that_is_back_is_not_forgotten(lab: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    assert up(lab, monkeypatch, workers=2, deployed=1) == 1
    assert up(lab, monkeypatch, workers=3) == 0
    assert not any("delete" in done for done in lab.did) and lab.record.left == []
