"""Counts what waits in the database, for the metrics: queue depth and age by lane, what is overdue, what is missing."""

import asyncio

import structlog

from tidings import ledger, metrics
from tidings.db import AWAY, Pool
from tidings.queue import Lane

log = structlog.get_logger("tidings.scheduler")

EVERY_S = 5.0
BALANCE_EVERY = 60  # the check for losses reads all notifications of two days: every five minutes


async def run(db: Pool) -> None:
    """Runs until cancelled. Several at once count the same."""
    turn = 0
    while True:
        try:
            turn += 1  # first, so that a check that takes too long is not begun again at once
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
