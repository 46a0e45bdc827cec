"""Where notifications come in: gathers concurrent calls into one commit, then hands their tasks to the queue."""

from collections.abc import Sequence

from tidings import broadcasts, notifications
from tidings.broadcasts import Broadcast, NewBroadcast
from tidings.coalesce import Coalescer
from tidings.db import Connection, Pool
from tidings.errors import Problem
from tidings.notifications import Accepted, Entry
from tidings.queue import Queue
from tidings.relay import relay


class Intake:
    """`accept` for one notification, `accept_batch` for many. Both return after the commit."""

    def __init__(self, db: Pool, queue: Queue, rescue_s: float) -> None:
        self._db = db
        self._queue = queue
        self._rescue_s = rescue_s
        self._accept: Coalescer[Entry, Accepted] = Coalescer(self.accept_batch)

    async def accept(self, entry: Entry) -> Accepted:
        """Store one. Raises `Problem` when this one can't be: no such user, or the key of another request."""
        return await self._accept(entry)

    async def accept_batch(
        self, entries: Sequence[Entry], connection: Connection | None = None
    ) -> list[Accepted | Problem]:
        """Store many in one commit; a result for each. With `connection`, in its transaction: then the scheduler
        publishes the tasks, since nobody here knows when that commits."""
        results, tickets = await notifications.accept(connection or self._db, entries, self._rescue_s)
        if connection is None:
            await relay(self._queue, tickets)
        return results

    async def broadcast(self, project_id: int, new: NewBroadcast) -> Broadcast:
        """Store a broadcast and hand its task on."""
        broadcast, ticket = await broadcasts.accept(self._db, project_id, new, self._rescue_s)
        await relay(self._queue, [ticket])
        return broadcast

    async def close(self) -> None:
        """Wait until everything that came in is stored."""
        await self._accept.close()
