"""containerd's configuration, as containerd itself reads it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from roles.runtime import configuration


@pytest.mark.parametrize(("patience", "load", "state"), [(1, "5s", "2s"), (1.5, "7.5s", "3s"), (6, "30s", "12s")])
def test_a_slow_machine_gives_shims_time_to_answer_a_containerd_that_comes_back(
    needs: Callable[..., None], tmp_path: Path, patience: float, load: str, state: str
) -> None:
    needs("containerd")
    file = tmp_path / "config.toml"
    file.write_text(configuration(patience))
    read = subprocess.run(["containerd", "--config", file, "config", "dump"], capture_output=True, text=True, check=True).stdout
    assert f'"io.containerd.timeout.shim.load" = "{load}"' in read
    assert f'"io.containerd.timeout.task.state" = "{state}"' in read
    assert 'sandbox_image = "registry.k8s.io/pause:3.10"' in read
