"""Vagrant's machines come up one by one: the one with which all are up deploys, once; the last one to go takes the cluster's files along."""

import sys
from pathlib import Path

import pytest

from k8sfromscratch.lab import vagrant, vagrant_hooks
from k8sfromscratch.lab.errors import NotReady
from k8sfromscratch.lab.spec import ClusterSpec

SPEC = ClusterSpec(workers=2)
NAMES = [machine.name for machine in SPEC.machines]


class Vagrant:
    """Vagrant's own records, and machines that answer or do not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answering = {str(machine.address) for machine in SPEC.machines}
        self.deploys = directory / "deploys"
        self.deploys.write_text("")

    def make(self, name: str, made: str = "first") -> None:
        file = self.directory / "machines" / name / "libvirt" / "id"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{made}-{name}")

    def up(self, name: str, exit_code: int = 0) -> int:
        vagrant_hooks.starting(name)
        self.make(name)
        return self.started(name, exit_code)

    def started(self, name: str, exit_code: int = 0) -> int:
        deploy = f"open({str(self.deploys)!r}, 'a').write({name!r} + ' '); raise SystemExit({exit_code})"
        return vagrant_hooks.started(name, SPEC, self.answering.__contains__, (sys.executable, "-c", deploy))

    def destroy(self, name: str) -> None:
        (self.directory / "machines" / name / "libvirt" / "id").unlink()
        vagrant_hooks.gone(name)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vagrant:
    monkeypatch.setenv("VAGRANT_DOTFILE_PATH", str(tmp_path))
    monkeypatch.setenv("KFS_VAGRANT_RUN", "1")
    monkeypatch.setattr(vagrant_hooks.kubectl, "ensure", lambda: "/usr/bin/kubectl")
    return Vagrant(tmp_path)


def test_the_last_machine_to_come_up_deploys(made: Vagrant, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("worker-2", "master-1"):
        assert made.up(name) == 0
        assert made.deploys.read_text() == ""
    assert "master-1 is up; the cluster is deployed when worker-1 will be" in capfd.readouterr().out
    assert made.up("worker-1") == 0
    assert made.deploys.read_text() == "worker-1 "
    assert f"--kubeconfig {made.directory}/cluster/admin.kubeconfig" in capfd.readouterr().out


def test_one_run_of_vagrant_deploys_once_another_again(made: Vagrant, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        made.up(name)
    # All run already; Vagrant goes through them one after the other.
    for name in NAMES:
        made.up(name)
    assert made.deploys.read_text().split() == [NAMES[-1]]
    monkeypatch.setenv("KFS_VAGRANT_RUN", "2")
    for name in NAMES:
        made.up(name)
    assert made.deploys.read_text().split() == [NAMES[-1], NAMES[0]]


def test_a_deploy_that_failed_is_tried_by_the_next_machine_or_run(made: Vagrant, capfd: pytest.CaptureFixture[str]) -> None:
    for name in NAMES[:-1]:
        made.up(name)
    assert made.up(NAMES[-1], exit_code=3) == 3
    assert "The deploy failed" in capfd.readouterr().out
    assert made.up(NAMES[0]) == 0
    assert made.deploys.read_text().split() == [NAMES[-1], NAMES[0]]


def test_a_machine_that_was_up_and_does_not_answer_is_waited_for(made: Vagrant) -> None:
    """This host was switched off in between: what is written down about the others is of yesterday."""
    for name in NAMES:
        made.make(name)
    for name in NAMES[1:]:
        made.up(name)
    made.answering.remove(str(SPEC.machine("worker-2").address))
    made.up("master-1")
    assert made.deploys.read_text() == ""


def test_a_machine_made_anew_is_waited_for(made: Vagrant) -> None:
    for name in NAMES[1:]:
        made.up(name)
    made.make("worker-1", made="second")
    made.up("master-1")
    assert made.deploys.read_text() == ""


def test_a_machine_that_went_without_the_hooks_is_waited_for(made: Vagrant) -> None:
    for name in NAMES[1:]:
        made.up(name)
    (made.directory / "machines" / "worker-1" / "libvirt" / "id").unlink()
    assert made.up("master-1") == 0
    assert made.deploys.read_text() == ""


def test_the_last_machine_to_go_takes_the_clusters_files_along(made: Vagrant) -> None:
    for name in NAMES:
        made.up(name)
    cluster = vagrant.directory()
    (cluster / "known_hosts-worker-1-x").write_text("")
    for name in NAMES[1:]:
        made.destroy(name)
    assert sorted(file.name for file in (cluster / "up").iterdir()) == ["master-1"] and not list(cluster.glob("known_hosts-worker-1-*"))
    made.destroy("master-1")
    assert not cluster.exists()


def test_a_machine_that_vagrant_does_not_know_is_told(made: Vagrant) -> None:
    with pytest.raises(NotReady, match="Vagrant has no machine worker-1: `vagrant up` makes it"):
        vagrant.machine_id("worker-1")
