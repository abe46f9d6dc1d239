"""Leases: keys that go when nobody renews them.  Time is the caller's: seconds of one monotonic clock."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from k8sfromscratch.core.mvcc.errors import LeaseExists, LeaseNotFound


class Life(NamedTuple):
    """What every member knows of a lease's time."""

    ttl_s: int
    remaining_s: int = 0
    """What was left when a leader last recorded it; 0 where none has since the lease was renewed."""


@dataclass(slots=True)
class Lease:
    id: int
    ttl_s: int
    expires_at: float
    """Kept by who leads; elsewhere it means nothing."""
    remaining_s: int = 0
    keys: set[bytes] = field(default_factory=set)


class Leases:
    """invariant: a key is attached to at most one lease, and `_of_key` and the leases' `keys` say the same."""

    def __init__(self) -> None:
        self._leases: dict[int, Lease] = {}
        self._of_key: dict[bytes, int] = {}

    def grant(self, lease: int, ttl_s: int, now: float) -> Lease:
        if lease in self._leases:
            raise LeaseExists
        granted = self._leases[lease] = Lease(lease, ttl_s, now + ttl_s)
        return granted

    def get(self, lease: int) -> Lease:
        found = self._leases.get(lease)
        if found is None:
            raise LeaseNotFound
        return found

    def keep_alive(self, lease: int, now: float) -> Lease:
        """Raises LeaseNotFound, for one that has expired and is about to be revoked too: who renewed it would believe that its keys stay."""
        found = self.get(lease)
        if found.expires_at <= now:
            raise LeaseNotFound
        found.expires_at = now + found.ttl_s
        return found

    def promote(self, now: float) -> None:
        """A new leader takes over: it has not seen who renewed what, so every lease lives from now as long as it had left at its last checkpoint, and
        a whole time to live where it has none."""
        for lease in self._leases.values():
            lease.expires_at = now + (lease.remaining_s or lease.ttl_s)

    def checkpoint(self, lease: int, remaining_s: int) -> None:
        """What a leader recorded; 0 when it was renewed.  Of a lease that was revoked meanwhile, nothing is kept."""
        if lease in self._leases:
            self._leases[lease].remaining_s = remaining_s

    def to_checkpoint(self, now: float, longer_than_s: float) -> dict[int, int]:
        """Lease → what is left of it, rounded up: of those long enough, and neither just renewed nor over."""
        found = {}
        for lease in self.all():
            left_s = math.ceil(lease.expires_at - now)
            if lease.ttl_s > longer_than_s and 0 < left_s < lease.ttl_s:
                found[lease.id] = left_s
        return found

    def lives(self) -> dict[int, Life]:
        return {lease.id: Life(lease.ttl_s, lease.remaining_s) for lease in self._leases.values()}

    def restore(self, lives: Mapping[int, Life], now: float) -> None:
        """Among those that are there, as `lives` told them."""
        for lease, life in lives.items():
            self.grant(lease, life.ttl_s, now).remaining_s = life.remaining_s

    def revoke(self, lease: int) -> list[bytes]:
        """The keys to delete with it, in order."""
        found = self.get(lease)
        del self._leases[lease]
        for key in found.keys:
            del self._of_key[key]
        return sorted(found.keys)

    def attach(self, key: bytes, lease: int) -> None:
        """0 detaches."""
        self.detach(key)
        if lease:
            self.get(lease).keys.add(key)
            self._of_key[key] = lease

    def detach(self, key: bytes) -> None:
        lease = self._of_key.pop(key, 0)
        if lease:
            self._leases[lease].keys.discard(key)

    def expired(self, now: float) -> list[int]:
        return sorted(lease.id for lease in self._leases.values() if lease.expires_at <= now)

    def next_expiry(self) -> float | None:
        return min((lease.expires_at for lease in self._leases.values()), default=None)

    def all(self) -> list[Lease]:
        return [self._leases[number] for number in sorted(self._leases)]

    def __contains__(self, lease: int) -> bool:
        return lease in self._leases
