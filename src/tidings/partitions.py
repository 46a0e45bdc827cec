"""Partitions: a range of notification ids for each day, made ahead and dropped when it is too old.

Ids go on within the day's range even if nobody moves them on at midnight; a range holds 10^9. So a day that can't be
made, or dropped, can wait. Nobody who sends may have to wait for it, though: a day is attached, which locks out neither
inserts nor reports (see `add_day` in the first migration), and a drop, which does, gives up after a moment.
"""

from datetime import date, timedelta

import asyncpg
import structlog

from tidings.db import Connection, Pool, affected, load, transaction
from tidings.errors import SetupError

log = structlog.get_logger("tidings.partitions")

SQL = load("partitions")

DAYS_AHEAD = 3
# In the order in which recording touches them, so that neither waits for the other crosswise.
LOCK_TABLES = "LOCK TABLE deliveries, attempts, notifications IN ACCESS EXCLUSIVE MODE"
# Whoever waits for such a lock makes everybody behind it wait, too: a DROP gives up before anybody notices.
DROP_TIMEOUT = "SET LOCAL lock_timeout = '100ms'"
# The lock for attaching gets in nobody's way, nor does waiting for it; VACUUM or CREATE INDEX CONCURRENTLY hold it.
ATTACH_TIMEOUT = "SET LOCAL lock_timeout = '5s'"
# Another process makes the days, or something holds a table.
_LATER = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError)


async def ensure(db: Pool | Connection, today: date) -> None:
    """Make today's partitions and those of the days ahead, and let ids come from today's. Twice is safe.

    Blocks neither inserts nor reports, and waits for neither. Raises asyncpg.LockNotAvailableError when maintenance
    such as VACUUM holds a table; then try again later.
    """
    async with transaction(db) as connection:
        await connection.execute(ATTACH_TIMEOUT)
        await connection.execute(SQL["lock"])
        if await connection.fetchval(SQL["missing"], today, DAYS_AHEAD):
            await connection.execute(SQL["add_days"], today, DAYS_AHEAD)
        await connection.execute(SQL["advance"], today)


async def ensure_if_possible(db: Pool, today: date) -> None:
    """The same at a start: what can't be made now is left to the scheduler, as long as ids have a range to go on in.

    Raises `SetupError` when they have none.
    """
    try:
        await ensure(db, today)
    except _LATER as error:
        if not await db.fetchval(SQL["room"]):
            raise SetupError(
                "The partitions of today can't be made, because something holds the tables that they belong to "
                f"({error}). Wait until it is done, or end it; pg_stat_activity shows what it is."
            ) from error
        log.warning("partitions_wait", error=f"{type(error).__name__}: {error}")


async def drop_old(db: Pool, today: date, retention_days: int) -> list[date]:
    """Drop the days that are older than the retention; answers which.

    A day stays as long as one of its notifications has not come to an end. Raises asyncpg.LockNotAvailableError at once
    when something holds a table, such as a backup; then try again later.
    """
    dropped = []
    for row in await db.fetch(SQL["old"], today - timedelta(days=retention_days)):
        if await db.fetchval(SQL["unfinished"], row["first_id"], row["end_id"]):
            continue
        async with transaction(db) as connection:
            await connection.execute(DROP_TIMEOUT)
            await connection.execute(SQL["lock"])
            if not affected(await connection.execute(SQL["forget"], row["day"])):
                continue  # another process has dropped it meanwhile
            await connection.execute(LOCK_TABLES)
            suffix = f"{row['day']:%Y%m%d}"
            for table in ("attempts", "deliveries", "notifications"):
                await connection.execute(f"DROP TABLE IF EXISTS {table}_{suffix}")
        dropped.append(row["day"])
    return dropped
