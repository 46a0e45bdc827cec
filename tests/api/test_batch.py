"""`POST /api/notifications/batch`: each item is judged alone."""

from typing import Any

import msgspec
import pytest

from tests.api.operations import rows
from tests.conftest import Project
from tidings.app import App
from tidings.urgency import TOPIC

PATH = "/api/notifications/batch"
LATER = "2036-04-29T09:00:00Z"
# A bad item as it stands in the body, its status, its code and what its pointer adds.
BAD: list[tuple[bytes, int, str, str]] = [
    (b'{"user_id": 4611686018427387904, "title": "x"}', 404, "user_not_found", "/user_id"),
    (b'{"user_id": 0, "title": "x"}', 422, "invalid_field", "/user_id"),
    (b'{"user_id": "1", "title": "x"}', 422, "invalid_field", "/user_id"),
    (b'{"user_id": 1}', 422, "missing_field", "/title"),
    (b'{"user_id": 1, "title": "x", "titel": "x"}', 422, "unknown_field", "/titel"),
    (b'{"user_id": 1, "title": "' + b"x" * 256 + b'"}', 422, "invalid_field", "/title"),
    (
        b'{"user_id": 1, "title": "x", "scheduled_time": "2020-01-01T00:00:00Z"}',
        422,
        "time_past",
        "/scheduled_time",
    ),
    (b'{"user_id": 1, "title": "x", "data": {"from": 1}}', 422, "invalid_field", "/data/from"),
    (
        b'{"user_id": 1, "title": "x", "data": {"a": ' + b"[" * 40 + b"]" * 40 + b"}}",
        422,
        "invalid_field",
        "/data",
    ),
    (b'{"user_id": 1, "title": "a\\u0000b"}', 400, "bad_encoding", ""),
    (b'{"user_id": 1, "title": "a\\ud800b"}', 400, "bad_encoding", ""),
    (b'{"user_id": 1, "title": "\\udc00"}', 400, "bad_encoding", ""),
    (b'{"user_id": 1, "title": "\xff"}', 400, "bad_encoding", ""),
    (b'{"user_id": 1, "title": "x", "data": {"\\ud800": 1}}', 400, "bad_encoding", ""),
    (b"null", 422, "invalid_field", ""),
    (b"[]", 422, "invalid_field", ""),
    (b'"text"', 422, "invalid_field", ""),
    (b"1e999", 422, "invalid_field", ""),
]


def batch(*items: bytes) -> bytes:
    return b'{"notifications": [' + b", ".join(items) + b"]}"


def good(user_id: int, **fields: Any) -> bytes:
    return msgspec.json.encode({"user_id": user_id, "title": "Good \\u0000 é 😀", **fields})


@pytest.fixture(autouse=True, params=["usually", "after something critical"])
async def moment(request: pytest.FixtureRequest, app: App) -> None:
    """After something critical a batch is read and stored in pieces. The answers are the same."""
    if request.param != "usually":
        await app.bus.announce(TOPIC, "critical")
        assert app.services.intake.in_pieces


async def test_all_good(app: App, project: Project) -> None:
    users = [await project.user() for _ in range(3)]
    items = [
        good(users[0]),
        good(users[1], scheduled_time=LATER),
        good(users[2], lane="bulk", scheduled_time=None),
    ]
    answer = await project.client.post(PATH, content=batch(*items))
    assert answer.status_code == 202
    result = answer.json()
    assert (result["accepted"], result["errors"]) == (3, [])
    shown = [await project.get(notification_id) for notification_id in result["ids"]]
    assert [one["user_id"] for one in shown] == users
    assert [one["lane"] for one in shown] == ["normal", "scheduled", "bulk"]
    assert shown[1]["status"] == "scheduled"
    await project.until(result["ids"][0], "suppressed")


@pytest.mark.parametrize(("item", "status", "code", "pointer"), BAD)
async def test_one_bad_item_names_its_index_and_refuses_nothing_else(
    app: App, project: Project, item: bytes, status: int, code: str, pointer: str
) -> None:
    user_id = await project.user()
    answer = await project.client.post(PATH, content=batch(good(user_id), item, good(user_id)))
    assert answer.status_code == 202, answer.text
    result = answer.json()
    [error] = result["errors"]
    assert (error["index"], error["status"], error["code"]) == (1, status, code)
    if code != "bad_encoding":
        assert [found["pointer"] for found in error["errors"]] == [f"/notifications/1{pointer}"]
    assert result["accepted"] == 2
    assert result["ids"][1] is None
    assert (await project.get(result["ids"][0]))["title"] == "Good \\u0000 é 😀"
    assert (await rows(app, project.id))["notifications"] == 2


async def test_all_bad(app: App, project: Project) -> None:
    answer = await project.client.post(PATH, content=batch(*(item for item, *_ in BAD)))
    assert answer.status_code == 202
    result = answer.json()
    assert (result["accepted"], result["ids"]) == (0, [None] * len(BAD))
    # There is no user 1 in this project, so an item that is otherwise good fails for that: none is.
    assert [error["code"] for error in result["errors"]] == [code for _, _, code, _ in BAD]
    assert [error["index"] for error in result["errors"]] == list(range(len(BAD)))
    assert (await rows(app, project.id))["notifications"] == 0


@pytest.mark.parametrize(("count", "status"), [(0, 422), (1, 202), (1000, 202), (1001, 422)])
async def test_how_many(app: App, project: Project, count: int, status: int) -> None:
    user_id = await project.user()
    items = [{"user_id": user_id, "title": str(number), "scheduled_time": LATER} for number in range(count)]
    answer = await project.client.post(PATH, json={"notifications": items})
    assert answer.status_code == status, answer.text[:300]
    if status == 422:
        assert answer.json()["errors"][0]["pointer"] == "/notifications"
    assert (await rows(app, project.id))["notifications"] == (count if status == 202 else 0)


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"[]", "invalid_body", ""),
        (b"{}", "missing_field", "/notifications"),
        (b'{"notifications": null}', "invalid_field", "/notifications"),
        (b'{"notifications": {}}', "invalid_field", "/notifications"),
        (b'{"notifications": [], "more": 1}', "*", "*"),
        (b'{"items": []}', "unknown_field", "/items"),
    ],
)
async def test_wrong_around_the_items(project: Project, body: bytes, code: str, pointer: str) -> None:
    answer = await project.client.post(PATH, content=body)
    assert answer.status_code == 422
    assert code in ("*", answer.json()["code"])
    assert pointer in ("*", answer.json()["errors"][0]["pointer"])


async def test_the_same_item_twice_is_two_notifications(project: Project) -> None:
    item = good(await project.user())
    ids = (await project.client.post(PATH, content=batch(item, item))).json()["ids"]
    assert len(set(ids)) == 2
