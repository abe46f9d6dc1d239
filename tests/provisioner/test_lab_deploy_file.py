"""`deploy.py` and what runs it: what this host cannot do is told as a message, whichever of pyinfra and `make lab` asked for it."""

import runpy
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.connectors.ssh import SSHConnector

from k8sfromscratch.lab import artifacts, connector
from k8sfromscratch.lab.connector import LabConnector
from k8sfromscratch.lab.errors import CommandFailed, MissingTool
from k8sfromscratch.lab.phases import CONNECT_REMEDY, fatal, remedy_for
from k8sfromscratch.lab.spec import ROOT
from roles import preflight

FULL = OSError(28, "No space left on device", "/var/cache/wheels")


@pytest.mark.parametrize("error", [MissingTool("the program 'mmdebstrap' is not installed"), CommandFailed("pip ended with 1: no network"), FULL])
def test_what_this_host_lacks_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """pyinfra prints a traceback for any other exception of a deploy file."""

    def fails(_python: str) -> Any:
        raise error

    monkeypatch.setattr(preflight, "preflight", lambda: None)
    monkeypatch.setattr(preflight, "passed", lambda: True)
    monkeypatch.setattr(preflight, "python", lambda: "3.11")
    monkeypatch.setattr(artifacts, "ensure", fails)
    with pytest.raises(PyinfraError) as raised:
        runpy.run_path(str(ROOT / "deploy.py"))
    assert str(raised.value) == f"this host cannot make what machines are given: {error}"


def test_a_machine_that_this_host_has_no_room_for_is_one_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other exception would end the run of all machines."""

    class Full:
        def ensure(self, _machine: Any) -> bool:
            raise FULL

    monkeypatch.setattr(connector, "_provider", lambda _spec: Full())
    monkeypatch.setattr(SSHConnector, "connect", lambda _self: pytest.fail("it is not there"))
    machine = LabConnector.__new__(LabConnector)
    machine.host = SimpleNamespace(data=SimpleNamespace(node_name="worker-1"))  # type: ignore[assignment]
    with pytest.raises(ConnectError, match="No space left on device: '/var/cache/wheels'") as raised:
        machine.connect()
    assert "free space" in remedy_for([str(raised.value)], CONNECT_REMEDY)


@pytest.mark.parametrize("said", ["Authentication error (username=root)", "SSH host key error (Host key for 10.89.0.11 does not match.)"])
def test_a_machine_with_other_keys_has_its_remedy(said: str) -> None:
    assert ".lab/ssh" in remedy_for([said], CONNECT_REMEDY) and "make lab-down" in remedy_for([said], CONNECT_REMEDY)


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        (PyinfraError("certificates could not be made: No space left on device"), "certificates could not be made: No space left on device", "free space"),
        (MissingTool("the program 'ip' is not installed"), "the program 'ip' is not installed", "see the log"),
        (KeyError("node_name"), "KeyError: 'node_name'", "this is a fault of the lab itself"),
    ],
)
def test_what_ends_the_whole_run_is_told_with_what_to_do(error: Exception, cause: str, remedy: str) -> None:
    told = fatal(error, foreseen=not isinstance(error, KeyError))
    assert (told.what, told.host, told.cause) == ("failed", "this host", cause) and told.remedy.startswith(remedy)
