"""What the critical lane has for itself: connections whose statements are planned once, and everybody's ear."""

from pathlib import Path

from tests.conftest import Project
from tidings import embedded, notifications, tasks
from tidings.app import App
from tidings.db import open_pool
from tidings.notifications import Entry, NewNotification
from tidings.urgency import TOPIC

_PLANS = """
SELECT sum(generic_plans)::integer AS once, sum(custom_plans)::integer AS anew FROM pg_prepared_statements
WHERE statement NOT LIKE '%pg_prepared_statements%'
"""


async def test_its_statements_are_planned_once(app: App, project: Project, data_dir: Path) -> None:
    user_id = await project.user()
    pool = await open_pool(
        host=str(data_dir / "run"),
        port=embedded.SOCKET_PORT,
        database="postgres",
        user=embedded.SUPERUSER,
        password=None,
        size=2,
        by_keys=True,
    )
    try:
        async with pool.acquire() as connection:
            for _ in range(3):
                entry = Entry(project.id, NewNotification(user_id=user_id, title="Code", lane="critical"), 60)
                [accepted], [ticket] = await notifications.accept(connection, [entry], rescue_s=60.0)
                assert isinstance(accepted, notifications.Accepted)
                [claim] = await tasks.claim(connection, [ticket.task_id], 60.0, below=3)
                assert claim.subject_ids == [accepted.id]
                [row] = await connection.fetch(notifications.SQL["load"], claim.subject_ids)
                assert row["id"] == accepted.id
                await tasks.finish(connection, [claim])
            plans = await connection.fetchrow(_PLANS)
        assert plans is not None
        assert plans["anew"] == 0
        assert plans["once"] >= 12  # ours three times, and some of asyncpg's
    finally:
        await pool.close()


async def test_all_processes_hear_that_something_critical_is_on_its_way(app: App, project: Project) -> None:
    heard: list[str] = []
    app.bus.listen(TOPIC, heard.append)
    user_id = await project.user()
    await project.send(user_id)
    await project.send(user_id, lane="bulk")
    assert heard == []
    await project.send(user_id, lane="critical")
    assert heard == ["critical"]
