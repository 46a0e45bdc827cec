"""The queue of one process: a deque for each lane."""

from collections import deque
from collections.abc import Mapping, Sequence

from tidings.queue import Lane, Ticket
from tidings.queue.waiting import Waiting

MOST_WAITING = 200_000  # tickets a lane; the rest stays in PostgreSQL, and the scheduler brings it again
MOST_DEAD = 1000  # rejected tickets that are remembered; the oldest go first


class MemoryQueue:
    """Keeps the contract of `tidings.queue.Queue` within one process and event loop."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, Waiting] = {lane: Waiting() for lane in Lane}
        self._dead: deque[int] = deque(maxlen=MOST_DEAD)

    @property
    def healthy(self) -> bool:
        """Always: there is nothing that could be away."""
        return True

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        """Never waits. Over the bound a ticket is left out: its row will be published again."""
        for ticket in tickets:
            lane = self._lanes[ticket.lane]
            if len(lane) < MOST_WAITING:
                lane.put(ticket)

    async def take(self, lane: Lane, most: int) -> list[Ticket]:
        """At least one ticket, then as many as fit into `most` notifications."""
        return await self._lanes[lane].take(most)

    async def done(self, tickets: Sequence[Ticket]) -> None:
        """Nothing to do: what was taken is gone from here."""

    async def reject(self, tickets: Sequence[Ticket], reason: str) -> None:
        """Remember which they were."""
        self._dead.extend(ticket.task_id for ticket in tickets if ticket.task_id not in self._dead)

    async def depths(self) -> Mapping[str, int]:
        """Tickets that wait, and rejected ones."""
        return {lane.value: len(waiting) for lane, waiting in self._lanes.items()} | {"dead": len(self._dead)}

    async def close(self) -> None:
        """Forget all tickets; the rows remain."""
        for lane in self._lanes.values():
            lane.forget()
