"""Events are kept for an hour: they are written under leases of the store, which forgets them by itself.

One lease serves all events of a minute, since a lease each would cost as much as the event.  So an event lives up to a minute longer.

Source: storage/etcd3/lease_manager.go.
"""

from k8sfromscratch.process.clock import Clock
from k8sfromscratch.storage.interface import Storage

_REUSE_S = 60.0
# More keys than this under one lease make its expiry a burst that everyone feels.
_KEYS_MAX = 1000


class EventLeases:
    def __init__(self, storage: Storage, clock: Clock, ttl_s: int) -> None:
        self._storage = storage
        self._clock = clock
        self._ttl_s = ttl_s
        self._lease = 0
        self._keys = 0
        self._until_s = 0.0

    def forget(self) -> None:
        """The store does not know it any more: it was restored from older data, or its clock jumped."""
        self._lease = 0

    async def get(self) -> int:
        """The lease for an event that is written now.  Raises StorageError."""
        now_s = self._clock.monotonic()
        self._keys += 1
        if not self._lease or now_s >= self._until_s or self._keys > _KEYS_MAX:
            self._until_s, self._keys = now_s + _REUSE_S, 1
            self._lease = await self._storage.lease_grant(self._ttl_s + int(_REUSE_S))
        return self._lease
