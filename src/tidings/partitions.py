"""Partitions: a range of notification ids for each day, made ahead and dropped when it is too old.

Ids go on within the day's range even if nobody moves them on at midnight; a range holds 10^9.
"""

from datetime import date, timedelta

from tidings.db import Connection, Pool, load, transaction

SQL = load("partitions")

DAYS_AHEAD = 3
# In the order in which recording touches them, so that neither waits for the other crosswise.
LOCK_TABLES = "LOCK TABLE deliveries, attempts, notifications IN ACCESS EXCLUSIVE MODE"
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '5s'"  # a long report must not make every insert wait behind a DROP


async def ensure(db: Pool | Connection, today: date) -> None:
    """Make today's partitions and those of the days ahead, and let ids come from today's. Twice is safe.

    Raises asyncpg.LockNotAvailableError when something long holds a table; then try again later.
    """
    async with transaction(db) as connection:
        await connection.execute(SQL["lock"])
        if await connection.fetchval(SQL["missing"], today, DAYS_AHEAD):
            await connection.execute(LOCK_TIMEOUT)
            await connection.execute(LOCK_TABLES)
            await connection.execute(SQL["add_days"], today, DAYS_AHEAD)
        await connection.execute(SQL["advance"], today)


async def drop_old(db: Pool, today: date, retention_days: int) -> list[date]:
    """Drop the days that are older than the retention; answers which.

    A day stays as long as one of its notifications has not come to an end. Raises asyncpg.LockNotAvailableError when
    something long holds a table; then try again later.
    """
    dropped = []
    for row in await db.fetch(SQL["old"], today - timedelta(days=retention_days)):
        async with transaction(db) as connection:
            await connection.execute(SQL["lock"])
            if await connection.fetchval(SQL["unfinished"], row["first_id"], row["end_id"]):
                continue
            await connection.execute(LOCK_TIMEOUT)
            await connection.execute(LOCK_TABLES)
            suffix = f"{row['day']:%Y%m%d}"
            for table in ("attempts", "deliveries", "notifications"):
                await connection.execute(f"DROP TABLE IF EXISTS {table}_{suffix}")
            await connection.execute(SQL["forget"], row["day"])
        dropped.append(row["day"])
    return dropped
