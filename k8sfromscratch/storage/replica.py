"""The shell around Raft's core: what `RawNode.ready()` says, on this member's disk, to the other members, and into its state machine.

    what came in since ─► feed ─► ready ─► messages leave at once
                                    ├────► entries and hard state: one frame of the log, synced in a thread ─► "I have it" leaves ─► advance
                                    └────► committed entries are applied meanwhile: they are on this disk already
                                                                                                              └─► the next ready

One Ready at a time; what comes in while the disk works makes the next.  The order of `core.raft.node` is kept: nothing that says "I have it" leaves
before it is synced, and nothing is applied, and so seen by anyone, that this member could lose.  A commit index alone is not worth a sync: it is
written with the next frame.

A lone member's single entry, on a disk that was quick the last time, is synced at once: to have it done by the thread and to hear of it took as long
again as the sync (70 µs of 200).  Nobody waits for the loop but who came in that time, and whatever came is one frame of the thread's.

    invariant: after a failed write nothing is sent, applied or acknowledged any more: what of it is on the disk is unknown
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from k8sfromscratch.core.raft.node import RawNode, Ready
from k8sfromscratch.core.raft.types import Entry, HardState, Message, MessageType, ReadState, Snapshot
from k8sfromscratch.storage.group import Transport
from k8sfromscratch.storage.interface import DiskFailed, Unavailable
from k8sfromscratch.storage.wal import Wal

log = logging.getLogger(__name__)


LOG_FAILED = "the write-ahead log failed"
QUICK_S = 0.001
"""A sync that takes longer may not keep the loop waiting."""


class Owner(Protocol):
    @property
    def alone(self) -> bool:
        """Whether this member is its own majority, and so tells nobody anything in time."""
        ...

    @property
    def failure(self) -> Exception | None: ...

    @property
    def stalled(self) -> bool:
        """Whether so much waits for the file that nothing more can be applied."""
        ...

    def feed(self, node: RawNode) -> None:
        """Gives it what waits to be proposed and read."""
        ...

    def apply(self, entries: Sequence[Entry]) -> None: ...

    async def install(self, snapshot: Snapshot) -> None:
        """Returns when it is in the file, durably, and in the state machine."""
        ...

    def read(self, states: Sequence[ReadState]) -> None: ...

    def look(self) -> None:
        """The leader, the role or the term may have changed."""
        ...

    def fail(self, error: Exception) -> None: ...


def _told(dropping: "Future[None]") -> None:
    """A segment that cannot be removed costs room and nothing else."""
    if (error := dropping.exception()) is not None:
        log.warning("a segment of the log that is not needed any more stays: %s", error)


class Replica:
    def __init__(self, node: RawNode, wal: Wal, transport: Transport | None, owner: Owner) -> None:
        self.node, self._wal, self._transport, self._owner = node, wal, transport, owner
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="wal")
        self.writing: asyncio.Future[None] | None = None
        """What is being synced, or installed."""
        self._scheduled = False
        self._state: HardState | None = None
        """Not written yet, as nothing but its commit index is new."""
        self.fsyncs = 0
        self._sync_s = float("inf")
        """How long the last one took."""

    def settle(self) -> None:
        """Blocks: does all there is to do before there are others, at the start."""
        while self.node.has_ready():
            ready = self.node.ready()
            self._state = ready.hard_state or self._state
            if ready.must_sync:
                self._wal.append(ready.entries, self._state)
                self._state = None
            self._owner.apply(ready.committed_entries)
            self.node.advance()

    def wake(self) -> None:
        """Something came in."""
        if self.writing is None and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.pump)

    def pump(self) -> None:
        """Does what there is to do, up to the next write."""
        self._scheduled = False
        if self.writing is not None or self._owner.failure is not None:
            return
        try:
            self._owner.feed(self.node)
            self._owner.look()
            while self.node.has_ready() and not self._owner.stalled:
                ready = self.node.ready()
                self._state = ready.hard_state or self._state
                self._send(ready.messages)
                if ready.must_sync:
                    if not self._is_quick(ready):
                        self._write(ready)
                        return
                    if not self._write_here(ready):
                        return
                self._apply(ready)
                self._end(ready)
                self._owner.feed(self.node)
        except Exception as error:
            self._fail("the state machine failed", error)

    def drop_segments(self, below: int) -> None:
        """Of the log, in its thread."""
        if self._wal.droppable(below):
            self._disk.submit(self._wal.drop_below, below).add_done_callback(_told)

    def close(self) -> None:
        self._disk.shutdown()
        self._wal.close()

    def _write(self, ready: Ready) -> None:
        loop = asyncio.get_running_loop()
        state, self._state = self._state, None
        if ready.snapshot is not None:
            self.writing = loop.create_task(self._install(ready, ready.snapshot, state), name="snapshot")
        else:
            self.writing = loop.run_in_executor(self._disk, self._append, ready.entries, state)
        self.writing.add_done_callback(lambda done: self._written(ready, done))
        if ready.snapshot is None:
            self._apply(ready)

    def _is_quick(self, ready: Ready) -> bool:
        return len(ready.entries) == 1 and self._sync_s <= QUICK_S and self._owner.alone and ready.snapshot is None

    def _write_here(self, ready: Ready) -> bool:
        state, self._state = self._state, None
        try:
            self._append(ready.entries, state)
        except Exception as error:
            self._fail(LOG_FAILED, error)
            return False
        self.fsyncs += 1
        return True

    def _append(self, entries: Sequence[Entry], state: HardState | None) -> None:
        began_s = time.perf_counter()
        self._wal.append(entries, state)
        self._sync_s = time.perf_counter() - began_s

    async def _install(self, ready: Ready, snapshot: Snapshot, state: HardState | None) -> None:
        """The file first: a log that was begun behind a snapshot that is not there could not be read."""
        await self._owner.install(snapshot)
        await asyncio.get_running_loop().run_in_executor(self._disk, self._wal.restart, snapshot.index, snapshot.term, ready.entries, state)

    def _written(self, ready: Ready, done: "asyncio.Future[None]") -> None:
        self.writing = None
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is not None:
            self._fail(LOG_FAILED, error)
            return
        if self._owner.failure is not None:
            return
        self.fsyncs += 1
        try:
            if ready.snapshot is not None:
                self._apply(ready)
            self._end(ready)
        except Exception as failed:
            self._fail("the state machine failed", failed)
            return
        self.pump()

    def _apply(self, ready: Ready) -> None:
        if ready.committed_entries:
            self._owner.apply(ready.committed_entries)
        if ready.read_states:
            self._owner.read(ready.read_states)

    def _end(self, ready: Ready) -> None:
        self._send(ready.messages_after_persist)
        self.node.advance()
        self._owner.look()

    def _send(self, messages: Sequence[Message]) -> None:
        if not messages or self._transport is None:
            return
        plain = [message for message in messages if message.type != MessageType.SNAP]
        if plain:
            self._transport.send(plain)
        for message in messages:
            if message.type == MessageType.SNAP:
                self._transport.send_snapshot(message)

    def _fail(self, what: str, error: BaseException) -> None:
        of_disk = isinstance(error, OSError)
        log.critical("%s, nothing is taken any more: %s", what, error, exc_info=None if of_disk else error)
        self._owner.fail((DiskFailed if of_disk else Unavailable)(f"{what}: {error}"))
