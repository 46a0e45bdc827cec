"""Three ledgers side by side: what the caller was told, what the database has, what the emulated vendors took."""

import asyncio
from collections import Counter
from datetime import datetime

from msgspec import Struct

from tests.conftest import eventually
from tests.faults.caller import Caller
from tidings import ledger
from tidings.db import Pool
from tidings.emulators import Emulators

QUIET_S = 0.5
SETTLE_S = 120.0  # a bound for a test that hangs, not a promise
ARRIVED = ("sent", "delivered")


class Mark(Struct, frozen=True):
    """Where the database and the vendor stood when a test began: the last notification, the vendor's position."""

    notification: int
    vendor: int


async def mark(pool: Pool, vendor: Emulators) -> Mark:
    """Where both stand once nothing of an earlier test is left to do."""
    await settle(pool)
    last = await pool.fetchval("SELECT coalesce(max(id), 0) FROM notifications")
    return Mark(last, seen(vendor)[1])


def seen(vendor: Emulators, since: int = 0) -> tuple[Counter[int], int]:
    """How often the emulator took each notification from a position on, and the position after."""
    counts = vendor.accepted.counts(since, 1_000_000)
    assert counts["complete"]
    return Counter({int(key): n for key, n in counts["counts"].items()}), counts["next"]


async def unrecorded(pool: Pool, since: Mark, vendor: Emulators) -> set[int]:
    """What the vendor has taken and the database does not know to be sent: it may be sent again, and nothing else."""
    rows = await pool.fetch(
        "SELECT id FROM notifications WHERE id > $1 AND status <> ALL($2::text[])", since.notification, list(ARRIVED)
    )
    return {row["id"] for row in rows} & set(seen(vendor, since.vendor)[0])


async def recorded(pool: Pool, since: Mark, before: datetime) -> set[int]:
    """Which notifications had a successful attempt on record before that moment, by the database's clock."""
    rows = await pool.fetch(
        """SELECT notification_id AS id FROM attempts
        WHERE notification_id > $1 AND outcome = 'sent' AND channel = 'push' AND created_at < $2""",
        since.notification,
        before,
    )
    return {row["id"] for row in rows}


async def quiet(vendor: Emulators) -> None:
    """Wait until the vendor takes nothing any more: what was on its way has arrived."""
    before = -1
    async with asyncio.timeout(SETTLE_S):
        while True:
            position = seen(vendor)[1]
            if position == before:
                return
            before = position
            await asyncio.sleep(QUIET_S)


async def settle(pool: Pool) -> None:
    """Wait until nothing is in progress and no task is left."""

    async def settled() -> bool | None:
        found = await ledger.read(pool)
        return True if found.in_progress == 0 and not found.tasks else None

    await eventually(settled, SETTLE_S)


async def check(pool: Pool, since: Mark, caller: Caller, vendor: Emulators, in_flight: set[int]) -> int:
    """Compare the ledgers once everything has settled; answers how many were sent more than once.

    I1: all that was accepted has arrived, and nothing that was not. I2: only what was `in_flight` at a fault was
    repeated. I3: by SQL and by the ledger everything is accounted for, and no half row is left of any request.
    """
    await settle(pool)
    rows = await pool.fetch("SELECT id, status FROM notifications WHERE id > $1", since.notification)
    statuses = {row["id"]: row["status"] for row in rows}
    told = set(caller.ids.values())
    assert len(told) == len(caller.ids) == caller.count, "an id for each number, and a number for each id"
    assert told - set(statuses) == set(), "a 202 that the database does not know"
    assert set(statuses) - told == set(), "a notification that nobody was told of"
    not_arrived = Counter(status for status in statuses.values() if status not in ARRIVED)
    assert not not_arrived, f"accepted and not arrived: {not_arrived}"
    taken, _ = seen(vendor, since.vendor)
    assert set(taken) == told, "the vendor took each, and no other"
    repeated = {notification for notification, times in taken.items() if times > 1}
    assert repeated <= in_flight, f"{len(repeated - in_flight)} repeats of what was recorded already"
    assert taken.total() - len(taken) <= len(in_flight), (
        f"{taken.total() - len(taken)} repeats, {len(in_flight)} in flight"
    )
    await _check_rows(pool, since, len(told))
    await check_conservation(pool)
    return len(repeated)


async def check_conservation(pool: Pool) -> None:
    """The ledger's own sum, beside one from SQL. Call it when everything has settled."""
    found = await ledger.read(pool)
    assert (found.lost, found.in_progress) == ([], 0)
    assert found.accepted == found.final == await pool.fetchval("SELECT count(*) FROM notifications")


async def _check_rows(pool: Pool, since: Mark, count: int) -> None:
    """Every notification has its key, its push delivery and its successful attempt, and no more than that."""
    row = await pool.fetchrow(
        """
        SELECT
            (SELECT count(*) FROM idempotency_keys WHERE notification_id > $1) AS keys,
            (SELECT count(*) FROM idempotency_keys k WHERE k.notification_id > $1
                AND NOT EXISTS (SELECT FROM notifications n WHERE n.id = k.notification_id)) AS keys_of_nothing,
            (SELECT count(*) FROM deliveries WHERE notification_id > $1 AND channel = 'push'
                AND status IN ('sent', 'delivered')) AS sent,
            (SELECT count(*) FROM deliveries WHERE notification_id > $1 AND channel = 'push') AS deliveries,
            (SELECT count(*) FROM attempts WHERE notification_id > $1 AND channel = 'push'
                AND outcome = 'sent') AS attempts
        """,
        since.notification,
    )
    assert row is not None
    expected = {"keys": count, "keys_of_nothing": 0, "sent": count, "deliveries": count, "attempts": count}
    assert dict(row) == expected
