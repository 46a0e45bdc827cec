"""What the critical lane has for itself: connections whose statements are planned once, and everybody's ear."""

from contextlib import AsyncExitStack
from pathlib import Path

from tests.conftest import Project
from tidings import embedded, notifications, tasks
from tidings.app import App, open_reserve
from tidings.notifications import Entry, NewNotification
from tidings.urgency import TOPIC

_PLANS = """
SELECT sum(generic_plans)::integer AS once, sum(custom_plans)::integer AS anew FROM pg_prepared_statements
WHERE statement NOT LIKE '%pg_prepared_statements%'
"""


async def test_its_statements_are_planned_once(app: App, project: Project, data_dir: Path) -> None:
    user_id = await project.user()
    target = {"port": embedded.SOCKET_PORT, "database": "postgres", "user": embedded.SUPERUSER, "password": None}
    async with AsyncExitStack() as stack:
        pool = await open_reserve({"host": str(data_dir / "run"), **target}, stack)
        connection = await stack.enter_async_context(pool.acquire())
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
