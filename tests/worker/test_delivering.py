"""What becomes of notifications, through the real API, database, worker and the FCM emulator over HTTP/2."""

from typing import Any

import pytest

from tests.conftest import Project, eventually
from tidings.app import App


def push(shown: dict[str, Any], device_id: int) -> dict[str, Any]:
    """The delivery to one device."""
    (found,) = [d for d in shown["deliveries"] if d["channel"] == "push" and d["device_id"] == device_id]
    assert isinstance(found, dict)
    return found


async def test_sent_to_every_device_and_says_that_it_was_emulated(app: App, project: Project) -> None:
    user = await project.user(name="Ann")
    devices = [await project.device(user, f"plain-{project.id}-{n}", kind) for n, kind in enumerate(("android", "ios"))]
    notification = await project.send(user, data={"message_id": 123, "sender": "bob"})
    shown = await project.until(notification, "sent")
    for device in devices:
        delivery = push(shown, device)
        assert (delivery["status"], delivery["provider"], delivery["emulated"]) == ("sent", "fcm", True)
        assert delivery["provider_message_id"].startswith("projects/tidings-emulator/messages/")
        assert [attempt["outcome"] for attempt in delivery["attempts"]] == ["sent"]
    suppressed = [d for d in shown["deliveries"] if d["status"] == "suppressed"]
    assert [(d["channel"], d["reason"]) for d in suppressed] == [("websocket", "not_connected")]
    assert shown["sent_at"] and "delivered_at" not in shown


async def test_a_dead_token_disables_the_device_and_says_so(app: App, project: Project) -> None:
    user = await project.user()
    dead = await project.device(user, f"unregistered-{project.id}")
    shown = await project.until(await project.send(user), "failed")
    assert push(shown, dead)["reason"] == "unregistered"
    (device,) = (await project.client.get(f"/api/users/{user}/devices")).json()
    assert (device["disabled_reason"], device["disabled_at"] is not None) == ("unregistered", True)
    events = await app.db.fetch("SELECT type, data FROM events WHERE project_id = $1 ORDER BY id", project.id)
    assert [row["type"] for row in events] == ["device.registered", "device.unregistered"]
    after = await project.until(await project.send(user), "suppressed")
    assert {"push:no_device", "websocket:not_connected"} == {
        f"{d['channel']}:{d['reason']}" for d in after["deliveries"]
    }


async def test_registering_again_enables_the_device(project: Project) -> None:
    user = await project.user()
    token = f"unregistered-again-{project.id}"
    device = await project.device(user, token)
    await project.until(await project.send(user), "failed")
    assert await project.device(user, token) == device
    (shown,) = (await project.client.get(f"/api/users/{user}/devices")).json()
    assert shown["disabled_at"] is None


async def test_trouble_that_passes_is_retried_until_it_has(project: Project) -> None:
    user = await project.user()
    device = await project.device(user, f"flaky-2-{project.id}")
    shown = await project.until(await project.send(user), "sent")
    delivery = push(shown, device)
    assert [a["outcome"] for a in delivery["attempts"]] == ["retry", "retry", "sent"]
    assert [a["number"] for a in delivery["attempts"]] == [1, 2, 3]
    assert delivery["attempts"][0]["reason"] == "unavailable"


async def test_a_good_device_does_not_wait_for_a_bad_one(project: Project) -> None:
    user = await project.user()
    good = await project.device(user, f"good-{project.id}")
    bad = await project.device(user, f"unavailable-{project.id}")
    shown = await project.until(await project.send(user), "sent")
    assert push(shown, good)["status"] == "sent"
    assert push(shown, bad)["status"] == "pending"
    assert push(shown, bad)["next_attempt_at"]


async def test_a_slow_answer_does_not_hold_back_the_others_record(project: Project) -> None:
    slow, quick = await project.user(), await project.user()
    await project.device(slow, f"latency-3000-{project.id}")
    await project.device(quick, f"quick-{project.id}")
    items = [{"user_id": slow, "title": "slow"}, {"user_id": quick, "title": "quick"}]
    ids = (await project.client.post("/api/notifications/batch", json={"notifications": items})).json()["ids"]
    await project.until(ids[1], "sent")
    assert (await project.get(ids[0]))["status"] == "sending"
    await project.until(ids[0], "sent")


async def test_removing_the_device_ends_its_retries(app: App, project: Project) -> None:
    user = await project.user()
    device = await project.device(user, f"unavailable-removed-{project.id}")
    notification = await project.send(user)

    async def tried() -> bool | None:
        shown = await project.get(notification)
        return any(d["attempts"] for d in shown["deliveries"]) or None

    await eventually(tried)
    assert (await project.client.delete(f"/api/users/{user}/devices/{device}")).status_code == 204
    shown = await project.until(notification, "suppressed")
    assert push(shown, device)["reason"] == "device_removed"


async def test_deleting_the_user_ends_what_is_scheduled_and_erases_what_was_said(app: App, project: Project) -> None:
    user = await project.user()
    body = {"user_id": user, "title": "secret", "scheduled_time": "2030-01-01T00:00:00Z"}
    scheduled = (await project.client.post("/api/notifications/schedule", json=body)).json()["id"]
    assert (await project.client.delete(f"/api/users/{user}")).status_code == 204
    shown = await project.get(scheduled)
    assert (shown["status"], shown["title"]) == ("cancelled", "")


async def test_scheduled_is_sent_at_its_time_and_not_before(app: App, project: Project) -> None:
    user = await project.user()
    await project.device(user, f"scheduled-{project.id}")
    at = await app.db.fetchval("SELECT now() + interval '700 milliseconds'")
    body = {"user_id": user, "title": "later", "scheduled_time": at.isoformat()}
    answer = (await project.client.post("/api/notifications/schedule", json=body)).json()
    assert answer["status"] == "scheduled"
    shown = await project.until(answer["id"], "sent")
    assert shown["sent_at"] >= shown["scheduled_time"]


async def test_cancelled_is_never_sent(app: App, project: Project) -> None:
    user = await project.user()
    token = f"cancelled-{project.id}"
    await project.device(user, token)
    at = await app.db.fetchval("SELECT now() + interval '400 milliseconds'")
    body = {"user_id": user, "title": "later", "scheduled_time": at.isoformat()}
    notification = (await project.client.post("/api/notifications/schedule", json=body)).json()["id"]
    assert (await project.client.post(f"/api/notifications/{notification}/cancel")).json()["status"] == "cancelled"

    async def no_task() -> bool | None:
        left = await app.db.fetchval("SELECT count(*) FROM tasks WHERE $1 = ANY(subject_ids)", notification)
        return True if left == 0 else None

    await eventually(no_task)
    assert (await project.get(notification))["status"] == "cancelled"
    assert app.emulators is not None
    assert app.emulators.phones.messages(token) == []


async def test_a_phone_that_confirms_makes_it_delivered(project: Project) -> None:
    user = await project.user()
    device = await project.device(user, f"confirming-{project.id}")
    shown = await project.until(await project.send(user), "delivered")
    delivery = push(shown, device)
    assert (delivery["status"], delivery["provider"], delivery["emulated"]) == ("delivered", "fcm", True)
    assert shown["created_at"] <= shown["sent_at"] <= shown["delivered_at"]


async def test_the_same_token_for_another_user_moves_the_phone(app: App, project: Project) -> None:
    first, second = await project.user(), await project.user()
    token = f"moving-{project.id}"
    device = await project.device(first, token)
    assert await project.device(second, token) == device
    assert (await project.client.get(f"/api/users/{first}/devices")).json() == []
    items = [{"user_id": first, "title": "to the first"}, {"user_id": second, "title": "to the second"}]
    ids = (await project.client.post("/api/notifications/batch", json={"notifications": items})).json()["ids"]
    await project.until(ids[0], "suppressed")
    await project.until(ids[1], "sent")
    assert app.emulators is not None
    titles = [m["request"]["message"]["notification"]["title"] for m in received(app, token)]
    assert titles == ["to the second"]


def received(app: App, token: str) -> list[Any]:
    """What the emulated phone got."""
    assert app.emulators is not None
    return app.emulators.phones.shown(token)


@pytest.mark.parametrize("lane", ["critical", "bulk"])
async def test_every_lane_delivers(project: Project, lane: str) -> None:
    user = await project.user()
    await project.device(user, f"{lane}-{project.id}")
    shown = await project.until(await project.send(user, lane=lane), "sent")
    assert shown["lane"] == lane
