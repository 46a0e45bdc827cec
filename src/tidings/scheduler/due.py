"""Publishes tasks whose time has come: schedules, retries, and those that a dead process left behind."""

import asyncio

import structlog

from tidings import idempotency, tasks
from tidings.db import AWAY, Pool
from tidings.queue import Queue
from tidings.relay import relay

log = structlog.get_logger("tidings.scheduler")

MOST_DUE = 1000  # tasks in one go
LONGEST_SLEEP_S = 0.5  # another process may have stored an earlier task meanwhile
SHORTEST_SLEEP_S = 0.01
AFTER_ERROR_S = 1.0
FORGET_EVERY_S = 600.0


async def run(db: Pool, queue: Queue, rescue_s: float) -> None:
    """Runs until cancelled. Any number may run at once. The database's trouble is logged and waited out."""
    while True:
        try:
            tickets = await tasks.publish_due(db, MOST_DUE, rescue_s)
            await relay(queue, tickets)
            sleep_s = 0.0 if len(tickets) >= MOST_DUE else await _until_next(db)
        except AWAY as error:
            log.warning("scheduler_waits", error=f"{type(error).__name__}: {error}")
            sleep_s = AFTER_ERROR_S
        await asyncio.sleep(sleep_s)


async def forget_keys(db: Pool) -> None:
    """Lets idempotency keys go that are older than a day. Runs until cancelled."""
    while True:
        try:
            while await idempotency.forget(db) >= idempotency.MOST_FORGOTTEN:  # noqa: ASYNC110 - there is more to do
                await asyncio.sleep(AFTER_ERROR_S)
        except AWAY as error:
            log.warning("scheduler_waits", error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(FORGET_EVERY_S)


async def _until_next(db: Pool) -> float:
    seconds = await tasks.next_due_s(db)
    return LONGEST_SLEEP_S if seconds is None else min(max(seconds, SHORTEST_SLEEP_S), LONGEST_SLEEP_S)
