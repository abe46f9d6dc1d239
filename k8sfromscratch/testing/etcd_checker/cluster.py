"""Members as processes in the sandbox: started, killed, paused, cut off, with full disks."""

import asyncio
import signal
import sys
import time
from pathlib import Path

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_checker import sandbox
from k8sfromscratch.testing.etcd_checker.client import CLIENT_PORT, PEER_PORT, Client, Refused, Unknown
from k8sfromscratch.testing.etcd_checker.replay import Fault
from k8sfromscratch.testing.etcd_checker.sandbox import Sandbox

MEMBERS = (1, 2, 3)
ALIVE_S = 150.0
"""In which a whole cluster must answer when nothing is in its way.  Starting three takes seconds, or a minute on a machine that has other things to do."""
ANSWER_S = 5.0
POLL_S = 0.1
LOG_TAIL_LINES = 15


class Cluster:
    def __init__(self, box: Sandbox, logs: Path, *, upstream: bool) -> None:
        self._box, self._logs, self._upstream = box, logs, upstream
        self.processes: dict[int, asyncio.subprocess.Process] = {}
        self.paused: set[int] = set()
        self.may_die: set[int] = set()
        """Whose disk is full, or was: they may end themselves."""
        self.clients = {member: Client(member) for member in MEMBERS}

    async def start(self, member: int) -> None:
        url = f"http://{sandbox.address(member)}"
        program = ["etcd"] if self._upstream else [sys.executable, "-m", "k8sfromscratch.components.etcd"]
        flags = [
            "--name", sandbox.namespace(member), "--data-dir", str(self._box.disk(member) / "data"),
            "--listen-client-urls", f"{url}:{CLIENT_PORT}", "--advertise-client-urls", f"{url}:{CLIENT_PORT}",
            "--listen-peer-urls", f"{url}:{PEER_PORT}", "--initial-advertise-peer-urls", f"{url}:{PEER_PORT}",
            "--initial-cluster", ",".join(f"{sandbox.namespace(each)}=http://{sandbox.address(each)}:{PEER_PORT}" for each in MEMBERS),
            "--initial-cluster-state", "new", "--heartbeat-interval", "50", "--election-timeout", "500",
        ]  # fmt: skip
        with self._log(member).open("ab") as log:
            argv = sandbox.in_namespace(member, [*program, *flags])
            self.processes[member] = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log)

    def _log(self, member: int) -> Path:
        return self._logs / f"{sandbox.namespace(member)}.log"

    async def kill(self, member: int) -> None:
        process = self.processes.pop(member, None)
        self.paused.discard(member)
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def pause(self, member: int) -> None:
        if self._signal(member, signal.SIGSTOP):
            self.paused.add(member)

    def resume(self, member: int) -> None:
        self.paused.discard(member)
        self._signal(member, signal.SIGCONT)

    def _signal(self, member: int, number: signal.Signals) -> bool:
        process = self.processes.get(member)
        if process is None or process.returncode is not None:
            return False
        process.send_signal(number)
        return True

    def cut(self, pairs: set[tuple[int, int]]) -> None:
        self._box.cut(pairs)

    def fill(self, member: int) -> None:
        self.may_die.add(member)
        self._box.fill(member)

    def free(self, member: int) -> None:
        self._box.free(member)

    def check_alive(self) -> None:
        """Raises Fault for a member that has ended without a reason."""
        for member, process in self.processes.items():
            if process.returncode is not None and member not in self.may_die:
                raise Fault(f"m{member} ended by itself with {process.returncode}:\n{self.log_tail(member)}")

    def log_tail(self, member: int) -> str:
        return "\n".join(self._log(member).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    async def leader(self) -> int | None:
        """Who says that it leads; None where nobody does."""
        for member, client in self.clients.items():
            if member not in self.paused and member in self.processes:
                try:
                    status = await client.call("Status", m.StatusRequest(), timeout_s=0.5)
                except (Refused, Unknown):
                    continue
                if status.leader and status.leader == status.header.member_id:
                    return member
        return None

    async def mend(self) -> None:
        """Nothing is in anybody's way any more, and all answer.  Raises Fault when they do not, though they could."""
        self.cut(set())
        for member in MEMBERS:
            self.free(member)
            self.resume(member)
            process = self.processes.get(member)
            if process is None or process.returncode is not None:
                await self.start(member)
        end = time.monotonic() + ALIVE_S
        for member in MEMBERS:
            await self._answers(member, end)
        self.may_die.clear()

    async def _answers(self, member: int, end: float) -> None:
        while True:
            try:
                await self.clients[member].call("Range", m.RangeRequest(key=b"is it there?"), timeout_s=ANSWER_S)
                return
            except (Refused, Unknown) as error:
                await self._start_who_may_die()
                self.check_alive()
                if time.monotonic() > end:
                    raise Fault(f"m{member} does not answer though nothing is in its way: {error}\n{self.log_tail(member)}") from error
                await asyncio.sleep(POLL_S)

    async def _start_who_may_die(self) -> None:
        """Once each: who has met a full disk may take until now to end."""
        for member, process in list(self.processes.items()):
            if process.returncode is not None and member in self.may_die:
                self.may_die.discard(member)
                await self.start(member)

    async def close(self) -> None:
        for member in MEMBERS:
            await self.kill(member)
        for client in self.clients.values():
            await client.close()
