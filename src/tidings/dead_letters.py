"""Dead letters: deliveries that failed for good, why, and how to send them again."""

from datetime import datetime

from msgspec import Struct

from tidings.db import Connection, Pool, load
from tidings.discreet import Discreet
from tidings.tasks import GROUP_SIZE

SQL = load("dead_letters")

MOST_REDRIVEN = 10_000  # deliveries in one go: one transaction


class DeadLetter(Discreet, frozen=True):
    """A failed delivery. `device_id` is null for a channel without devices."""

    notification_id: int
    user_id: int
    title: str
    channel: str
    device_id: int | None
    reason: str | None
    detail: str | None
    provider: str
    emulated: bool
    attempts: int
    failed_at: datetime


class Filter(Struct, frozen=True):
    """Which dead letters. None is any."""

    notification_ids: list[int] | None = None
    channel: str | None = None
    device_id: int | None = None
    reason: str | None = None
    since: datetime | None = None


class Redriven(Struct, frozen=True):
    """How many failed deliveries wait again, and of how many notifications."""

    deliveries: int
    notifications: int


async def list_dead_letters(
    db: Pool | Connection, project_id: int, before: int, limit: int, wanted: Filter
) -> list[DeadLetter]:
    """Newest notifications first, from before the id `before`."""
    rows = await db.fetch(SQL["list"], project_id, before, wanted.reason, wanted.channel, wanted.since, limit)
    return [DeadLetter(**{**dict(row), "device_id": row["device_id"] or None}) for row in rows]


async def redrive(
    db: Pool | Connection, project_id: int, wanted: Filter, attempts: int, most: int = MOST_REDRIVEN
) -> Redriven:
    """Let failed deliveries wait for `attempts` more attempts, from now on.

    What was sent or delivered is never repeated, and twice is safe: a delivery that waits is not failed any more.
    """
    row = await db.fetchrow(
        SQL["redrive"],
        project_id,
        wanted.notification_ids,
        wanted.channel,
        wanted.device_id,
        wanted.reason,
        wanted.since,
        most,
        attempts,
        GROUP_SIZE,
    )
    assert row is not None
    return Redriven(row["deliveries"], row["notifications"])
