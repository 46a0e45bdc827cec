"""Plans of statements: one that was made for an empty table must not read all of it once it is full."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tidings import clock, deliveries, embedded, migrate, notifications, partitions, projects, tasks
from tidings.app import App, open_reserve
from tidings.db import Connection, Pool, open_pool
from tidings.scheduler import statistics

ROWS = 5_000

# Statement → its arguments for one notification, and of which type.
KEPT = {
    "settle": (notifications.SQL["settle"], "'{%d}', '{sent}', '{2026-01-01}', '{\"\"}'"),
    "derive": (notifications.SQL["derive"], "'{%d}'"),
    "go_on": (notifications.SQL["go_on"], "'{%d}'"),
    "existing": (deliveries.SQL["existing"], "'{%d}'"),
    "hold": (tasks.SQL["hold"], "'{%d}', '{1}'"),
    "finish": (tasks.SQL["finish"], "'{%d}', '{1}'"),
}

_FILL = """
WITH u AS (INSERT INTO users (project_id, name) SELECT $1, 'Full' FROM generate_series(1, $2::integer) RETURNING id),
n AS (INSERT INTO notifications (project_id, user_id, title, body, data, lane, ttl_s, status)
    SELECT $1, id, 'Full', '', '{}', 'bulk', 60, 'pending' FROM u RETURNING id)
INSERT INTO tasks (project_id, kind, lane, subject_ids, due_at, publish_at)
SELECT $1, 'deliver', 'bulk', ARRAY[id], now(), now() + interval '1 hour' FROM n
"""


@pytest.fixture
async def target(app: App, data_dir: Path) -> AsyncIterator[dict[str, Any]]:
    """A database without any notification."""
    name = f"plans_{secrets.token_hex(4)}"
    await app.db.execute(f"CREATE DATABASE {name}")
    yield {
        "host": str(data_dir / "run"),
        "port": embedded.SOCKET_PORT,
        "database": name,
        "user": embedded.SUPERUSER,
        "password": None,
    }
    await app.db.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty(target: dict[str, Any]) -> AsyncIterator[Pool]:
    pool = await open_pool(size=2, **target)
    await migrate.ensure(pool, **target)
    await partitions.ensure(pool, clock.now().date())
    yield pool
    await pool.close()


async def most_rows(connection: Connection, name: str, values: str) -> int:
    """The most rows that any step of the plan of a prepared statement really read."""
    [[text]] = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {name}({values})")
    steps, most = [json.loads(text)[0]["Plan"]], 0
    while steps:
        step = steps.pop()
        steps += step.get("Plans", [])
        read = step["Actual Rows"] + step.get("Rows Removed by Filter", 0) + step.get("Rows Removed by Join Filter", 0)
        most = max(most, read * step["Actual Loops"])
    return int(most)


async def test_the_critical_lane_reads_few_rows_also_by_plans_made_for_empty_tables(
    empty: Pool, target: dict[str, Any]
) -> None:
    await empty.execute("ANALYZE")  # PostgreSQL now knows that they are empty
    async with AsyncExitStack() as stack:
        reserve = await open_reserve(target, stack)
        connection = await stack.enter_async_context(reserve.acquire())
        for name, (sql, values) in KEPT.items():
            await connection.execute(f"PREPARE {name} AS {sql}")
            await connection.execute(f"EXECUTE {name}({values % 1})")
        await empty.execute(_FILL, projects.DEFAULT_PROJECT_ID, ROWS)
        ids = await empty.fetchrow(
            "SELECT (SELECT max(id) FROM notifications) AS notifications, max(id) AS tasks FROM tasks"
        )
        assert ids is not None
        read = {
            name: await most_rows(
                connection, name, values % ids["tasks" if name in ("hold", "finish") else "notifications"]
            )
            for name, (_, values) in KEPT.items()
        }
        assert max(read.values()) < 100, read


async def test_tables_that_have_grown_are_looked_at_once(empty: Pool) -> None:
    await empty.execute("ANALYZE")
    assert await statistics.look(empty) == []
    await empty.execute(_FILL, projects.DEFAULT_PROJECT_ID, ROWS)
    async with empty.acquire() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
    today = f"notifications_{clock.now():%Y%m%d}"
    seen = await statistics.look(empty)
    assert {today, "tasks", "users"} <= set(seen)
    assert await empty.fetchval("SELECT reltuples FROM pg_class WHERE oid = $1::text::regclass", today) == ROWS
    assert await statistics.look(empty) == []
