"""How long a key that failed waits: the longer of its own backoff and of what all keys together may cost (client-go's default limiter).

own backoff     5 ms, doubled with each failure, at most 1000 s; forgotten on success
bucket          10 a second over all keys, 100 at once: when everything fails, the server must not drown in retries
"""

from k8sfromscratch.process.clock import Clock

BACKOFF_FIRST_S = 0.005
BACKOFF_MAX_S = 1000.0
RATE_PER_S = 10.0
BURST = 100


class RateLimiter:
    def __init__(self, clock: Clock) -> None:
        self._failures: dict[str, int] = {}
        self._bucket = _Bucket(clock)

    def delay_s(self, key: str) -> float:
        """Counts a failure of `key`; how long to wait before it is tried again."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        own_s = BACKOFF_MAX_S if failures > 30 else min(BACKOFF_FIRST_S * 2**failures, BACKOFF_MAX_S)
        return max(own_s, self._bucket.take_s())

    def forget(self, key: str) -> None:
        self._failures.pop(key, None)

    def retries(self, key: str) -> int:
        return self._failures.get(key, 0)


class _Bucket:
    """Tokens come at RATE_PER_S up to BURST; below zero they are promised, and who is promised one waits for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens = float(BURST)
        self._counted_at: float | None = None

    def take_s(self) -> float:
        now = self._clock.monotonic()
        if self._counted_at is not None:
            self._tokens = min(self._tokens + (now - self._counted_at) * RATE_PER_S, BURST)
        self._counted_at = now
        self._tokens -= 1
        return max(-self._tokens / RATE_PER_S, 0.0)
