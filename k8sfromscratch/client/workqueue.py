"""A queue of keys for reconcilers, with client-go's contract.

    fair            keys come out in the order they went in
    stingy          a key added many times before it is taken comes out once
    one at a time   a key is never with two workers; added while it is worked on, it comes out again after `done`

Three places say where a key is:

    queue           in order, to be taken
    dirty           every key that wants work: those in `queue`, and those added again while being processed
    processing      taken and not yet done

    invariant: a key is in `queue` exactly if it is in `dirty` and not in `processing`.
"""

import asyncio
import heapq
from collections import deque

from k8sfromscratch.client.rate_limit import RateLimiter
from k8sfromscratch.process.clock import Env


class ShutDown(Exception):
    """The queue was shut down and is empty."""


class WorkQueue:
    def __init__(self, env: Env, *, name: str = "") -> None:
        self.name = name
        self._env = env
        self._queue: deque[str] = deque()
        self._dirty: set[str] = set()
        self._processing: set[str] = set()
        self._limiter = RateLimiter(env.clock)
        self._delayed: list[tuple[float, int, str]] = []
        self._ready_at: dict[str, float] = {}
        self._sequence = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._shut_down = False

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, key: str) -> None:
        if self._shut_down or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._queue.append(key)
            self._wake()

    def add_after(self, key: str, delay_s: float) -> None:
        """Adds it later; of several delays for one key the earliest counts."""
        if self._shut_down:
            return
        if delay_s <= 0:
            self.add(key)
            return
        at = self._env.clock.monotonic() + delay_s
        if self._ready_at.get(key, float("inf")) <= at:
            return
        self._ready_at[key] = at
        self._sequence += 1
        heapq.heappush(self._delayed, (at, self._sequence, key))
        self._set_timer()

    def add_rate_limited(self, key: str) -> None:
        """Adds it after its backoff, which grows with each call until `forget`."""
        self.add_after(key, self._limiter.delay_s(key))

    def forget(self, key: str) -> None:
        self._limiter.forget(key)

    def retries(self, key: str) -> int:
        return self._limiter.retries(key)

    async def get(self) -> str:
        """The next key, as soon as there is one.  Raises ShutDown."""
        while not self._queue:
            if self._shut_down:
                raise ShutDown(self.name)
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # we were woken and cannot take it: let another
                raise
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        key = self._queue.popleft()
        self._processing.add(key)
        self._dirty.discard(key)
        return key

    def done(self, key: str) -> None:
        self._processing.discard(key)
        if key in self._dirty:
            self._queue.append(key)
            self._wake()

    def shut_down(self) -> None:
        """Takes no more keys; what is in the queue still comes out."""
        self._shut_down = True
        self._delayed.clear()
        self._ready_at.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiters:
            self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._delayed:
            delay_s = max(self._delayed[0][0] - self._env.clock.monotonic(), 0.0)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._release)

    def _release(self) -> None:
        self._timer = None
        now = self._env.clock.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            at, _, key = heapq.heappop(self._delayed)
            if self._ready_at.get(key) == at:
                del self._ready_at[key]
                self.add(key)
        self._set_timer()
