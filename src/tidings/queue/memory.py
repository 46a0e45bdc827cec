"""The queue of one process: a deque for each lane."""

import asyncio
from collections import deque
from collections.abc import Sequence

from tidings.queue import Lane, Ticket

MOST_WAITING = 200_000  # tickets a lane; the rest stays in PostgreSQL, and the scheduler brings it again


class MemoryQueue:
    """Keeps the contract of `tidings.queue.Queue` within one process and event loop."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, deque[Ticket]] = {lane: deque() for lane in Lane}
        self._takers: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in Lane}

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        """Never waits. Over the bound a ticket is left out: its row will be published again."""
        for ticket in tickets:
            lane = self._lanes[ticket.lane]
            if len(lane) < MOST_WAITING:
                lane.append(ticket)
                self._wake(ticket.lane)

    async def take(self, lane: Lane, most: int) -> list[Ticket]:
        """At least one ticket, then as many as fit into `most` notifications."""
        waiting = self._lanes[lane]
        while not waiting:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers[lane].append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._wake(lane)  # the wake-up was ours; pass it on
                raise
        taken = [waiting.popleft()]
        size = taken[0].size
        while waiting and size + waiting[0].size <= most:
            taken.append(waiting.popleft())
            size += taken[-1].size
        if waiting:
            self._wake(lane)
        return taken

    def _wake(self, lane: Lane) -> None:
        takers = self._takers[lane]
        while takers:
            future = takers.popleft()
            if not future.done():
                future.set_result(None)
                return

    async def done(self, tickets: Sequence[Ticket]) -> None:
        """Nothing to do: what was taken is gone from here."""

    async def close(self) -> None:
        """Forget all tickets; the rows remain."""
        for lane in self._lanes.values():
            lane.clear()
