"""Publishes tasks whose time has come: schedules, retries, and those that a dead process left behind."""

import asyncio

import asyncpg
import structlog

from tidings import idempotency, tasks
from tidings.db import Pool
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
    forget_at = 0.0
    while True:
        try:
            tickets = await tasks.publish_due(db, MOST_DUE, rescue_s)
            await relay(queue, tickets)
            now = asyncio.get_running_loop().time()
            if now >= forget_at:
                await idempotency.forget(db)
                forget_at = now + FORGET_EVERY_S
            sleep_s = 0.0 if len(tickets) >= MOST_DUE else await _until_next(db)
        except (
            OSError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            TimeoutError,
        ) as error:
            log.warning("scheduler_waits", error=f"{type(error).__name__}: {error}")
            sleep_s = AFTER_ERROR_S
        await asyncio.sleep(sleep_s)


async def _until_next(db: Pool) -> float:
    seconds = await tasks.next_due_s(db)
    return LONGEST_SLEEP_S if seconds is None else min(max(seconds, SHORTEST_SLEEP_S), LONGEST_SLEEP_S)
