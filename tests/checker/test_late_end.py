"""A member whose disk was full may take its time to end: it is started again, once."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from k8sfromscratch.testing.etcd_checker.client import Client, Unknown
from k8sfromscratch.testing.etcd_checker.cluster import Cluster
from k8sfromscratch.testing.etcd_checker.replay import Fault
from k8sfromscratch.testing.etcd_checker.sandbox import Sandbox


class Staged(Cluster):
    """Of one member, which ends when it is asked, so many times; then it answers."""

    def __init__(self, logs: Path, ends: int) -> None:
        super().__init__(cast("Sandbox", None), logs, upstream=False)
        self.starts, self._ends = 0, ends
        self.processes[1] = cast("Any", SimpleNamespace(returncode=None))
        self.clients[1] = cast("Client", SimpleNamespace(call=self._asked))
        self._log(1).touch()

    async def start(self, member: int) -> None:
        self.starts += 1
        self.processes[member] = cast("Any", SimpleNamespace(returncode=None))

    async def _asked(self, method: str, request: Any, *, timeout_s: float) -> None:
        if self.starts < self._ends:
            self.processes[1] = cast("Any", SimpleNamespace(returncode=1))
            raise Unknown("connection refused")


def answers(cluster: Cluster) -> None:
    asyncio.run(cluster._answers(1, time.monotonic() + 60))


def test_it_may_end_when_its_disk_has_room_again_already(tmp_path: Path) -> None:
    cluster = Staged(tmp_path, ends=1)
    cluster.may_die = {1}
    answers(cluster)
    assert cluster.starts == 1


@pytest.mark.parametrize(("may_die", "starts"), [(set(), 0), ({1}, 1)])
def test_without_a_reason_or_once_more_is_a_fault(tmp_path: Path, may_die: set[int], starts: int) -> None:
    cluster = Staged(tmp_path, ends=2)
    cluster.may_die = may_die
    with pytest.raises(Fault, match="m1 ended by itself with 1"):
        answers(cluster)
    assert cluster.starts == starts
