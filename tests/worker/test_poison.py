"""What workers die over is set aside; its neighbours are delivered."""

from tests.conftest import Project, eventually
from tidings import tasks
from tidings.app import App
from tidings.worker import poison


async def test_a_group_is_split_and_all_but_the_culprit_are_delivered(app: App, project: Project) -> None:
    user = await project.user()
    await project.device(user, f"poison-{project.id}")
    items = [{"user_id": user, "title": f"{n}", "scheduled_time": "2030-01-01T00:00:00Z"} for n in range(3)]
    ids = (await project.client.post("/api/notifications/batch", json={"notifications": items})).json()["ids"]
    task = await app.db.fetchval("SELECT id FROM tasks WHERE project_id = $1", project.id)
    await app.db.execute("UPDATE tasks SET fence = $2, due_at = now() WHERE id = $1", task, poison.MOST_CLAIMS)
    (claim,) = await tasks.claim(app.db, [task], 60)
    assert poison.is_poison(claim)
    await poison.set_aside(app.db, claim)
    for notification in ids:
        await project.until(notification, "sent")

    async def no_tasks() -> bool | None:
        return await app.db.fetchval("SELECT count(*) = 0 FROM tasks WHERE project_id = $1", project.id) or None

    await eventually(no_tasks)


async def test_a_single_one_fails_and_is_a_dead_letter(app: App, project: Project) -> None:
    body = {"user_id": await project.user(), "title": "t", "scheduled_time": "2030-01-01T00:00:00Z"}
    notification = (await project.client.post("/api/notifications/schedule", json=body)).json()["id"]
    task = await app.db.fetchval("SELECT id FROM tasks WHERE project_id = $1", project.id)
    # The running worker finds it, as it would after five others have died over it.
    await app.db.execute(
        "UPDATE tasks SET fence = $2, due_at = now(), publish_at = now() WHERE id = $1", task, poison.MOST_CLAIMS
    )
    shown = await project.until(notification, "failed")
    assert shown["deliveries"][0]["reason"] == "poison"
    (letter,) = (await project.client.get("/api/dead-letters")).json()
    assert (letter["notification_id"], letter["reason"]) == (notification, "poison")
