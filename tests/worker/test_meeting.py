"""Two tasks of one notification at once: neither knows all of it, and its status is right all the same."""

from datetime import timedelta

import msgspec
import pytest

from tests.conftest import Project
from tidings import clock, tasks
from tidings.app import App
from tidings.providers.contract import Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.tasks import Claim
from tidings.worker.deliver import load
from tidings.worker.record import Attempted, Group, record
from tidings.worker.retry import Policy, next_step

POLICY = Policy(attempts=8, base_s=100.0)  # so that nothing is due by itself during the test


def answers(group: Group, outcome: Outcome, channel: str = "push") -> list[Attempted]:
    """Every planned attempt over a channel with this outcome; others are left out."""
    now = clock.now()
    return [
        Attempted(
            one,
            outcome,
            next_step(outcome, one.attempt, POLICY, now, now + timedelta(days=1), 0.0),
            now,
            1,
            True,
            "fcm",
            True,
        )
        for one in group.planned
        if one.address.channel == channel
    ]


async def claim_due(app: App, notification: int, kind: str, device: int | None = None) -> Claim:
    """Claim the task of that kind, made due now; with `device`, only that delivery is due."""
    if device is not None:
        await app.db.execute(
            "UPDATE deliveries SET next_attempt_at = now() WHERE notification_id = $1 AND device_id = $2",
            notification,
            device,
        )
    task = await app.db.fetchval(
        "UPDATE tasks SET due_at = now() WHERE id = (SELECT id FROM tasks WHERE $1 = ANY(subject_ids) AND kind = $2 "
        "AND lease_until IS NULL ORDER BY id LIMIT 1) RETURNING id",
        notification,
        kind,
    )
    (claim,) = await tasks.claim(app.db, [task], 60)
    return claim


async def two_waiting(app: App, project: Project) -> tuple[int, int, int]:
    """A notification whose two deliveries wait for a retry, each with a task of its own."""
    user = await project.user()
    first = await project.device(user, f"meeting-1-{project.id}")
    second = await project.device(user, f"meeting-2-{project.id}")
    body = {"user_id": user, "title": "t", "scheduled_time": "2030-01-01T00:00:00Z"}
    notification = (await project.client.post("/api/notifications/schedule", json=body)).json()["id"]
    claim = await claim_due(app, notification, "scheduled")
    group = await load(app.db, [claim])
    tried = answers(group, Retry(Reason.UNAVAILABLE, after_s=100.0))
    later = msgspec.structs.replace(tried[1].step, next_attempt_at=clock.now() + timedelta(seconds=500))
    await record(app.db, group, [tried[0], msgspec.structs.replace(tried[1], step=later)], last=True)
    return notification, first, second


@pytest.mark.parametrize("first_to_record", [0, 1])
async def test_both_fail_whoever_records_first(app: App, project: Project, first_to_record: int) -> None:
    notification, first, second = await two_waiting(app, project)
    groups = []
    for device in (first, second):
        groups.append(await load(app.db, [await claim_due(app, notification, "retry", device)]))
        assert [one.address.device_id for one in groups[-1].planned] == [device], "each takes only what is due"
    for group in (groups[first_to_record], groups[1 - first_to_record]):
        await record(app.db, group, answers(group, Rejected(Reason.INVALID_MESSAGE)), last=True)
    shown = await project.get(notification)
    assert (shown["status"], {d["status"] for d in shown["deliveries"] if d["device_id"]}) == ("failed", {"failed"})
    assert await app.db.fetchval("SELECT count(*) FROM tasks WHERE $1 = ANY(subject_ids)", notification) == 0


async def test_what_one_has_taken_the_other_leaves_alone(app: App, project: Project) -> None:
    notification, first, second = await two_waiting(app, project)
    one = await load(app.db, [await claim_due(app, notification, "retry", first)])
    await app.db.execute("UPDATE deliveries SET next_attempt_at = now() WHERE device_id = $1", second)
    other = await load(app.db, [await claim_due(app, notification, "retry", second)])
    assert [planned.address.device_id for planned in other.planned] == [second]
    await record(app.db, other, answers(other, Sent("m2")), last=True)
    await record(app.db, one, answers(one, Rejected(Reason.INVALID_MESSAGE)), last=True)
    shown = await project.get(notification)
    assert (shown["status"], shown["sent_at"] is not None) == ("sent", True)


async def test_sent_never_goes_back(app: App, project: Project) -> None:
    notification, first, _ = await two_waiting(app, project)
    group = await load(app.db, [await claim_due(app, notification, "retry", first)])
    await record(app.db, group, answers(group, Sent("m")), last=False)
    await record(app.db, group, answers(group, Retry(Reason.TIMEOUT)), last=True)
    (delivery,) = [d for d in (await project.get(notification))["deliveries"] if d["device_id"] == first]
    assert (delivery["status"], delivery["next_attempt_at"]) == ("sent", None)


async def test_after_a_part_was_recorded_the_rest_is_known_to_be_on_its_way(app: App, project: Project) -> None:
    user = await project.user()
    slow = await project.device(user, f"latency-2500-{project.id}")
    dead = await project.device(user, f"unregistered-{project.id}-meeting")
    notification = await project.send(user)
    shown = await project.until(notification, "sending")
    by_device = {d["device_id"]: d["status"] for d in shown["deliveries"]}
    assert (by_device[slow], by_device[dead]) == ("sending", "failed")
    await project.until(notification, "sent")


async def test_a_part_that_failed_does_not_end_what_was_not_begun(app: App, project: Project) -> None:
    """The worker dies after it has recorded that the push failed, and before it has begun with the text message."""
    user = await project.user(phone=f"+4178{project.id:07d}")
    await project.device(user, f"meeting-part-{project.id}")
    body = {"user_id": user, "title": "t", "channels": ["push", "sms"], "scheduled_time": "2030-01-01T00:00:00Z"}
    notification = (await project.client.post("/api/notifications/schedule", json=body)).json()["id"]
    group = await load(app.db, [await claim_due(app, notification, "scheduled")])
    assert {one.address.channel for one in group.planned} == {"push", "sms"}
    group.early.append(True)
    await record(app.db, group, answers(group, Rejected(Reason.INVALID_MESSAGE)), last=False)
    assert (await project.get(notification))["status"] == "pending"
    await app.db.execute("UPDATE tasks SET lease_until = NULL WHERE $1 = ANY(subject_ids)", notification)
    again = await load(app.db, [await claim_due(app, notification, "scheduled")])
    assert [one.address.channel for one in again.planned] == ["sms"]


async def test_a_socket_that_was_put_off_and_is_gone_is_a_delivery_that_ends(app: App, project: Project) -> None:
    user = await project.user()
    body = {"user_id": user, "title": "t", "channels": ["websocket"], "scheduled_time": "2030-01-01T00:00:00Z"}
    notification = (await project.client.post("/api/notifications/schedule", json=body)).json()["id"]
    group = await load(app.db, [await claim_due(app, notification, "scheduled")])
    (put_off,) = answers(group, Paused(Reason.RATE_LIMITED, after_s=100.0), "websocket")
    await record(app.db, group, [msgspec.structs.replace(put_off, called=False)], last=True)
    assert (await project.get(notification))["status"] == "pending"
    await app.db.execute("UPDATE deliveries SET next_attempt_at = now() WHERE notification_id = $1", notification)
    group = await load(app.db, [await claim_due(app, notification, "retry")])
    (gone,) = answers(group, Rejected(Reason.NOT_CONNECTED), "websocket")
    assert gone.planned.attempt == 1  # the first that is made
    await record(app.db, group, [gone], last=True)
    shown = await project.get(notification)
    assert shown["status"] == "suppressed"
    assert [(d["channel"], d["status"], d["reason"]) for d in shown["deliveries"]] == [
        ("websocket", "suppressed", "not_connected")
    ]
