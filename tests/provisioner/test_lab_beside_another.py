"""A lab of another checkout with the same name is left alone: its machines are not ended to make room for ours."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from k8sfromscratch.lab import cgroups
from k8sfromscratch.lab.errors import LabError
from k8sfromscratch.lab.providers import nspawn, provider_for
from k8sfromscratch.lab.record import Record
from k8sfromscratch.lab.spec import ClusterSpec


def test_a_running_machine_of_the_same_name_is_refused(needs: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    needs("ip", root=True)
    monkeypatch.setattr(nspawn.Record, "load", classmethod(lambda cls: Record()))
    spec = ClusterSpec(name="foreign")
    joins: list[Path] = cgroups.create("foreign-master-1")
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        joins[0].write_text(str(other.pid))
        with pytest.raises(LabError, match="another lab named 'foreign' runs on this host"):
            provider_for(spec).prepare()
        assert other.poll() is None, "it was left alone"
    finally:
        other.communicate()
        cgroups.remove("foreign-master-1")
    assert not any((hierarchy / "foreign-master-1").exists() for hierarchy in cgroups.hierarchies())
