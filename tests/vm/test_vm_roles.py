"""The base and runtime roles on a machine with a kernel of its own: what containers with the host's kernel and cgroups cannot show.

There the kernel's modules have to be loaded, cgroup v2 is the only hierarchy, and the roles come as a user with sudo.
"""

import re
import shlex
from collections.abc import Callable, Iterator

import pytest

from k8sfromscratch.lab.box import Box
from roles.base import MODULES, PYTHON, SYSCTLS
from tests.vm import qemu
from tests.vm.qemu import VirtualMachine

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

HERE = "tests/vm/base_and_runtime"

BUSYBOX = "docker.io/library/busybox:latest"
CTR = "ctr --namespace k8s.io"

ASK_CRI = f"""
import asyncio
from k8sfromscratch.runtime.cri import CriRuntime

async def main():
    runtime = CriRuntime("unix:///run/containerd/containerd.sock")
    version, readiness, image = await runtime.version(), await runtime.readiness(), await runtime.image("{BUSYBOX}")
    print(version.name, readiness.runtime, *image.tags)
    await runtime.close()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def machine(built_box: Box, tmp_path_factory: pytest.TempPathFactory, pyinfra: Callable[..., str]) -> Iterator[VirtualMachine]:
    """With the roles' first run behind it."""
    with qemu.running(built_box, tmp_path_factory.mktemp("vm")) as started:
        pyinfra(f"{HERE}/inventory.py", f"{HERE}/deploy.py", "-y", environment=started.environment())
        yield started


def test_a_second_run_changes_nothing(machine: VirtualMachine, pyinfra: Callable[..., str]) -> None:
    output = pyinfra(f"{HERE}/inventory.py", f"{HERE}/deploy.py", "-y", environment=machine.environment())
    total = re.search(r"Grand total +(\d+) +(-|\d+) +(-|\d+) +(\d+)", output)
    assert total is not None, output
    ran, changed, failed, unchanged = total.groups()
    assert (changed, failed, unchanged) == ("-", "-", ran), output


def test_modules_are_loaded_and_settings_hold(machine: VirtualMachine) -> None:
    loaded = {line.split()[0] for line in machine.ssh("lsmod").splitlines()}
    built_in = machine.ssh("sed 's|.*/||; s|[.]ko$||; s|-|_|g' /lib/modules/$(uname -r)/modules.builtin").split()
    assert set(MODULES) <= loaded.union(built_in)
    assert machine.ssh(f"sysctl -n {' '.join(SYSCTLS)}").split() == list(SYSCTLS.values())


def test_cgroup_v2_is_the_resource_hierarchy(machine: VirtualMachine) -> None:
    assert machine.ssh("stat -fc %T /sys/fs/cgroup").strip() == "cgroup2fs"
    assert {"cpu", "memory", "pids"} <= set(machine.ssh("cat /sys/fs/cgroup/cgroup.controllers").split())


def test_containerd_runs_a_container_of_our_image(machine: VirtualMachine) -> None:
    said = machine.ssh(f"{CTR} run --rm {BUSYBOX} once sh -c 'echo from the container; cat /proc/self/cgroup'").splitlines()
    assert said[0] == "from the container"
    assert said[1].startswith("0::/"), said


def test_a_containers_limit_is_in_its_own_cgroup(machine: VirtualMachine) -> None:
    machine.ssh(f"{CTR} run --detach --memory-limit 67108864 {BUSYBOX} limited sleep 600")
    pid = machine.ssh(CTR + " task list | awk '$1 == \"limited\" { print $2 }'").strip()
    assert machine.ssh(f"cat /sys/fs/cgroup$(cut -d: -f3 /proc/{pid}/cgroup)/memory.max").strip() == "67108864"
    machine.ssh(f"{CTR} task delete --force limited && {CTR} container delete limited")


def test_cri_answers_our_client(machine: VirtualMachine) -> None:
    name, ready, reference = machine.ssh(f"{PYTHON} -c {shlex.quote(ASK_CRI)}").split()
    assert (name, ready, reference) == ("containerd", "True", BUSYBOX)
