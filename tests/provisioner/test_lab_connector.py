"""`@lab` names machines without touching any: pyinfra evaluates inventories twice, and for every command."""

from pathlib import Path

import pytest
from pyinfra.api.exceptions import InventoryError

from k8sfromscratch.lab import keys, record
from k8sfromscratch.lab.connector import LabConnector
from k8sfromscratch.lab.spec import load_spec


def test_names_carry_how_to_reach_the_machine() -> None:
    ((name, data, groups),) = LabConnector.make_names_data("worker-1")
    assert (name, groups) == ("@lab/worker-1", [])
    assert data["ssh_hostname"] == str(load_spec().machine("worker-1").address)
    assert data["node_name"] == "worker-1"
    assert data["ssh_strict_host_key_checking"] == "yes"
    assert data["ssh_known_hosts_file"] == str(keys.KNOWN_HOSTS), "never the user's own"


def test_no_name_means_all_machines() -> None:
    assert [name for name, _, _ in LabConnector.make_names_data(None)] == ["@lab/master-1", "@lab/worker-1", "@lab/worker-2"]


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(InventoryError, match="the lab has no machine 'worker-9'; it has master-1, worker-1, worker-2"):
        list(LabConnector.make_names_data("worker-9"))


def test_naming_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "LAB_DIR", tmp_path / "lab")
    list(LabConnector.make_names_data(None))
    assert not (tmp_path / "lab").exists()
