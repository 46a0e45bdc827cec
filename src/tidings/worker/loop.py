"""The worker's loops: a few for each lane, so that a full lane leaves the others their own hands."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta

import structlog

from tidings import broadcasts, clock, logs, tasks
from tidings.bus import Bus, BusUnavailable
from tidings.db import AWAY
from tidings.errors import StaleClaim
from tidings.queue import Lane, Queue, Ticket
from tidings.tasks import Claim
from tidings.worker import poison
from tidings.worker.attempt import Delivering
from tidings.worker.deliver import deliver

log = structlog.get_logger("tidings.worker")

HANDS: Mapping[Lane, int] = {Lane.CRITICAL: 2, Lane.NORMAL: 3, Lane.SCHEDULED: 2, Lane.BULK: 3}
PAUSE_AFTER_ERROR_S = 1.0
BROADCAST_WAITS = timedelta(seconds=5)


class Worker:
    """Takes tickets and delivers until it is stopped. Any number may run at once, here and elsewhere."""

    def __init__(self, works: Mapping[Lane, Delivering], queue: Queue, bus: Bus) -> None:
        """`works`: for each lane what it delivers with, so that one lane can't use up what another needs."""
        self._works = works
        self._queue = queue
        self._bus = bus
        self._alone = {lane: asyncio.Lock() for lane in works}
        self._busy: set[asyncio.Task[None]] = set()
        self._takers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to take tickets from all lanes."""
        self._takers = [asyncio.create_task(self._hand(lane)) for lane, hands in HANDS.items() for _ in range(hands)]

    async def stop(self, grace_s: float) -> None:
        """Take nothing and begin no call any more, and let those in flight finish within `grace_s`.

        What has its answer by then is recorded, and the rest goes back, within `deliver.LEAVE_S` more; if that can't
        be, the lease covers it.
        """
        for work in self._works.values():
            work.stopping.set()
        for taker in self._takers:
            taker.cancel()
        await asyncio.gather(*self._takers, return_exceptions=True)
        if self._busy:
            _, late = await asyncio.wait(self._busy, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _hand(self, lane: Lane) -> None:
        while True:
            tickets = await self._queue.take(lane, tasks.group_size(lane))
            handling = asyncio.create_task(self._handle(lane, tickets))
            self._busy.add(handling)
            handling.add_done_callback(self._busy.discard)
            await asyncio.shield(handling)

    async def _handle(self, lane: Lane, tickets: Sequence[Ticket]) -> None:
        """One group. What goes wrong here is logged, and the scheduler brings the tasks again."""
        work = self._works[lane]
        if not work.urgent:
            await work.turns.take()
        if work.stopping.is_set():
            return  # the tasks are nobody's yet
        about = logs.About(tasks=[ticket.task_id for ticket in tickets])
        with about, work.turns.urgent() if work.urgent else nullcontext():
            await self._handle_now(lane, work, tickets)

    async def _handle_now(self, lane: Lane, work: Delivering, tickets: Sequence[Ticket]) -> None:
        ids = [ticket.task_id for ticket in tickets]
        try:
            claimed_at = asyncio.get_running_loop().time()
            claims = await tasks.claim(work.db, ids, work.lease_s, below=poison.ALONE_FROM)
            await self._carry_out(work, claims, claimed_at)
            if len(claims) < len(ids):
                await self._handle_suspects(lane, [i for i in ids if i not in {claim.id for claim in claims}])
        except StaleClaim as error:
            log.warning("claim_lost", detail=str(error))
        except AWAY as error:
            log.warning("group_failed", tasks=[t.task_id for t in tickets], error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(PAUSE_AFTER_ERROR_S)
        except Exception:
            log.exception("group_failed", tasks=[t.task_id for t in tickets])
            await asyncio.sleep(PAUSE_AFTER_ERROR_S)
        await self._queue.done(tickets)  # also of what failed: it comes again from the database, not from the queue

    async def _handle_suspects(self, lane: Lane, ids: Sequence[int]) -> None:
        """Tasks that several workers did not live to end: claimed and carried out one at a time, so that the one that
        kills takes no other along. While another hand of the lane is at it they are left; the scheduler brings them
        again."""
        work, alone = self._works[lane], self._alone[lane]
        if alone.locked():
            return
        async with alone:
            for task_id in await tasks.claimed_often(work.db, ids, poison.ALONE_FROM):
                if work.stopping.is_set():
                    return
                claimed_at = asyncio.get_running_loop().time()
                await self._carry_out(work, await tasks.claim(work.db, [task_id], work.lease_s), claimed_at)

    async def _carry_out(self, work: Delivering, claims: Sequence[Claim], claimed_at: float) -> None:
        """What the claimed tasks ask for. Raises `StaleClaim`, and what the database or the bus raises."""
        broadcast = [claim for claim in claims if claim.kind == "broadcast"]
        poisonous = [claim for claim in claims if claim.kind != "broadcast" and poison.is_poison(claim)]
        wanted = [claim for claim in claims if claim.kind != "broadcast" and not poison.is_poison(claim)]
        if wanted:
            await deliver(work, wanted, claimed_at)
        for claim in poisonous:
            await poison.set_aside(work.db, claim)
        for claim in broadcast:
            await self._broadcast(work, claim)

    async def _broadcast(self, work: Delivering, claim: Claim) -> None:
        """One broadcast. While the bus is away it waits; that says nothing against it."""
        try:
            await broadcasts.send(work.db, self._bus, claim)
        except BusUnavailable as error:
            log.warning("broadcast_waits", broadcast_id=claim.subject_ids[0], error=str(error))
            await tasks.release(work.db, claim, clock.now() + BROADCAST_WAITS)
