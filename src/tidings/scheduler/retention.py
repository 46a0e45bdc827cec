"""Makes the partitions of the days ahead, and drops those that are too old; and lets old rows of other tables go."""

import asyncio

import structlog

from tidings import broadcasts, clock, events, partitions
from tidings.db import AWAY, Pool

log = structlog.get_logger("tidings.scheduler")

EVERY_S = 60.0  # ids move to the new day's range within a minute of midnight
AFTER_ERROR_S = 10.0
DROP_EVERY_S = 3600.0  # looking for what is unfinished in an old day reads all of it
DROP_AGAIN_S = 300.0  # each try makes inserts wait for a tenth of a second when a backup holds the tables
FORGET_EVERY_S = 600.0
BREATH_S = 1.0  # between two batches, for everybody else's sake


async def run(db: Pool, retention_days: int) -> None:
    """Runs until cancelled. Any number may run at once: an advisory lock lets one at a time work."""
    drop_at = 0.0
    while True:
        sleep_s = EVERY_S
        try:
            today = clock.now().date()
            await partitions.ensure(db, today)
            if retention_days and asyncio.get_running_loop().time() >= drop_at:
                drop_at = asyncio.get_running_loop().time() + DROP_AGAIN_S
                for day in await partitions.drop_old(db, today, retention_days):
                    log.info("day_dropped", day=day.isoformat(), retention_days=retention_days)
                drop_at += DROP_EVERY_S - DROP_AGAIN_S
        except AWAY as error:
            log.warning("partitions_wait", error=f"{type(error).__name__}: {error}")
            sleep_s = AFTER_ERROR_S
        await asyncio.sleep(sleep_s)


async def forget_rows(db: Pool, retention_days: int) -> None:
    """Lets events and broadcasts go that are older, a batch at a time. Runs until cancelled. Any number may run."""
    while retention_days:
        for table in (events, broadcasts):
            try:
                while await table.forget(db, retention_days) >= table.MOST_FORGOTTEN:  # noqa: ASYNC110 - more to do
                    await asyncio.sleep(BREATH_S)
            except AWAY as error:
                log.warning("forgetting_waits", error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(FORGET_EVERY_S)
