"""Counts what waits, for the metrics: in the database tasks and their age by lane, what is overdue, what is missing; in
the queue messages by lane."""

import asyncio
import math
from collections.abc import Mapping

import structlog

from tidings import ledger, metrics
from tidings.db import AWAY, Pool
from tidings.queue import Lane, Queue, QueueUnavailable

log = structlog.get_logger("tidings.scheduler")

EVERY_S = 5.0
DEPTHS_EVERY = 3  # the queue tells some seconds late anyway
DEPTHS_TIMEOUT_S = 4.0
BALANCE_EVERY = 60  # the check for losses reads all notifications of two days: every five minutes


async def run(db: Pool, queue: Queue) -> None:
    """Runs until cancelled. Several at once count the same."""
    turn = 0
    while True:
        try:
            turn += 1  # first, so that a check that takes too long is not begun again at once
            if turn % DEPTHS_EVERY == 1:
                await measure(queue)
            await _count(db)
            if turn % BALANCE_EVERY == 1:
                lost = await ledger.lost(db, ledger.LATELY_DAYS)
                metrics.UNACCOUNTED.set(len(lost))
                if lost:
                    log.error("notifications_unaccounted", notification_ids=lost)
        except AWAY as error:
            log.warning("gauges_wait", error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(EVERY_S)


async def _count(db: Pool) -> None:
    found = {row["lane"]: row for row in await db.fetch(ledger.SQL["waiting"])}
    for lane in Lane:
        row = found.get(lane)
        metrics.TASKS_WAITING.labels(lane).set(row["tasks"] if row else 0)
        metrics.TASKS_OLDEST.labels(lane).set(row["oldest_s"] if row else 0)
    metrics.TASKS_OVERDUE.set(sum(row["overdue"] for row in found.values()))


async def measure(queue: Queue) -> None:
    """How many messages wait in the queue. If it can't be asked in time, there is no value, not the last one."""
    try:
        async with asyncio.timeout(DEPTHS_TIMEOUT_S):
            depths: Mapping[str, float] = await queue.depths()
    except (QueueUnavailable, TimeoutError) as error:
        log.debug("queue_not_measured", error=f"{type(error).__name__}: {error}")
        depths = dict.fromkeys([*Lane, "dead"], math.nan)
    for what, messages in depths.items():
        metrics.QUEUE_MESSAGES.labels(what).set(messages)
