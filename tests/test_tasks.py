"""Tasks in the database: what is due is published, small ones merged; nothing is lost on the way."""

import asyncio
from datetime import timedelta

from tests.conftest import Project
from tidings import tasks
from tidings.app import App
from tidings.queue import Lane


def due(*parts: tuple[int, str, int, int]) -> list[tuple[int, tuple[int, str, str], int, int]]:
    return [(number, (1, kind, "normal"), size, fence) for number, kind, size, fence in parts]


def ids(groups: list[list[tuple[int, tuple[int, str, str], int, int]]]) -> list[list[int]]:
    return [[member[0] for member in group] for group in groups]


def test_small_ones_become_one_up_to_the_size_of_a_group() -> None:
    groups = tasks._groups(due((1, "deliver", 200, 0), (2, "deliver", 250, 0), (3, "deliver", 100, 0)))
    assert ids(groups) == [[1, 2], [3]]


def test_what_was_claimed_before_stays_alone() -> None:
    groups = tasks._groups(due((1, "deliver", 1, 0), (2, "deliver", 1, 1), (3, "deliver", 1, 0)))
    assert ids(groups) == [[1, 3], [2]]


def test_kinds_do_not_mix_and_broadcasts_stay_alone() -> None:
    groups = tasks._groups(
        due((1, "deliver", 1, 0), (2, "retry", 1, 0), (3, "broadcast", 1, 0), (4, "broadcast", 1, 0))
    )
    assert ids(groups) == [[1], [2], [3], [4]]


async def test_what_is_due_is_counted_and_no_further_than_asked(app: App, project: Project) -> None:
    create = "INSERT INTO tasks (project_id, kind, lane, subject_ids, due_at, publish_at) "
    create += "SELECT $1, 'deliver', 'normal', '{}', now() + $3::interval, now() FROM generate_series(1, $2::integer)"
    async with app.db.acquire() as connection:
        trial = connection.transaction(isolation="repeatable_read")  # what other tests do meanwhile does not show
        await trial.start()
        before = await tasks.waiting(connection, 1_000_000)
        await connection.execute(create, project.id, 5, timedelta(0))
        await connection.execute(create, project.id, 2, timedelta(minutes=1))
        assert await tasks.waiting(connection, 1_000_000) == before + 5
        assert await tasks.waiting(connection, before + 3) == before + 3
        await trial.rollback()


async def test_two_schedulers_never_publish_the_same_task(app: App, project: Project) -> None:
    user = await project.user()
    items = [{"user_id": user, "title": "t", "scheduled_time": f"2031-01-01T00:00:{n:02}Z"} for n in range(40)]
    made = (await project.client.post("/api/notifications/batch", json={"notifications": items})).json()["ids"]
    async with app.db.acquire() as connection, connection.transaction():
        # Due now, but hidden from the running service's scheduler until this transaction ends.
        await connection.execute(
            "UPDATE tasks SET publish_at = now(), due_at = now() + interval '1 hour', "
            "lease_until = now() - interval '1 hour' WHERE project_id = $1",
            project.id,
        )
    both = await asyncio.gather(tasks.publish_due(app.db, 1000, 3600), tasks.publish_due(app.db, 1000, 3600))
    published = [ticket.task_id for tickets in both for ticket in tickets]
    assert len(published) == len(set(published))
    kept = await app.db.fetch("SELECT subject_ids FROM tasks WHERE project_id = $1", project.id)
    assert sorted(i for row in kept for i in row["subject_ids"]) == sorted(made), "merging loses no notification"


async def test_one_task_for_each_lane_and_500_notifications_100_in_bulk(app: App, project: Project) -> None:
    user = await project.user()
    items = [
        {
            "user_id": user,
            "title": "t",
            "lane": "bulk" if n % 4 == 0 else "normal",
            "scheduled_time": "2031-01-01T00:00:00Z",
        }
        for n in range(1000)
    ]
    answer = await project.client.post("/api/notifications/batch", json={"notifications": items})
    assert answer.json()["accepted"] == 1000
    rows = await app.db.fetch(
        "SELECT lane, cardinality(subject_ids) AS size FROM tasks WHERE project_id = $1", project.id
    )
    bulk = [("bulk", 50), ("bulk", 100), ("bulk", 100)]
    assert sorted((row["lane"], row["size"]) for row in rows) == [*bulk, ("scheduled", 250), ("scheduled", 500)]
    assert set(Lane) >= {row["lane"] for row in rows}
    await app.db.execute("DELETE FROM tasks WHERE project_id = $1", project.id)
    await app.db.execute("UPDATE notifications SET status = 'cancelled' WHERE project_id = $1", project.id)
