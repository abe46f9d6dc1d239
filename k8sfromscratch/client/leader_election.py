"""Leader election on a Lease (coordination.k8s.io), as client-go does it.

One of several equal processes works; the others wait until its lease has not been renewed for `lease_duration_s` of *their* clocks,
counted from when they saw it change, so that clocks need not agree.

    invariant: a leader that could not renew for `renew_deadline_s`, which is less than the lease's duration, stops working before
               another may begin.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from k8sfromscratch.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from k8sfromscratch.api.registry import LEASES
from k8sfromscratch.client.rest import Client, Object
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.process.clock import Env, rfc3339_micro
from k8sfromscratch.process.errors import Fatal

log = logging.getLogger(__name__)


RELEASE_S = 2.0
"""How long giving the lease back may hold up the process's end; without it the next leader waits for the lease to expire."""
JITTER = 0.2
"""Of the wait between two attempts to get the lease, so that candidates do not keep colliding."""


class LostLease(Fatal):
    """We led and cannot any more: the process should end and be started again, since its work may be half done."""


class LeaderElector:
    def __init__(
        self,
        client: Client,
        env: Env,
        name: str,
        *,
        identity: str,
        namespace: str = "kube-system",
        lease_duration_s: float = 15.0,
        renew_deadline_s: float = 10.0,
        retry_period_s: float = 2.0,
    ) -> None:
        if not lease_duration_s > renew_deadline_s > retry_period_s:
            raise ValueError("a lease's duration must be longer than the renew deadline, and that longer than the retry period")
        self._client, self._env, self._name, self._namespace, self._identity = client, env, name, namespace, identity
        self._lease_duration_s, self._renew_deadline_s, self._retry_period_s = lease_duration_s, renew_deadline_s, retry_period_s
        self._observed: Object | None = None
        self._observed_at = 0.0
        self.leading = False

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Waits for the lease, works while it is held, and gives it back when cancelled.  Raises LostLease."""
        asked_at = self._env.clock.monotonic()
        while not await self._try():
            await asyncio.sleep(self._retry_period_s * (1 + self._env.rng.random() * JITTER))
            asked_at = self._env.clock.monotonic()
        self.leading = True
        log.info("leading as %s", self._identity)
        working = asyncio.ensure_future(work())
        renewing = asyncio.ensure_future(self._renew(asked_at))
        try:
            await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.leading = False
            for task in (working, renewing):
                task.cancel()
            results = await asyncio.gather(working, renewing, return_exceptions=True)
            if not isinstance(results[1], LostLease):
                await self._release()
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _renew(self, held_since: float) -> None:
        """Counted from before the request that renewed it: others count from when they see its result.  A request that hangs does not extend it."""
        while True:
            await asyncio.sleep(self._retry_period_s)
            remaining_s = held_since + self._renew_deadline_s - self._env.clock.monotonic()
            try:
                async with asyncio.timeout(max(remaining_s, 0.0)):
                    asked_at = self._env.clock.monotonic()
                    while not await self._try():
                        await asyncio.sleep(self._retry_period_s)
                        asked_at = self._env.clock.monotonic()
            except TimeoutError as error:
                raise LostLease(f"the lease {self._namespace}/{self._name} could not be renewed for {self._renew_deadline_s} s") from error
            held_since = asked_at

    async def _try(self) -> bool:
        """Takes or renews the lease; whether we hold it now.  One request that hangs must leave time for another try (upstream's client likewise)."""
        try:
            async with asyncio.timeout(self._renew_deadline_s / 2):
                return await self._take_or_renew()
        except (ApiError, TransportError, TimeoutError) as error:
            log.warning("the lease %s: %s", self._name, str(error) or "no answer in time")
            return False

    async def _take_or_renew(self) -> bool:
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except NotFound:
            return await self._write(self._spec(None), None)
        now = self._env.clock.monotonic()
        spec = lease.get("spec") or {}
        if self._observed != spec:
            self._observed, self._observed_at = spec, now
        holder = spec.get("holderIdentity") or ""
        held_for_s = float(spec.get("leaseDurationSeconds") or self._lease_duration_s)
        if holder and holder != self._identity and now < self._observed_at + held_for_s:
            return False
        return await self._write(self._spec(spec), lease)

    async def _write(self, spec: Object, lease: Object | None) -> bool:
        try:
            if lease is None:
                body = {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": {"name": self._name, "namespace": self._namespace}, "spec": spec}
                written = await self._client.create(LEASES, body)
            else:
                written = await self._client.update(LEASES, {**lease, "spec": spec})
        except (AlreadyExists, Conflict):
            return False  # another was quicker
        self._observed, self._observed_at = written.get("spec"), self._env.clock.monotonic()
        return True

    def _spec(self, old: Any) -> Object:
        now = rfc3339_micro(self._env.clock.now())
        mine = bool(old) and old.get("holderIdentity") == self._identity
        transitions = int((old or {}).get("leaseTransitions") or 0)
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._lease_duration_s),
            "acquireTime": old["acquireTime"] if mine and old.get("acquireTime") else now,
            "renewTime": now,
            "leaseTransitions": transitions if mine or not old else transitions + 1,
        }

    async def _release(self) -> None:
        """Lets the next one begin at once."""
        try:
            async with asyncio.timeout(RELEASE_S):
                lease = await self._client.get(LEASES, self._name, self._namespace)
                spec = lease.get("spec") or {}
                if spec.get("holderIdentity") == self._identity:
                    now = rfc3339_micro(self._env.clock.now())
                    given_back = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now}
                    await self._client.update(LEASES, {**lease, "spec": {**spec, **given_back}})
        except (ApiError, TransportError, TimeoutError) as error:
            log.info("giving back the lease %s: %s", self._name, error)
