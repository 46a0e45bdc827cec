"""Where notifications come in: gathers concurrent calls into one commit, then hands their tasks to the queue."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, nullcontext

from tidings import broadcasts, metrics, notifications
from tidings.backlog import Backlog
from tidings.broadcasts import Broadcast, NewBroadcast
from tidings.coalesce import Coalescer
from tidings.db import Connection, Pool, transaction
from tidings.errors import Problem
from tidings.notifications import Accepted, Entry
from tidings.queue import Queue, Ticket
from tidings.relay import relay
from tidings.turns import Turns
from tidings.urgency import Urgency

# Of a batch, when something critical came lately.
STORED_AT_ONCE = 32
BATCHES_AT_ONCE = 4  # the pool must have connections left for everything else
CRITICAL_BATCHES_AT_ONCE = 1  # the same, of the reserved connections for single notifications


def is_critical(entries: Collection[Entry]) -> bool:
    """Whether all of a batch is critical; nothing is not."""
    return bool(entries) and all(entry.new.lane == "critical" for entry in entries)


def _count(results: Sequence[Accepted | Problem]) -> None:
    metrics.ACCEPTED.inc(sum(isinstance(result, Accepted) and not result.replayed for result in results))


class Intake:
    """`accept` for one notification; for many `store` within `batch`, then `publish`."""

    def __init__(
        self,
        db: Pool,
        reserve: Pool,
        queue: Queue,
        rescue_s: float,
        backlog: Backlog,
        turns: Turns,
        urgency: Urgency,
    ) -> None:
        """`reserve`: connections for what is critical, so that it never waits for one. `turns`: of the
        event loop, which all lanes share; `urgency`: tells those of other processes."""
        self._db = db
        self._reserve = reserve
        self._queue = queue
        self._rescue_s = rescue_s
        self._backlog = backlog
        self._turns = turns
        self._urgency = urgency
        self._batches = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._critical_batches = asyncio.Semaphore(CRITICAL_BATCHES_AT_ONCE)
        self._one_batch = asyncio.Lock()
        self._accept: Coalescer[Entry, Accepted] = Coalescer(lambda entries: self._accept_group(entries, db))
        self._accept_critical: Coalescer[Entry, Accepted] = Coalescer(
            lambda entries: self._accept_group(entries, reserve)
        )

    async def accept(self, entry: Entry) -> Accepted:
        """Store one. Raises `Problem` when this one can't be: no such user, or the key of another request."""
        if entry.new.lane == "critical":
            self._urgency.tell()
            with self._turns.urgent():
                return await self._accept_critical(entry)
        self._backlog.check()
        return await self._accept(entry)

    async def earlier(self, entry: Entry) -> Accepted | None:
        """See `notifications.earlier`."""
        return await notifications.earlier(self._reserve if is_critical([entry]) else self._db, entry)

    @asynccontextmanager
    async def batch(self, entries: Collection[Entry]) -> AsyncIterator[Pool]:
        """Room for one batch, and the connections to store it with: only a few at once, and none while too much work
        waits. One at a time while anything critical was accepted lately: several would keep the database's cores from
        it.

        Other processes hear at once that something critical is on its way, if there is.

        One that is critical as a whole has a way of its own and is never refused. One that is so only in part goes the
        usual way: it is stored in one commit or not at all, so its critical items can't go ahead of the others.
        """
        if any(entry.new.lane == "critical" for entry in entries):
            self._urgency.tell()
        if is_critical(entries):
            async with self._critical_batches:
                with self._turns.urgent():
                    yield self._reserve
            return
        self._backlog.check()
        async with self._batches, self._one_batch if self._turns.recently_urgent else nullcontext():
            await self._turns.take()
            yield self._db

    async def turn(self) -> None:
        """Wait for the turn to do a piece of work that is not critical, of about 0.1 ms."""
        await self._turns.take()

    @property
    def in_pieces(self) -> bool:
        """Whether a large body is to be read in pieces, with turns between them: something critical came lately."""
        return self._turns.recently_urgent

    async def _accept_group(self, entries: Sequence[Entry], db: Pool) -> list[Accepted | Problem]:
        results, tickets = await notifications.accept(db, entries, self._rescue_s)
        _count(results)
        await self.publish(tickets)
        return results

    async def store(
        self, entries: Sequence[Entry], db: Pool | Connection
    ) -> tuple[list[Accepted | Problem], list[Ticket]]:
        """Store many in one commit; the tickets are for `publish`, once that is committed.

        If anything critical was accepted lately, others are stored in several statements: a large one would hold the
        event loop and a core of the database for longer than a critical notification takes altogether.
        """
        if is_critical(entries) or not self._turns.recently_urgent:
            results, tickets = await notifications.accept(db, entries, self._rescue_s)
        else:
            results, tickets = [], []
            async with transaction(db) as connection:
                for start in range(0, len(entries), STORED_AT_ONCE):
                    part = entries[start : start + STORED_AT_ONCE]
                    async with self._turns.alone():
                        stored, made = await notifications.accept(connection, part, self._rescue_s)
                    results += stored
                    tickets += made
        _count(results)
        return results, tickets

    async def broadcast(self, project_id: int, new: NewBroadcast, db: Pool | Connection) -> tuple[Broadcast, Ticket]:
        """Store a broadcast; the ticket is for `publish`, once that is committed."""
        return await broadcasts.accept(db, project_id, new, self._rescue_s)

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        """Hand tasks on. If that fails, the scheduler does it later."""
        await relay(self._queue, tickets)

    async def close(self) -> None:
        """Wait until everything that came in is stored."""
        await self._accept.close()
        await self._accept_critical.close()
