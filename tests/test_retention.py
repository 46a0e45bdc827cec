"""What is not partitioned ends, too: events and broadcasts after the retention, and not what is still on its way."""

import asyncio

import pytest

from tests.conftest import Project, eventually
from tidings import broadcasts, events
from tidings.app import App
from tidings.events import Event, EventType
from tidings.scheduler import retention

DAYS = 30


async def kept(app: App, project: Project, table: str) -> list[int]:
    rows = await app.db.fetch(f"SELECT id FROM {table} WHERE project_id = $1 ORDER BY id", project.id)  # noqa: S608
    return [row["id"] for row in rows]


async def age(app: App, table: str, ids: list[int], days: int) -> None:
    """Time passes for these rows."""
    await app.db.execute(
        f"UPDATE {table} SET created_at = created_at - make_interval(days => $2) WHERE id = ANY($1)",  # noqa: S608
        ids,
        days,
    )


async def old_and_new(app: App, project: Project) -> tuple[list[int], list[int]]:
    """Events, 40 days old and 20 days old."""
    await events.append(app.db, [Event(project.id, EventType.DEVICE_REGISTERED, {"n": n}) for n in range(12)])
    ids = await kept(app, project, "events")
    await age(app, "events", ids[:7], 40)
    await age(app, "events", ids[7:], 20)
    return ids[:7], ids[7:]


async def test_events_go_after_the_retention(app: App, project: Project) -> None:
    await app.db.execute("DELETE FROM events")  # of other tests, which would come first
    _, new = await old_and_new(app, project)
    assert await events.forget(app.db, DAYS) == 7
    assert await kept(app, project, "events") == new
    assert await events.forget(app.db, DAYS) == 0


async def test_a_batch_is_bounded_and_the_loop_goes_on(
    app: App, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    await app.db.execute("DELETE FROM events")
    old, new = await old_and_new(app, project)
    monkeypatch.setattr(events, "MOST_FORGOTTEN", 3)
    monkeypatch.setattr(retention, "BREATH_S", 0.01)
    assert await events.forget(app.db, DAYS) == 3
    assert await kept(app, project, "events") == old[3:] + new
    task = asyncio.create_task(retention.forget_rows(app.db, DAYS))

    async def done() -> bool | None:
        return await kept(app, project, "events") == new or None

    await eventually(done)
    task.cancel()


async def test_broadcasts_go_but_not_one_on_its_way(app: App, project: Project) -> None:
    for _ in range(3):
        answer = await project.client.post("/api/broadcasts", json={"title": "Hello"})
        assert answer.status_code == 202

    async def sent() -> bool | None:
        waits = "SELECT count(*) FROM broadcasts WHERE project_id = $1 AND status = 'pending'"
        return await app.db.fetchval(waits, project.id) == 0 or None

    await eventually(sent)
    first, waiting, new = await kept(app, project, "broadcasts")
    await app.db.execute("UPDATE broadcasts SET status = 'pending', sent_at = NULL WHERE id = $1", waiting)
    task = await app.db.fetchval(
        "INSERT INTO tasks (project_id, kind, lane, subject_ids, due_at, publish_at) VALUES ($1, 'broadcast', "
        "'normal', ARRAY[$2::bigint], now() + interval '1 hour', now() + interval '1 hour') RETURNING id",
        project.id,
        waiting,
    )
    await age(app, "broadcasts", [first, waiting], 40)
    await age(app, "broadcasts", [new], 20)
    await broadcasts.forget(app.db, DAYS)
    assert await kept(app, project, "broadcasts") == [waiting, new]
    await app.db.execute("DELETE FROM tasks WHERE id = $1", task)
    await broadcasts.forget(app.db, DAYS)
    assert await kept(app, project, "broadcasts") == [new]


async def test_zero_is_for_ever(app: App) -> None:
    await asyncio.wait_for(retention.forget_rows(app.db, 0), 20)
