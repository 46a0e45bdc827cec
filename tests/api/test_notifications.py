"""Notifications over HTTP: sending, scheduling, reading, cancelling."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.operations import rows
from tests.conftest import Project
from tidings.api.examples import MESSAGE, REMINDER
from tidings.app import App

ENDED = ("sent", "delivered", "failed", "suppressed", "expired")


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


async def schedule(project: Project, **fields: Any) -> dict[str, Any]:
    body = {**REMINDER, **fields}
    answer = await project.client.post("/api/notifications/schedule", json=body)
    assert answer.status_code == 202, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


async def test_send_as_in_the_original_interface(project: Project) -> None:
    user_id = await project.user()
    answer = await project.client.post("/api/notifications", json={**MESSAGE, "user_id": user_id})
    assert answer.status_code == 202
    accepted = answer.json()
    assert {name: accepted[name] for name in MESSAGE} == {**MESSAGE, "user_id": user_id}
    assert (type(accepted["id"]), accepted["status"]) == (int, "pending")
    assert accepted["created_at"].endswith("Z")
    assert set(accepted) == {"id", *MESSAGE, "status", "created_at", "lane", "ttl_s"}
    [listed] = (await project.client.get(f"/api/notifications/user/{user_id}")).json()
    same = ("id", *MESSAGE, "created_at", "lane", "ttl_s")
    assert [listed[name] for name in same] == [accepted[name] for name in same]


async def test_what_became_of_it(project: Project) -> None:
    user_id = await project.user()
    await project.device(user_id, "phone-of-the-api-test")
    notification_id = await project.send(user_id)
    shown = await project.until(notification_id, "sent", "delivered")
    assert shown["sent_at"].endswith("Z")
    assert shown["sent_at"] >= shown["created_at"]
    pushes = [made for made in shown["deliveries"] if made["channel"] == "push"]
    assert [made["status"] for made in pushes] in (["sent"], ["delivered"])
    assert pushes[0]["attempts"][0]["number"] == 1


async def test_schedule_as_in_the_original_interface(project: Project) -> None:
    user_id = await project.user()
    accepted = await schedule(project, user_id=user_id)
    assert {name: accepted[name] for name in REMINDER} == {**REMINDER, "user_id": user_id}
    assert accepted["status"] == "scheduled"
    assert set(accepted) == {"id", *REMINDER, "status", "created_at", "lane", "ttl_s"}
    shown = await project.get(accepted["id"])
    assert {name: shown[name] for name in accepted} == accepted


TIMES = [
    ("2036-04-29T11:00:00+02:00", "2036-04-29T09:00:00Z"),
    ("2036-04-28T23:00:00-10:00", "2036-04-29T09:00:00Z"),
    ("2036-04-29t09:00:00.123456z", "2036-04-29T09:00:00.123456Z"),
    ("2036-04-29T09:00:00.1234567Z", "2036-04-29T09:00:00.123457Z"),
    ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
]


@pytest.mark.parametrize(("given", "answered"), TIMES)
async def test_times_are_answered_in_utc(project: Project, given: str, answered: str) -> None:
    accepted = await schedule(project, user_id=await project.user(), scheduled_time=given)
    assert accepted["scheduled_time"] == answered
    assert (await project.get(accepted["id"]))["scheduled_time"] == answered


BAD_TIMES = [
    ("2036-04-29T09:00:00", "time_naive"),
    ("2036-04-29", "invalid_field"),
    ("2036-02-30T09:00:00Z", "invalid_field"),
    ("2036-04-29T25:00:00Z", "invalid_field"),
    ("2036-04-29T09:00:60Z", "invalid_field"),
    ("tomorrow", "invalid_field"),
    ("", "invalid_field"),
    (1_777_777_777, "invalid_field"),
    (None, "invalid_field"),
    ("2020-01-01T00:00:00Z", "time_past"),
    ("0001-01-01T00:00:00+14:00", "time_past"),
    ("9999-12-31T23:59:59-02:00", "time_out_of_range"),
]


@pytest.mark.parametrize(("given", "code"), BAD_TIMES)
async def test_bad_times(app: App, project: Project, given: object, code: str) -> None:
    item = {"user_id": await project.user(), "title": "x", "scheduled_time": given}
    answer = await project.client.post("/api/notifications/schedule", json=item)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/scheduled_time"]
    if given is not None:  # in a batch null is as good as nothing
        batch = await project.client.post("/api/notifications/batch", json={"notifications": [item]})
        [error] = batch.json()["errors"]
        assert (error["code"], error["errors"][0]["pointer"]) == (code, "/notifications/0/scheduled_time")
    assert (await rows(app, project.id))["notifications"] == 0


async def test_a_time_a_little_past_is_now(project: Project) -> None:
    accepted = await schedule(project, user_id=await project.user(), scheduled_time=in_seconds(-50))
    assert accepted["status"] == "pending"
    assert "scheduled_time" not in accepted
    await project.until(accepted["id"], *ENDED)


async def test_a_time_is_kept(project: Project) -> None:
    user_id = await project.user()
    await project.device(user_id, "scheduled-phone")
    accepted = await schedule(project, user_id=user_id, scheduled_time=in_seconds(1.5))
    assert accepted["status"] == "scheduled"
    shown = await project.until(accepted["id"], "sent", "delivered")
    assert shown["sent_at"] >= shown["scheduled_time"]


async def test_the_plain_route_takes_no_time(project: Project) -> None:
    answer = await project.client.post("/api/notifications", json={**REMINDER, "user_id": await project.user()})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")
    assert answer.json()["errors"][0]["pointer"] == "/scheduled_time"


@pytest.mark.parametrize("path", ["/api/notifications", "/api/notifications/schedule"])
async def test_an_unknown_user(app: App, project: Project, path: str) -> None:
    body = {**(REMINDER if path.endswith("schedule") else MESSAGE), "user_id": 2**62}
    answer = await project.client.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")
    assert answer.json()["errors"][0]["pointer"] == "/user_id"
    assert (await rows(app, project.id))["notifications"] == 0


FIELDS = [
    ({"title": "x" * 255}, None),
    ({"title": "名" * 255}, None),
    ({"title": ""}, None),
    ({"title": "x" * 256}, "/title"),
    ({"body": "x" * 16_384}, None),
    ({"body": "x" * 16_385}, "/body"),
    ({"body": None}, "/body"),
    ({"data": None}, "/data"),
    ({"ttl_s": 0}, None),
    ({"ttl_s": 2_419_200}, None),
    ({"ttl_s": 2_419_201}, "/ttl_s"),
    ({"ttl_s": -1}, "/ttl_s"),
    ({"lane": "critical"}, None),
    ({"lane": "bulk"}, None),
    ({"lane": "scheduled"}, "/lane"),
    ({"collapse_key": "x" * 64}, None),
    ({"collapse_key": "x" * 65}, "/collapse_key"),
    ({"collapse_key": ""}, "/collapse_key"),
]


@pytest.mark.parametrize(("fields", "pointer"), FIELDS)
async def test_bounds_of_fields(project: Project, fields: dict[str, Any], pointer: str | None) -> None:
    body = {"user_id": await project.user(), "title": "x", **fields}
    answer = await project.client.post("/api/notifications", json=body)
    if pointer is None:
        assert answer.status_code == 202, answer.text
        shown = await project.get(answer.json()["id"])
        assert {name: shown[name] for name in fields} == fields
    else:
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_newest_first(project: Project) -> None:
    user_id, someone_else = await project.user(), await project.user()
    sent = [await project.send(user_id, title=str(number)) for number in range(3)]
    await project.send(someone_else)
    listed = (await project.client.get(f"/api/notifications/user/{user_id}")).json()
    assert [item["id"] for item in listed] == sent[::-1]
    assert (await project.client.get(f"/api/notifications/user/{await project.user()}")).json() == []


async def test_cancel(project: Project) -> None:
    accepted = await schedule(project, user_id=await project.user())
    path = f"/api/notifications/{accepted['id']}/cancel"
    first, second = await project.client.post(path), await project.client.post(path)
    assert (first.status_code, first.json()) == (200, {**accepted, "status": "cancelled"})
    assert (second.status_code, second.json()) == (200, first.json())
    assert (await project.get(accepted["id"]))["status"] == "cancelled"


async def test_cancel_what_is_on_its_way(project: Project) -> None:
    notification_id = await project.send(await project.user())
    shown = await project.until(notification_id, *ENDED)
    answer = await project.client.post(f"/api/notifications/{notification_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_cancellable")
    assert shown["status"] in answer.json()["detail"]


async def test_what_is_cancelled_is_not_sent(app: App, project: Project) -> None:
    user_id = await project.user()
    await project.device(user_id, "phone-that-stays-silent")
    early = await schedule(project, user_id=user_id, scheduled_time=in_seconds(1))
    late = await schedule(project, user_id=user_id, scheduled_time=in_seconds(1.2))
    assert (await project.client.post(f"/api/notifications/{early['id']}/cancel")).status_code == 200
    await project.until(late["id"], "sent", "delivered")
    assert (await project.get(early["id"]))["status"] == "cancelled"
    assert (await project.get(early["id"]))["deliveries"] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"channels": ["email", "push"]},
        {"channels": "all"},
        {"fallback": ["push", "sms"], "category": "security.alerts"},
        {"apns": {"aps": {"badge": 3}}, "webpush": {"icon": "https://example.com/i.png"}},
    ],
)
async def test_channels_and_parts_are_kept_as_given(app: App, project: Project, fields: dict[str, Any]) -> None:
    user_id = await project.user()
    answer = await project.client.post("/api/notifications", json={"user_id": user_id, "title": "t", **fields})
    assert answer.status_code == 202, answer.text
    shown = await project.get(answer.json()["id"])
    kept = {name: value for name, value in fields.items() if name not in ("apns", "webpush")}
    assert {name: answer.json().get(name) for name in kept} == {name: shown.get(name) for name in kept} == kept
    stored = await app.db.fetchval("SELECT overrides FROM notifications WHERE id = $1", answer.json()["id"])
    assert (None if stored is None else set(json.loads(stored))) == ({"apns", "webpush"} & set(fields) or None)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"channels": ["pigeon"]}, "/channels/0"),
        ({"channels": []}, "/channels"),
        ({"channels": "some"}, "/channels"),
        ({"channels": ["push", "push"]}, "/channels"),
        ({"fallback": ["sms", "email", "sms"]}, "/fallback"),
        ({"channels": ["push"], "fallback": ["sms"]}, "/fallback"),
        ({"category": "no spaces"}, "/category"),
        ({"apns": {"apps": {}}}, "/apns/apps"),
        ({"webpush": {"icon": 1}}, "/webpush/icon"),
    ],
)
async def test_channels_and_parts_that_make_no_sense(project: Project, fields: dict[str, Any], pointer: str) -> None:
    user_id = await project.user()
    answer = await project.client.post("/api/notifications", json={"user_id": user_id, "title": "t", **fields})
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
