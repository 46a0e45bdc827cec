"""Routes through the whole service: the real API, database, scheduler, worker and emulators."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.conftest import Project, eventually
from tidings.app import App
from tidings.worker.deliver import ONCE_AT_ONCE


def outcomes(shown: dict[str, Any]) -> set[str]:
    return {f"{d['channel']}:{d['status']}:{d['reason']}" for d in shown["deliveries"]}


async def test_the_next_channel_is_tried_when_one_cannot_deliver(project: Project) -> None:
    user = await project.user()
    await project.device(user, f"unregistered-{project.id}")
    shown = await project.until(await project.send(user, fallback=["push", "websocket", "sms"]), "failed")
    assert outcomes(shown) == {
        "push:failed:unregistered",
        "websocket:suppressed:not_connected",
        "sms:suppressed:no_address",
    }


async def test_the_next_channel_is_left_alone_when_one_delivers(project: Project) -> None:
    user = await project.user()
    await project.device(user, f"good-{project.id}")
    shown = await project.until(await project.send(user, fallback=["chat", "push", "websocket"]), "sent")
    assert outcomes(shown) == {"chat:suppressed:no_address", "push:sent:None"}


async def test_a_retry_that_fails_for_good_falls_back(app: App, project: Project) -> None:
    user = await project.user()
    await project.device(user, f"unavailable-{project.id}")
    notification = await project.send(user, fallback=["push", "websocket"])

    async def tried() -> Any:
        return await app.db.fetchval(
            "UPDATE deliveries SET attempts_allowed = 2 WHERE notification_id = $1 AND attempts > 0 RETURNING channel",
            notification,
        )

    assert await eventually(tried) == "push"
    shown = await project.until(notification, "failed")
    assert outcomes(shown) == {"push:failed:unavailable", "websocket:suppressed:not_connected"}
    assert len(shown["deliveries"][0]["attempts"]) >= 2


async def test_what_the_user_forbids_is_suppressed_with_the_reason(project: Project) -> None:
    user = await project.user()
    await project.device(user, f"plain-{project.id}")
    rules = [{"category": "marketing", "channel": "push", "enabled": False}]
    put = await project.client.put(f"/api/users/{user}/preferences", json={"preferences": rules})
    assert put.status_code == 200, put.text
    shown = await project.until(await project.send(user, category="marketing"), "suppressed")
    assert outcomes(shown) == {"push:suppressed:preference", "websocket:suppressed:not_connected"}
    shown = await project.until(await project.send(user, category="security"), "sent")
    assert "push:sent:None" in outcomes(shown)


async def test_quiet_hours_hold_until_they_end(app: App, project: Project) -> None:
    user = await project.user()
    await project.device(user, f"plain-{project.id}")
    now = datetime.now(UTC)
    hours = {"from": f"{now - timedelta(hours=1):%H:%M}", "until": f"{now + timedelta(hours=2):%H:%M}"}
    put = await project.client.put(
        f"/api/users/{user}/preferences", json={"preferences": [], "quiet_hours": {**hours, "timezone": "UTC"}}
    )
    assert put.status_code == 200, put.text
    held = await project.send(user, channels=["push"])
    passed = await project.until(await project.send(user, channels=["push"], lane="critical"), "sent")
    assert outcomes(passed) == {"push:sent:None"}

    async def waits() -> dict[str, Any] | None:
        shown = await project.get(held)
        return shown if shown["deliveries"] else None

    shown = await eventually(waits)
    (push,) = shown["deliveries"]
    assert (push["status"], push["reason"], push["attempts"]) == ("pending", "quiet_hours", [])
    assert push["next_attempt_at"][11:16] == hours["until"]
    # The time comes: the same moment as seen by the database.
    await app.db.execute("UPDATE deliveries SET next_attempt_at = now() WHERE notification_id = $1", held)
    await app.db.execute(
        "UPDATE tasks SET due_at = now(), publish_at = now() WHERE subject_ids = ARRAY[$1::bigint]", held
    )
    await project.client.put(f"/api/users/{user}/preferences", json={"preferences": []})
    assert outcomes(await project.until(held, "sent")) == {"push:sent:None"}


async def received(app: App, path: str) -> list[dict[str, Any]]:
    """What an emulated inbox holds."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(app.emulator_url + path)
    listed = answer.json() if answer.status_code == 200 else {}
    found: list[dict[str, Any]] = next((v for v in listed.values() if isinstance(v, list)), [])
    return found


async def test_an_email_arrives_with_a_way_to_unsubscribe(app: App, project: Project) -> None:
    address = f"ann-{project.id}@example.org"
    user = await project.user(email=address)
    email = {"subject": "Your parcel", "html": "<p>It is <b>here</b>.</p>"}
    shown = await project.until(await project.send(user, channels=["email"], category="parcels", email=email), "sent")
    assert outcomes(shown) == {"email:sent:None"}
    (mail,) = await received(app, f"/mailboxes/{address}")
    assert mail["subject"] == "Your parcel"
    link = re.search(r"<(http[^>]+)>", dict(mail["headers"])["List-Unsubscribe"])
    assert link is not None
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(link[1])).status_code == 200
        assert (await project.client.get(f"/api/users/{user}/preferences")).json()["preferences"] == []
        assert (await client.post(link[1], data={"List-Unsubscribe": "One-Click"})).status_code == 200
    shown = await project.until(await project.send(user, channels=["email"], category="parcels"), "suppressed")
    assert outcomes(shown) == {"email:suppressed:preference"}
    shown = await project.until(await project.send(user, channels=["email"], category="invoices"), "sent")


async def test_a_text_message_arrives_and_the_vendor_reports_it(app: App, project: Project) -> None:
    number = f"+4179{project.id:07d}"
    user = await project.user(phone=number)
    shown = await project.until(await project.send(user, channels=["sms"], sms={"body": "4711"}), "delivered")
    assert outcomes(shown) == {"sms:delivered:None"}
    assert [text["text"] for text in await received(app, f"/inboxes/{number}")] == ["4711"]


async def test_who_says_stop_gets_no_more_text_messages(app: App, project: Project) -> None:
    number = f"+4178{project.id:07d}"
    user = await project.user(phone=number)
    await project.until(await project.send(user, channels=["sms"]), "delivered")
    async with httpx.AsyncClient(trust_env=False) as client:
        said = await client.post(f"{app.emulator_url}/inboxes/{number}", json={"text": "STOP"})
        assert said.status_code < 300, said.text

    async def stopped() -> list[Any] | None:
        listed = (await project.client.get("/api/suppressions?channel=sms")).json()
        return listed or None

    assert [one["address"] for one in await eventually(stopped)] == [number]
    shown = await project.until(await project.send(user, fallback=["sms", "websocket"]), "suppressed")
    assert outcomes(shown) == {"sms:suppressed:opted_out", "websocket:suppressed:not_connected"}


async def test_a_text_message_of_unknown_fate_is_not_sent_again(app: App, project: Project) -> None:
    number = "+15005561002"  # taken, then the connection is cut
    user = await project.user(phone=number)
    notification = await project.send(user, channels=["sms"])
    shown = await project.until(notification, "failed", "delivered")  # delivered: the vendor's report tells the truth
    assert outcomes(shown) <= {"sms:failed:unknown", "sms:delivered:None"}
    assert [(made["outcome"], made["reason"]) for made in shown["deliveries"][0]["attempts"]] == [("retry", "unknown")]
    shown = await project.until(notification, "delivered")
    assert len(shown["deliveries"][0]["attempts"]) == 1


async def test_only_a_redrive_sends_what_is_of_unknown_fate_again(app: App, project: Project) -> None:
    user = await project.user(phone="+15005550001")  # refused: not a number
    notification = await project.send(user, channels=["sms"])
    shown = await project.until(notification, "failed")
    assert outcomes(shown) == {"sms:failed:invalid_address"}
    await app.db.execute("UPDATE deliveries SET reason = 'unknown' WHERE notification_id = $1", notification)
    answer = await project.client.post("/api/dead-letters/redrive", json={"reason": "unknown"})
    assert answer.json()["deliveries"] == 1, answer.text

    async def again() -> bool | None:
        (delivery,) = (await project.get(notification))["deliveries"]
        return True if (delivery["status"], len(delivery["attempts"])) == ("failed", 2) else None

    assert await eventually(again)


async def test_a_call_that_a_dead_worker_may_have_made_is_not_made_again(app: App, project: Project) -> None:
    number = "+15005562400"  # taken after four seconds
    user = await project.user(phone=number)
    notification = await project.send(user, channels=["sms"])

    async def begun() -> bool | None:
        row = await app.db.fetchrow("SELECT status, reason FROM deliveries WHERE notification_id = $1", notification)
        return True if row and tuple(row) == ("sending", "unknown") else None

    await eventually(begun)
    # As if the worker had died and its lease were over: the task is claimed once more, the first record finds it stale.
    await app.db.execute(
        "UPDATE tasks SET lease_until = NULL, publish_at = now() WHERE subject_ids = ARRAY[$1::bigint]", notification
    )
    await app.db.execute("UPDATE deliveries SET next_attempt_at = now() WHERE notification_id = $1", notification)
    shown = await project.until(notification, "failed", "delivered")
    assert outcomes(shown) <= {"sms:failed:unknown", "sms:delivered:None"}
    attempts = await app.db.fetchval("SELECT count(*) FROM attempts WHERE notification_id = $1", notification)
    assert attempts == 0  # the one that was made is known to the vendor alone


async def test_a_chat_message(app: App, project: Project) -> None:
    host = app.emulator_url.removeprefix("http://")
    user = await project.user(chat_url=f"json://{host}/chats/room-{project.id}")
    shown = await project.until(await project.send(user, channels=["chat"]), "sent")
    assert outcomes(shown) == {"chat:sent:None"}
    assert len(await received(app, f"/chats/room-{project.id}")) == 1


async def test_a_fallback_goes_on_when_an_email_bounces_at_once(project: Project) -> None:
    user = await project.user(email=f"unknown-user-{project.id}@example.org", phone=f"+4177{project.id:07d}")
    shown = await project.until(await project.send(user, fallback=["email", "sms"]), "sent", "delivered")
    assert {"email:failed:invalid_address"} < outcomes(shown) or {"email:failed:unregistered"} < outcomes(shown)


async def test_more_text_messages_than_are_begun_at_once(app: App, project: Project) -> None:
    user = await project.user(phone=f"+4176{project.id:07d}")
    wanted = ONCE_AT_ONCE + 8
    items = [{"user_id": user, "title": f"Number {n}", "channels": ["sms"]} for n in range(wanted)]
    answer = await project.client.post("/api/notifications/batch", json={"notifications": items})
    assert answer.json()["accepted"] == wanted, answer.text

    async def arrived() -> bool | None:
        statuses = await app.db.fetch(
            "SELECT status, count(*) FROM notifications WHERE project_id = $1 GROUP BY 1", project.id
        )
        return True if [tuple(row) for row in statuses] == [("delivered", wanted)] else None

    assert await eventually(arrived)
    calls = await app.db.fetchval("SELECT count(*) FROM attempts WHERE notification_id = ANY($1)", answer.json()["ids"])
    assert calls == wanted


@pytest.mark.parametrize("written", ["+44 (0)20 7946 {:04d}", "+44 20-7947.{:04d}", "+521551234{:04d}"])
async def test_a_number_is_called_and_stopped_however_it_is_written(app: App, project: Project, written: str) -> None:
    phone = written.format(project.id)
    number = re.sub(r"\(0\)|[^+0-9]", "", phone)
    user = await project.user(phone=phone)
    await project.until(await project.send(user, channels=["sms"]), "delivered")
    assert len(await received(app, f"/inboxes/{number}")) == 1
    answer = await project.client.post("/api/suppressions", json={"address": number})
    assert answer.status_code in (200, 201), answer.text
    shown = await project.until(await project.send(user, channels=["sms"]), "suppressed")
    assert outcomes(shown) == {"sms:suppressed:manual"}
    await project.client.patch(f"/api/users/{user}", json={"phone": f"+44 20 7948 {project.id:04d}"})
    await project.until(await project.send(user, channels=["sms"]), "delivered")
