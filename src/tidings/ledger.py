"""The ledger: what became of everything that was accepted, and the check that nothing is missing."""

from msgspec import Struct

from tidings.db import Connection, Pool, load

SQL = load("ledger")

LATELY_DAYS = 2

FINAL = frozenset({"sent", "delivered", "failed", "expired", "cancelled", "suppressed"})


class TaskCount(Struct, frozen=True):
    kind: str
    lane: str
    tasks: int
    overdue: int


class Ledger(Struct, frozen=True):
    """`statuses`: notifications by status. `lost`: ids in progress that no task will move on (at most 100 shown)."""

    statuses: dict[str, int]
    tasks: list[TaskCount]
    lost: list[int]

    @property
    def accepted(self) -> int:
        return sum(self.statuses.values())

    @property
    def final(self) -> int:
        return sum(count for status, count in self.statuses.items() if status in FINAL)

    @property
    def in_progress(self) -> int:
        return self.accepted - self.final


async def read(db: Pool) -> Ledger:
    """Count everything, from one snapshot."""
    async with db.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        return await _read(connection)


async def _read(connection: Connection) -> Ledger:
    statuses = {row["status"]: row["notifications"] for row in await connection.fetch(SQL["counts"])}
    tasks = [TaskCount(**dict(row)) for row in await connection.fetch(SQL["tasks"])]
    return Ledger(statuses, tasks, await lost(connection))


async def lost(db: Pool | Connection, days: int | None = None) -> list[int]:
    """Notifications in progress that no task will move on; at most 100. There must be none.

    `days`: only those that were accepted on so many days, today included; None: all there are.
    """
    return [row["id"] for row in await db.fetch(SQL["lost"], days)]
