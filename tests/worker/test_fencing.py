"""Leases and fencing: two workers at one task, and only one of them records."""

import pytest

from tests.conftest import Project
from tidings import tasks
from tidings.app import App
from tidings.clock import now
from tidings.errors import StaleClaim
from tidings.providers.contract import Sent
from tidings.worker.deliver import load
from tidings.worker.record import Attempted, record
from tidings.worker.retry import Step


async def task_of(app: App, project: Project) -> tuple[int, int]:
    """A task that no scheduler touches during the test, and its notification."""
    user = await project.user()
    await project.device(user, f"fenced-{project.id}")
    body = {"user_id": user, "title": "t", "scheduled_time": "2030-01-01T00:00:00Z"}
    notification = (await project.client.post("/api/notifications/schedule", json=body)).json()["id"]
    task = await app.db.fetchval("SELECT id FROM tasks WHERE $1 = ANY(subject_ids)", notification)
    await app.db.execute("UPDATE tasks SET due_at = now() WHERE id = $1", task)
    return task, notification


async def test_a_claimed_task_can_not_be_claimed_again(app: App, project: Project) -> None:
    task, _ = await task_of(app, project)
    (claim,) = await tasks.claim(app.db, [task], 60)
    assert (claim.fence, claim.again) == (1, False)
    assert await tasks.claim(app.db, [task], 60) == []


async def test_after_the_lease_another_takes_over_and_the_first_records_nothing(app: App, project: Project) -> None:
    task, notification = await task_of(app, project)
    (stale,) = await tasks.claim(app.db, [task], 60)
    group = await load(app.db, [stale])
    answered = [
        Attempted(one, Sent("m"), Step("sent"), now(), 1, True, "fcm", True)
        for one in group.planned
        if one.address.channel == "push"
    ]
    await app.db.execute("UPDATE tasks SET lease_until = now() - interval '1 second' WHERE id = $1", task)
    (claim,) = await tasks.claim(app.db, [task], 60)
    assert (claim.fence, claim.again) == (2, True)
    for last in (False, True):
        with pytest.raises(StaleClaim):
            await record(app.db, group, answered, last=last)
    assert (await project.get(notification))["deliveries"] == []
    await record(app.db, await load(app.db, [claim]), answered, last=True)
    assert (await project.get(notification))["deliveries"][0]["status"] == "sent"
    assert await app.db.fetchval("SELECT count(*) FROM tasks WHERE id = $1", task) == 0


async def test_a_task_is_not_claimed_before_it_is_due(app: App, project: Project) -> None:
    task, _ = await task_of(app, project)
    await app.db.execute("UPDATE tasks SET due_at = now() + interval '1 hour' WHERE id = $1", task)
    assert await tasks.claim(app.db, [task], 60) == []


async def test_an_abandoned_task_is_published_again_and_delivered(app: App, project: Project) -> None:
    task, notification = await task_of(app, project)
    await tasks.claim(app.db, [task], 60)  # and then the worker dies
    await app.db.execute("UPDATE tasks SET lease_until = now(), publish_at = now() WHERE id = $1", task)
    shown = await project.until(notification, "sent")
    assert shown["deliveries"][0]["status"] == "sent"
