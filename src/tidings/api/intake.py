"""Where notifications come in: gathers concurrent calls into one commit, then hands their tasks to the queue."""

from collections.abc import Sequence

from tidings import broadcasts, notifications
from tidings.broadcasts import Broadcast, NewBroadcast
from tidings.coalesce import Coalescer
from tidings.db import Connection, Pool
from tidings.errors import Problem
from tidings.notifications import Accepted, Entry
from tidings.queue import Queue, Ticket
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

    async def accept_batch(self, entries: Sequence[Entry]) -> list[Accepted | Problem]:
        """Store many in one commit and hand their tasks on; a result for each."""
        results, tickets = await self.store(entries, self._db)
        await self.publish(tickets)
        return results

    async def store(
        self, entries: Sequence[Entry], db: Pool | Connection
    ) -> tuple[list[Accepted | Problem], list[Ticket]]:
        """Store many; the tickets are for `publish`, once that is committed."""
        return await notifications.accept(db, entries, self._rescue_s)

    async def broadcast(self, project_id: int, new: NewBroadcast, db: Pool | Connection) -> tuple[Broadcast, Ticket]:
        """Store a broadcast; the ticket is for `publish`, once that is committed."""
        return await broadcasts.accept(db, project_id, new, self._rescue_s)

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        """Hand tasks on. If that fails, the scheduler does it later."""
        await relay(self._queue, tickets)

    async def close(self) -> None:
        """Wait until everything that came in is stored."""
        await self._accept.close()
