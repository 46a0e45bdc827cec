"""`Idempotency-Key`: the same request again does nothing again and gets the same answer."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.operations import OPERATIONS, Operation, rows
from tests.conftest import Project, eventually
from tidings import idempotency
from tidings.app import App

WITH_KEY = [operation for operation in OPERATIONS if operation.idempotent]
COUNTED = ("users", "devices", "notifications", "broadcasts")


async def call(project: Project, operation: Operation, user_id: int, body: Any, key: str = "the-key") -> httpx.Response:
    url = operation.url(user_id=user_id)
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    return await project.client.request(operation.method, url, json=body, headers=headers)


def good(operation: Operation, user_id: int) -> Any:
    """The documented example, for a user who exists."""
    if operation.name == "send_batch":
        return {"notifications": [{**item, "user_id": user_id} for item in operation.body["notifications"]]}
    return {**operation.body, "user_id": user_id} if "user_id" in operation.body else operation.body


def another(operation: Operation, user_id: int) -> Any:
    """A good body that is not the same."""
    body = good(operation, user_id)
    if operation.name == "send_batch":
        return {"notifications": body["notifications"][:1]}
    if operation.name == "change_preferences":
        return {"preferences": []}
    changed = {"create_user": "name", "change_user": "name", "register_device": "device_token"}
    return {**body, changed.get(operation.name, "title"): "Another"}


def test_which_operations_take_a_key() -> None:
    """Every POST and PATCH, but for those that are safe to repeat anyway."""
    safe = {"mint_token", "cancel_notification", "confirm_receipt", "redrive"}
    safe |= {"create_provider_account", "change_provider_account", "check_provider_account"}  # names are unique
    safe |= {"add_suppression", "take_reports", "take_mail"}
    changing = {operation.name for operation in OPERATIONS if operation.method in ("POST", "PATCH")}
    assert {operation.name for operation in WITH_KEY} == changing - safe


@pytest.mark.parametrize("operation", WITH_KEY, ids=str)
async def test_again(app: App, project: Project, operation: Operation) -> None:
    user_id = await project.user()
    first = await call(project, operation, user_id, good(operation, user_id))
    assert first.status_code in (200, 201, 202)
    assert "idempotent-replayed" not in first.headers
    before = await rows(app, project.id)
    second = await call(project, operation, user_id, good(operation, user_id))
    assert (second.status_code, second.json()) == (first.status_code, first.json())
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["content-type"] == first.headers["content-type"]
    after = await rows(app, project.id)
    assert [after[table] for table in COUNTED] == [before[table] for table in COUNTED]


@pytest.mark.parametrize("operation", WITH_KEY, ids=str)
async def test_another_body(app: App, project: Project, operation: Operation) -> None:
    user_id = await project.user()
    await call(project, operation, user_id, good(operation, user_id))
    before = await rows(app, project.id)
    answer = await call(project, operation, user_id, another(operation, user_id))
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    after = await rows(app, project.id)
    assert [after[table] for table in COUNTED] == [before[table] for table in COUNTED]


@pytest.mark.parametrize("operation", WITH_KEY, ids=str)
async def test_at_the_same_time(app: App, project: Project, operation: Operation) -> None:
    user_id = await project.user()
    before = await rows(app, project.id)
    body = good(operation, user_id)
    answers = await asyncio.gather(*(call(project, operation, user_id, body) for _ in range(20)))
    assert len({(answer.status_code, answer.text) for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    after = await rows(app, project.id)
    made = {table: after[table] - before[table] for table in COUNTED}
    expected = {
        "create_user": ("users", 1),
        "register_device": ("devices", 1),
        "send_notification": ("notifications", 1),
        "schedule_notification": ("notifications", 1),
        "send_batch": ("notifications", 2),
        "send_broadcast": ("broadcasts", 1),
        "change_user": ("users", 0),
        "change_preferences": ("users", 0),
    }[operation.name]
    assert made == {**dict.fromkeys(COUNTED, 0), expected[0]: expected[1]}


@pytest.mark.parametrize("operation", WITH_KEY, ids=str)
async def test_projects_have_their_own_keys(project: Project, other: Project, operation: Operation) -> None:
    mine, theirs = await project.user(), await other.user()
    first = await call(project, operation, mine, good(operation, mine))
    second = await call(other, operation, theirs, good(operation, theirs))
    assert second.status_code == first.status_code
    assert "idempotent-replayed" not in second.headers
    if operation.name != "change_preferences":  # whose answers name nobody
        assert second.json() != first.json()


@pytest.mark.parametrize("operation", WITH_KEY, ids=str)
async def test_a_refused_request_leaves_the_key_free(app: App, project: Project, operation: Operation) -> None:
    user_id = await project.user()
    before = await rows(app, project.id)
    refused = await call(project, operation, user_id, {"nope": 1})
    assert refused.status_code == 422
    assert await rows(app, project.id) == before
    accepted = await call(project, operation, user_id, good(operation, user_id))
    assert accepted.status_code in (200, 201, 202)
    assert "idempotent-replayed" not in accepted.headers


async def test_a_refusal_by_the_database_leaves_the_key_free(project: Project) -> None:
    await project.user(external_id="u-1")
    body = {"external_id": "u-1"}
    headers = {"Idempotency-Key": "k"}
    assert (await project.client.post("/api/users", json=body, headers=headers)).status_code == 409
    found = (await project.client.get("/api/users?external_id=u-1")).json()
    await project.client.delete(f"/api/users/{found[0]['id']}")
    assert (await project.client.post("/api/users", json=body, headers=headers)).status_code == 201


async def test_one_key_on_two_routes(project: Project) -> None:
    user_id = await project.user()
    headers = {"Idempotency-Key": "k"}
    body = {"user_id": user_id, "title": "x"}
    assert (await project.client.post("/api/notifications", json=body, headers=headers)).status_code == 202
    for path, again in (("/api/users", {}), ("/api/notifications/batch", {"notifications": [body]})):
        answer = await project.client.post(path, json=again, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


async def test_a_scheduled_one_again_when_its_time_has_come(app: App, project: Project) -> None:
    """The answer is the first one, not that the time has passed."""
    body = {"user_id": await project.user(), "title": "x", "scheduled_time": "2036-04-29T09:00:00Z"}
    headers = {"Idempotency-Key": "k"}
    path = "/api/notifications/schedule"
    first = await project.client.post(path, json=body, headers=headers)
    # Years go by: the same request, as it would have been stored when the time was yet to come.
    past = {**body, "scheduled_time": "2026-01-01T00:00:00Z"}
    content = httpx.Request("POST", "http://x", json=past).content
    await app.db.execute(
        "UPDATE idempotency_keys SET digest = $2 WHERE project_id = $1",
        project.id,
        idempotency.digest("POST", path, content),
    )
    await app.db.execute(
        "UPDATE notifications SET scheduled_time = '2026-01-01T00:00:00Z' WHERE id = $1", first.json()["id"]
    )
    again = await project.client.post(path, content=content, headers=headers)
    assert again.status_code == 202, again.text
    assert again.json() == {**first.json(), "scheduled_time": "2026-01-01T00:00:00Z"}
    assert again.headers["idempotent-replayed"] == "true"
    mismatch = await project.client.post(path, json={**past, "title": "y"}, headers=headers)
    assert mismatch.json()["code"] == "idempotency_mismatch"
    unknown = await project.client.post(path, content=content, headers={"Idempotency-Key": "new"})
    assert unknown.json()["code"] == "time_past"


async def test_a_notification_again_when_it_has_been_sent(project: Project) -> None:
    """The answer is what was accepted, not what became of it."""
    user_id = await project.user()
    headers = {"Idempotency-Key": "k"}
    body = {"user_id": user_id, "title": "x", "data": {"a": [1, {"b": None}]}}
    first = await project.client.post("/api/notifications", json=body, headers=headers)
    await project.until(first.json()["id"], "suppressed")
    again = await project.client.post("/api/notifications", json=body, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    await project.client.delete(f"/api/users/{user_id}")
    again = await project.client.post("/api/notifications", json=body, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "caf\u00e9", "tab\there"])
@pytest.mark.parametrize("operation", WITH_KEY, ids=str)
async def test_bad_keys(app: App, project: Project, operation: Operation, key: str) -> None:
    user_id = await project.user()
    before = await rows(app, project.id)
    answer = await call(project, operation, user_id, good(operation, user_id), key)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_idempotency_key")
    assert await rows(app, project.id) == before


async def test_the_longest_key(project: Project) -> None:
    headers = {"Idempotency-Key": "~" * 255}
    first = await project.client.post("/api/users", json={}, headers=headers)
    second = await project.client.post("/api/users", json={}, headers=headers)
    assert first.json() == second.json()


async def test_batches_with_a_key_do_not_wait_for_the_scheduler(app: App, project: Project) -> None:
    user_id = await project.user()
    body = {"notifications": [{"user_id": user_id, "title": "x", "lane": "critical"}]}
    answer = await project.client.post("/api/notifications/batch", json=body, headers={"Idempotency-Key": "k"})
    await project.until(answer.json()["ids"][0], "suppressed")


async def test_many_keys_crosswise_never_lock_up(app: App, project: Project) -> None:
    """Groups that hold the same keys in another order wait for each other and never crosswise."""
    user_id = await project.user()
    keys = [f"k-{number}" for number in range(40)]
    orders = [keys, keys[::-1], keys[1::2] + keys[::2], keys[20:] + keys[:20]] * 3
    body = {"user_id": user_id, "title": "x"}

    async def send(key: str) -> tuple[int, int]:
        answer = await project.client.post("/api/notifications", json=body, headers={"Idempotency-Key": key})
        return answer.status_code, answer.json().get("id", 0)

    answers = await asyncio.gather(*(send(key) for order in orders for key in order))
    assert {status for status, _ in answers} == {202}
    assert len({notification_id for _, notification_id in answers}) == len(keys)
    assert (await rows(app, project.id))["notifications"] == len(keys)

    async def all_done() -> bool | None:
        left = await app.db.fetchval("SELECT count(*) FROM tasks WHERE project_id = $1", project.id)
        return True if left == 0 else None

    await eventually(all_done)
