"""Masters go in step, workers at their own pace; who fails leaves, the others go on, and a failed preflight stops all before any change."""

from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from k8sfromscratch.lab import lanes
from k8sfromscratch.lab.lanes import Lanes
from k8sfromscratch.lab.phases import Event, Teller

ORDER = ["Preflight | look", "etcd | start", "etcd | healthy", "Node | start", "Checks | dns"]


class Hosts:
    """A state that has what `Lanes` reads, and what happened in which order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fail: dict[tuple[str, str], Any] | None = None) -> None:
        self.ran: list[tuple[str, str]] = []
        self.told: list[Event] = []
        self.fail = fail or {}
        self.hosts = [self._host(name, group) for name, group in (("m1", "masters"), ("m2", "masters"), ("w1", "workers"), ("w2", "workers"))]
        skipped = {"etcd | start": "workers", "etcd | healthy": "workers"}
        self.state = SimpleNamespace(
            inventory=self.hosts,
            ops={host: {op: self._op(op, host) for op in ORDER if skipped.get(op) not in host.groups} for host in self.hosts},
            active_hosts=set(self.hosts),
            failed_hosts=set(),
            is_executing=False,
            get_op_order=lambda: ORDER,
            get_op_meta=lambda op: SimpleNamespace(names={op}, global_arguments={"_serial": False}),
        )
        monkeypatch.setattr(lanes, "run_host_op", self._run)
        teller = Teller(None)
        teller.tell = self.told.append  # type: ignore[method-assign]
        self.lanes = Lanes(self.state, teller)  # type: ignore[arg-type]

    def _host(self, name: str, group: str) -> Any:
        return _Hashable(name=name, groups=[group], data=SimpleNamespace(node_name=name), connector=SimpleNamespace(client=None))

    def _op(self, op: str, host: Any) -> Any:
        said = self.fail.get((host.name, op))
        lines = [said] if isinstance(said, str) else []
        return SimpleNamespace(operation_meta=SimpleNamespace(_commands=[], stdout_lines=[], stderr_lines=lines, is_complete=lambda: True))

    def _run(self, _state: Any, host: Any, op: str) -> bool:
        # w1 is quick, the masters give way at each operation.
        if host.name != "w1":
            gevent.sleep(0)
        self.ran.append((host.name, op))
        outcome = self.fail.get((host.name, op))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome is None


class _Hashable(SimpleNamespace):
    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.name)


def test_masters_are_in_step_and_a_quick_worker_is_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Hosts(monkeypatch)
    run.lanes.run()
    at = {step: place for place, step in enumerate(run.ran)}
    assert max(at["m1", "etcd | start"], at["m2", "etcd | start"]) < min(at["m1", "etcd | healthy"], at["m2", "etcd | healthy"])
    assert at["w1", "Node | start"] < at["m1", "etcd | healthy"]
    assert min(at[host, "Checks | dns"] for host in ("m1", "m2", "w1", "w2")) > max(at[host, "Node | start"] for host in ("m1", "m2", "w1", "w2"))
    assert sorted(event.host for event in run.told if event.what == "done") == ["m1", "m2", "w1", "w2"]


def test_a_host_that_fails_leaves_and_the_others_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Hosts(monkeypatch, fail={("w2", "Node | start"): "No space left on device"})
    run.lanes.run()
    assert ("w2", "Checks | dns") not in run.ran
    assert {host for host, op in run.ran if op == "Checks | dns"} == {"m1", "m2", "w1"}
    (failed,) = [event for event in run.told if event.what == "failed"]
    assert (failed.host, failed.phase, failed.operation, failed.cause) == ("w2", "Node", "start", "No space left on device")
    assert "free space" in failed.remedy
    assert [host.name for host in run.state.failed_hosts] == ["w2"]


def test_a_machine_that_went_away_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Hosts(monkeypatch, fail={("w2", "Node | start"): EOFError()})
    run.lanes.run()
    (lost,) = [event for event in run.told if event.what == "lost"]
    assert lost.host == "w2" and "connection to it broke" in lost.cause
    assert {host for host, op in run.ran if op == "Checks | dns"} == {"m1", "m2", "w1"}


def test_where_the_preflight_fails_nothing_is_changed_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Hosts(monkeypatch, fail={("w1", "Preflight | look"): "preflight: swap is on"})
    run.lanes.run()
    assert {op for _, op in run.ran} == {"Preflight | look"}


def test_a_machine_that_did_not_come_up_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Hosts(monkeypatch)
    (absent,) = [host for host in run.hosts if host.name == "w2"]
    run.state.active_hosts.discard(absent)
    run.state.failed_hosts.add(absent)
    run.lanes.run()
    assert {host for host, op in run.ran if op == "Checks | dns"} == {"m1", "m2", "w1"}
    assert [host.name for host in run.state.failed_hosts] == ["w2"], "the run has failed all the same"
