"""A range of ids for each day: made ahead, entered at midnight, dropped whole."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from itertools import pairwise

import asyncpg
import pytest

from tests.conftest import Project
from tidings import clock, partitions
from tidings.app import App
from tidings.db import Connection
from tidings.errors import SetupError

TABLES = ("notifications", "deliveries", "attempts")
INSERT = """INSERT INTO notifications (project_id, user_id, title, body, data, status, lane, ttl_s)
    VALUES ($1, 1, '', '', '{}', 'cancelled', 'bulk', 1)"""


async def days(app: App) -> dict[date, tuple[int, int]]:
    return {row["day"]: (row["first_id"], row["end_id"]) for row in await app.db.fetch("SELECT * FROM days")}


async def settled(app: App) -> None:
    """All days were made some time ago: ids may move on to any of them."""
    await app.db.execute("UPDATE days SET made_at = made_at - interval '1 hour'")


async def test_today_and_the_days_ahead_are_there_and_join_without_a_gap(app: App) -> None:
    today = clock.now().date()
    made = await days(app)
    assert {today + timedelta(days=n) for n in range(partitions.DAYS_AHEAD + 1)} <= set(made)
    ranges = sorted(made.values())
    assert all(before[1] == after[0] for before, after in pairwise(ranges))


async def test_ids_move_to_the_new_day_and_never_back(app: App, project: Project) -> None:
    today = clock.now().date()
    user = await project.user()
    before = await project.send(user)
    await settled(app)
    await partitions.ensure(app.db, today + timedelta(days=1))
    first, end = (await days(app))[today + timedelta(days=1)]
    after = await project.send(user)
    assert before < first <= after < end
    await partitions.ensure(app.db, today + timedelta(days=1))
    await partitions.ensure(app.db, today)
    assert await project.send(user) > after
    listed = [n["id"] for n in (await project.client.get(f"/api/notifications/user/{user}")).json()]
    assert listed == sorted(listed, reverse=True)
    assert len(listed) == 3


async def test_an_old_day_is_dropped_but_not_while_something_in_it_is_unfinished(app: App, project: Project) -> None:
    tomorrow = clock.now().date() + timedelta(days=1)
    user = await project.user()
    body = {"user_id": user, "title": "far ahead", "scheduled_time": "2031-01-01T00:00:00Z"}
    scheduled = (await project.client.post("/api/notifications/schedule", json=body)).json()["id"]
    await settled(app)
    await partitions.ensure(app.db, tomorrow)
    far = tomorrow + timedelta(days=400)
    assert await partitions.drop_old(app.db, far, 500) == []
    kept = {day for day, (first, end) in (await days(app)).items() if first <= scheduled < end}
    dropped = await partitions.drop_old(app.db, max(await days(app)) + timedelta(days=31), 30)
    assert [day for day in dropped if day >= tomorrow] == [], "ids still come from tomorrow's"
    assert kept.isdisjoint(dropped)
    assert (await project.get(scheduled))["status"] == "scheduled"
    for day in dropped:
        assert await app.db.fetchval("SELECT to_regclass($1)", f"notifications_{day:%Y%m%d}") is None
    last = max(await days(app))
    await partitions.ensure(app.db, last + timedelta(days=1))
    assert await project.send(user) > scheduled


@asynccontextmanager
async def backup(app: App) -> AsyncIterator[None]:
    """A long transaction that has read everything, as pg_dump is one."""
    async with app.db.acquire() as connection, connection.transaction():
        for table in TABLES:
            await connection.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
        yield


@asynccontextmanager
async def impatient(app: App) -> AsyncIterator[Connection]:
    """A connection that waits for no lock longer than a second."""
    async with app.db.acquire() as connection:
        await connection.execute("SET lock_timeout = '1s'")
        yield connection
        await connection.execute("RESET lock_timeout")


async def test_a_day_is_made_beside_a_backup_and_inserts(app: App, project: Project) -> None:
    later = max(await days(app)) + timedelta(days=1)
    async with backup(app), impatient(app) as sender, app.db.acquire() as connection:
        async with connection.transaction():
            await partitions.ensure(connection, later)
            await sender.execute(INSERT, project.id)  # while the making is not committed
            await sender.fetch("SELECT * FROM notifications WHERE project_id = $1", project.id)
        await sender.execute(INSERT, project.id)
        assert await newest(app) < (await days(app))[later][0], "a statement that began before may not know it yet"
        await settled(app)
        await partitions.ensure(app.db, later)
        await sender.execute(INSERT, project.id)
    first, end = (await days(app))[later]
    assert first <= await newest(app) < end


async def newest(app: App) -> int:
    found: int = await app.db.fetchval("SELECT max(id) FROM notifications")
    return found


async def test_a_day_that_was_attached_has_what_its_parent_has(app: App) -> None:
    last = max(await days(app))
    for table in TABLES:
        made = f"{table}_{last:%Y%m%d}"
        indexes = "SELECT count(*) FROM pg_index WHERE indrelid = $1::text::regclass"
        attached = f"{indexes} AND indexrelid IN (SELECT inhrelid FROM pg_inherits)"  # noqa: S608 - all of it is ours
        assert await app.db.fetchval(attached, made) == await app.db.fetchval(indexes, made) > 0
        assert await app.db.fetchval(indexes, made) == await app.db.fetchval(indexes, table)
        checks = "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = $1::text::regclass"
        assert await app.db.fetchval(checks, made) == await app.db.fetchval(checks, table)
    options = "SELECT reloptions FROM pg_class WHERE relname = $1"
    assert await app.db.fetchval(options, f"notifications_{last:%Y%m%d}") == ["fillfactor=80"]


async def test_a_drop_gives_up_before_inserts_notice(app: App, project: Project) -> None:
    later = max(await days(app))
    await settled(app)
    await partitions.ensure(app.db, later)  # ids come from there, so the days before may go
    before = await days(app)
    async with backup(app), impatient(app) as sender:
        dropping = asyncio.create_task(partitions.drop_old(app.db, later + timedelta(days=31), 30))
        while not dropping.done():
            await sender.execute(INSERT, project.id)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await dropping
    assert await days(app) == before, "nothing is dropped in part"


async def test_a_start_goes_on_while_maintenance_holds_a_table(app: App) -> None:
    later = max(await days(app)) + timedelta(days=1)
    async with app.db.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE attempts IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM does
        with pytest.raises(asyncpg.LockNotAvailableError):
            await partitions.ensure(app.db, later)
        await partitions.ensure_if_possible(app.db, later)
    assert later not in await days(app)
    await partitions.ensure_if_possible(app.db, later)
    assert later in await days(app)


async def test_a_start_without_any_range_left_says_so(app: App) -> None:
    later = max(await days(app)) + timedelta(days=1)
    last = await app.db.fetchval("SELECT last_value FROM notifications_id_seq")
    async with app.db.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE attempts IN SHARE UPDATE EXCLUSIVE MODE")
        await app.db.fetchval("SELECT setval('notifications_id_seq', (SELECT max(end_id) FROM days))")
        try:
            with pytest.raises(SetupError, match="partitions of today can't be made"):
                await partitions.ensure_if_possible(app.db, later)
        finally:
            await app.db.fetchval("SELECT setval('notifications_id_seq', $1)", last)
