"""Virtual machines: with kernels of their own, with cgroup v2, without KVM.  Slow, hence run by `make nightly` and not by `make test`."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest

from k8sfromscratch.lab import box
from k8sfromscratch.lab.box import Box
from k8sfromscratch.lab.spec import ROOT


@pytest.fixture(scope="session")
def built_box(needs: Callable[..., None]) -> Box:
    needs("mmdebstrap", "mke2fs", "qemu-img", "qemu-system-x86_64", root=True)
    return box.ensure()


@pytest.fixture(scope="session")
def pyinfra() -> Callable[..., str]:
    """`pyinfra(*words, environment)`: what it printed; the test fails with that if it fails."""

    def run(*words: str, environment: Mapping[str, str], timeout_s: float = 900) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pyinfra", *words],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run
