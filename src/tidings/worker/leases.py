"""A quota that several processes share: each takes a block of tokens from the bus at a time.

A question for each call would cost as much as the call. Blocks of a twentieth of a second's worth make the bus as good
as free, and at most so much is unused in each process. While the bus does not answer, each process takes its part of
the quota by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from tidings.bus import Bus, BusUnavailable, Rate
from tidings.worker.bucket import Bucket
from tidings.worker.limits import Limits

BLOCK_S = 0.05  # so much of a second is leased at a time
ALONE_S = 1.0  # between two questions to a bus that did not answer
DEADLINE_S = 2.0  # the bus has its own, which is shorter

log = structlog.get_logger("tidings.worker")

# How many tokens of those asked for may be used; 0: none now. Raises BusUnavailable.
Lease = Callable[[int], Awaitable[int]]


def lease_of(bus: Bus, account: str, limits: Limits) -> Lease | None:
    """The lease of the account's quota, of all processes on this bus; None: nothing is to be shared.

    `account`: names it for all of them, such as `fcm-0`.
    """
    if not limits.shared or limits.rate_per_s is None:
        return None
    rate = Rate(limits.rate_per_s, limits.at_once)
    # Another rate begins anew: what was taken at a slow one would count as hours at a fast one.
    key = f"pace:{account}:{rate.per_s:g}:{rate.burst}"

    async def lease(tokens: int) -> int:
        wanted = min(tokens, rate.burst)
        while wanted > 0:
            verdict = await bus.allow(key, rate, wanted)
            if not verdict.known:
                raise BusUnavailable("the bus did not tell what is left of a quota")
            if verdict.allowed:
                return wanted
            wanted = min(wanted - 1, verdict.remaining)  # less than before each time, so this ends
        return 0

    return lease


class Leases:
    """Keeps a bucket filled with leased tokens. `granted` is called when new ones are there. `close` it."""

    def __init__(
        self,
        bucket: Bucket,
        lease: Lease,
        limits: Limits,
        *,
        clock: Callable[[], float],
        granted: Callable[[], None],
    ) -> None:
        self._bucket = bucket
        self._lease = lease
        self._clock = clock
        self._granted = granted
        rate = limits.rate_per_s or 1.0
        self._part = 1 / limits.processes
        self._block = min(limits.at_once, max(1, int(rate * BLOCK_S)))
        self._enough = self._block * (0.5 + limits.urgent_share)
        self._pause_s = self._block / rate
        self._not_before = clock()
        self._asking: asyncio.Task[None] | None = None
        bucket.alone(self._not_before, self._part)

    def look(self, now: float) -> None:
        """Ask for more if there will soon be none. Never waits; the answer comes by `granted`."""
        if self._asking is None and now >= self._not_before and self._bucket.left < self._enough:
            self._asking = asyncio.create_task(self._ask(), name="quota lease")

    def close(self) -> None:
        """Ask no more. Twice is safe."""
        self._not_before = float("inf")
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                tokens = await self._lease(self._block)
        except (BusUnavailable, TimeoutError) as error:
            log.debug("quota_not_shared", error=str(error))
            self._bucket.alone(self._clock(), self._part)
            self._not_before = max(self._not_before, self._clock() + ALONE_S)
        else:
            self._bucket.grant(tokens, self._block)
            if tokens == 0:
                self._not_before = max(self._not_before, self._clock() + self._pause_s)
        finally:
            self._asking = None
        self._granted()
