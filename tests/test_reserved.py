"""What the critical lane has for itself: connections whose statements are planned once, and everybody's ear."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import Project, client_of, eventually
from tidings import embedded, notifications, projects, tasks
from tidings.api.intake import BATCHES_AT_ONCE
from tidings.app import App, open_reserve
from tidings.db import Pool
from tidings.notifications import Entry, NewNotification
from tidings.urgency import TOPIC

_PLANS = """
SELECT sum(generic_plans)::integer AS once, sum(custom_plans)::integer AS anew FROM pg_prepared_statements
WHERE statement NOT LIKE '%pg_prepared_statements%'
"""


@pytest.fixture
async def reserve(app: App, data_dir: Path) -> AsyncIterator[Pool]:
    """Connections like those of the critical lane."""
    target = {"port": embedded.SOCKET_PORT, "database": "postgres", "user": embedded.SUPERUSER, "password": None}
    async with AsyncExitStack() as stack:
        yield await open_reserve({"host": str(data_dir / "run"), **target}, stack)


async def test_its_statements_are_planned_once(project: Project, reserve: Pool) -> None:
    user_id = await project.user()
    async with reserve.acquire() as connection:
        for _ in range(3):
            entry = Entry(project.id, NewNotification(user_id=user_id, title="Code", lane="critical"), 60)
            [accepted], [ticket] = await notifications.accept(connection, [entry], rescue_s=60.0)
            assert isinstance(accepted, notifications.Accepted)
            [claim] = await tasks.claim(connection, [ticket.task_id], 60.0, below=3)
            assert claim.subject_ids == [accepted.id]
            [row] = await connection.fetch(notifications.SQL["load"], claim.subject_ids)
            assert row["id"] == accepted.id
            await tasks.finish(connection, [claim])
            assert await connection.fetch(projects.SQL["keys_by_digests"], [projects.digest(project.key)])
        plans = await connection.fetchrow(_PLANS)
    assert plans is not None
    assert plans["anew"] == 0
    assert plans["once"] >= 15  # ours three times, and some of asyncpg's


async def test_keys_are_found_by_their_index(reserve: Pool) -> None:
    """Also by a plan that stays, made while the table was small: that reads it as a whole where it may."""
    async with reserve.acquire() as connection:
        await connection.execute(f"PREPARE look_up AS {projects.SQL['keys_by_digests']}")
        lines = [row[0] for row in await connection.fetch("EXPLAIN EXECUTE look_up('{}')")]
        await connection.execute("DEALLOCATE look_up")
    assert any("Index Scan" in line and "api_keys_digest_key" in line for line in lines), lines
    assert not any("Seq Scan" in line for line in lines), lines


async def test_keys_that_are_asked_about_at_the_same_time_take_one_connection(project: Project, reserve: Pool) -> None:
    ring = projects.KeyRing(reserve)
    asking = [asyncio.create_task(ring.identify(project.key)) for _ in range(100)]
    busiest = 0
    while not all(task.done() for task in asking):
        busiest = max(busiest, reserve.get_size() - reserve.get_idle_size())
        await asyncio.sleep(0)
    assert {(await task).project_id for task in asking} == {project.id}
    assert busiest == 1


@asynccontextmanager
async def all_held(pool: Pool) -> AsyncIterator[None]:
    """Nobody else gets a connection of this pool."""
    async with AsyncExitStack() as stack:
        for _ in range(pool.get_max_size()):
            await stack.enter_async_context(pool.acquire())
        yield


@pytest.mark.parametrize("path", ["/api/notifications", "/api/notifications/batch"])
async def test_while_all_shared_connections_are_held_what_is_critical_is_accepted_and_delivered(
    app: App, project: Project, path: str
) -> None:
    assert app.emulators is not None
    phones = app.emulators.phones
    token = f"critical-{project.id}-{path.count('/')}"
    user_id = await project.user()
    await project.device(user_id, token)
    item = {"user_id": user_id, "title": "Code", "lane": "critical"}
    body = {"notifications": [item] * 2} if path.endswith("batch") else item
    async with all_held(app.db), client_of(app, project.key) as client:
        app.services.keys.forget()
        headers = {"Idempotency-Key": "once"}
        answers = [await client.post(path, json=body, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        assert answers[1].headers["Idempotent-Replayed"] == "true"

        async def arrived() -> bool | None:
            return len(phones.messages(token)) == (2 if path.endswith("batch") else 1) or None

        await eventually(arrived)


async def test_a_batch_of_critical_items_does_not_wait_behind_other_batches(app: App, project: Project) -> None:
    item = {"user_id": await project.user(), "title": "Code", "lane": "critical"}
    intake = app.services.intake
    async with AsyncExitStack() as others:
        await others.enter_async_context(intake._one_batch)
        for _ in range(BATCHES_AT_ONCE):
            await others.enter_async_context(intake._batches)
        answer = await project.client.post("/api/notifications/batch", json={"notifications": [item]})
        assert answer.status_code == 202


async def test_all_processes_hear_that_something_critical_is_on_its_way(app: App, project: Project) -> None:
    heard: list[str] = []
    app.bus.listen(TOPIC, heard.append)
    user_id = await project.user()
    await project.send(user_id)
    await project.send(user_id, lane="bulk")
    assert heard == []
    await project.send(user_id, lane="critical")
    assert heard == ["critical"]
    items = [{"user_id": user_id, "title": "Code", "lane": lane} for lane in ("bulk", "critical")]
    answer = await project.client.post("/api/notifications/batch", json={"notifications": items})
    assert answer.json()["accepted"] == 2
    assert heard == ["critical"] * 2
