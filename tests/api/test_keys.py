"""Every operation against every kind of caller: no key, a wrong one, a revoked, an expired, one without the scope,
and one of another project."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.api.operations import KEYED, OPERATIONS, Operation, rows
from tests.conftest import Project, client_of, make_project
from tidings import projects
from tidings.api.examples import BODIES
from tidings.app import App
from tidings.clock import now
from tidings.errors import Unauthenticated
from tidings.projects import Scope

FOREIGN = [op for op in KEYED if "{" in op.path]
LACKING: dict[Scope | None, list[Scope]] = {
    Scope.SEND: [Scope.READ],
    Scope.READ: [Scope.SEND],
    Scope.ADMIN: [Scope.SEND, Scope.READ],
}


async def make_key(app: App, project_id: int, *scopes: Scope, expired: bool = False, revoked: bool = False) -> str:
    ends = now() - timedelta(seconds=1) if expired else None
    key, listed = await projects.create_key(app.db, project_id, "test", list(scopes) or [Scope.ADMIN], ends)
    if revoked:
        await projects.revoke_key(app.db, listed.id)
    return key


async def call(
    app: App, operation: Operation, key: str | None, **ids: object
) -> tuple[int, dict[str, Any], dict[str, str]]:
    async with client_of(app, key) as client:
        answer = await client.request(operation.method, operation.url(**ids), json=operation.body)
    return answer.status_code, answer.json() if answer.content else {}, dict(answer.headers)


def test_only_these_need_no_key() -> None:
    assert {op.name for op in OPERATIONS if op.scope is None} == {
        "confirm_receipt",
        "healthcheck",
        "read_vapid_public_key",
        "take_reports",
    }


@pytest.mark.parametrize("operation", KEYED, ids=str)
@pytest.mark.parametrize("kind", ["missing", "empty", "unknown", "revoked", "expired"])
async def test_without_a_good_key(app: App, project: Project, operation: Operation, kind: str) -> None:
    key = {
        "missing": None,
        "empty": "",
        "unknown": "tk_" + "x" * 43,
        "revoked": await make_key(app, project.id, revoked=True),
        "expired": await make_key(app, project.id, expired=True),
    }[kind]
    before = await rows(app, project.id)
    status, body, headers = await call(app, operation, key)
    assert (status, body["code"]) == (401, f"key_{'missing' if kind == 'empty' else kind}")
    assert headers["www-authenticate"].startswith("ApiKey")
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == body["request_id"]
    assert await rows(app, project.id) == before


@pytest.mark.parametrize("operation", KEYED, ids=str)
async def test_without_the_scope(app: App, operation: Operation) -> None:
    project_id, key = await make_project(app, *LACKING[operation.scope])
    status, body, _ = await call(app, operation, key)
    assert (status, body["code"]) == (403, "scope_missing")
    assert str(operation.scope) in body["detail"]
    assert not any((await rows(app, project_id)).values())


@pytest.mark.parametrize("operation", KEYED, ids=str)
async def test_with_the_scope(app: App, operation: Operation) -> None:
    assert operation.scope is not None
    _, key = await make_project(app, operation.scope)
    status, _, _ = await call(app, operation, key)
    assert status not in (401, 403)


@pytest.mark.parametrize("operation", FOREIGN, ids=str)
async def test_ids_of_another_project(app: App, project: Project, other: Project, operation: Operation) -> None:
    """They answer as ids do that nobody has, to the letter, and nothing changes."""
    user_id = await other.user(name="Theirs")
    device_id = await other.device(user_id, f"theirs-{operation.name}")
    later = {"user_id": user_id, "title": "Later", "scheduled_time": "2036-04-29T09:00:00Z"}
    notification = await other.client.post("/api/notifications/schedule", json=later)
    broadcast = await other.client.post("/api/broadcasts", json={"title": "To all"})
    account = await other.client.post("/api/providers", json=BODIES["create_provider_account"])
    theirs = {
        "user_id": user_id,
        "device_id": device_id,
        "notification_id": notification.json()["id"],
        "broadcast_id": broadcast.json()["id"],
        "account_id": account.json()["id"],
    }
    nobody = dict.fromkeys(theirs, 2**62)
    tables = ("users", "devices", "notifications", "provider_accounts")
    before = await rows(app, other.id)
    found, missing = [await call(app, operation, project.key, **ids) for ids in (theirs, nobody)]
    after = await rows(app, other.id)
    assert (found[0], missing[0]) == (404, 404)
    assert without_id(found[1]) == without_id(missing[1])
    assert [before[table] for table in tables] == [after[table] for table in tables]
    shown = await other.client.get(f"/api/notifications/{theirs['notification_id']}")
    assert shown.json()["status"] == "scheduled"


def without_id(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "request_id"}


async def test_own_user_with_another_projects_device(project: Project, other: Project) -> None:
    mine = await project.user()
    theirs = await other.device(await other.user(), "a-device-of-theirs")
    answer = await project.client.delete(f"/api/users/{mine}/devices/{theirs}")
    assert (answer.status_code, answer.json()["code"]) == (404, "device_not_found")


@pytest.mark.parametrize("name", ["send_notification", "schedule_notification", "send_batch"])
async def test_sending_to_another_projects_user(app: App, project: Project, other: Project, name: str) -> None:
    user_id = await other.user()
    item = {"user_id": user_id, "title": "Not for you"}
    path, body = {
        "send_notification": ("/api/notifications", item),
        "schedule_notification": (
            "/api/notifications/schedule",
            {**item, "scheduled_time": "2036-04-29T09:00:00Z"},
        ),
        "send_batch": ("/api/notifications/batch", {"notifications": [item]}),
    }[name]
    answer = (await project.client.post(path, json=body)).json()
    error = answer["errors"][0] if name == "send_batch" else answer
    pointer = "/notifications/0/user_id" if name == "send_batch" else "/user_id"
    assert (error["status"], error["code"]) == (404, "user_not_found")
    assert error["errors"][0]["pointer"] == pointer
    assert not any((await rows(app, project.id)).values())
    assert (await rows(app, other.id))["notifications"] == 0


async def test_a_key_that_expires_while_it_is_remembered(app: App, project: Project) -> None:
    ends = now() + timedelta(milliseconds=400)
    key, _ = await projects.create_key(app.db, project.id, "brief", [Scope.READ], ends)
    async with client_of(app, key) as client:
        assert (await client.get("/api/users")).status_code == 200
        while now() < ends:
            assert (await client.get("/api/users")).status_code in (200, 401)
        assert (await client.get("/api/users")).json()["code"] == "key_expired"


async def test_a_revoked_key_is_remembered_for_two_seconds_at_most(app: App, project: Project) -> None:
    at = 1000.0
    ring = projects.KeyRing(app.db, lambda: at)
    key, listed = await projects.create_key(app.db, project.id, "brief", [Scope.READ])
    asking = asyncio.create_task(ring.identify(key))
    await asyncio.sleep(0)
    at += 0.5  # so long the database takes to answer; it may be revoked meanwhile
    assert (await asking).key_id == listed.id
    await projects.revoke_key(app.db, listed.id)
    at = 1001.9
    assert ring.cached(key), "most calls don't ask the database"
    at = 1002.001
    assert ring.cached(key) is None
    with pytest.raises(Unauthenticated):
        await ring.identify(key)
    assert ring.cached(key) is None


async def test_what_is_stored_of_a_key(app: App, project: Project) -> None:
    row = await app.db.fetchrow("SELECT * FROM api_keys WHERE project_id = $1", project.id)
    assert row is not None
    assert project.key.startswith(row["hint"])
    assert len(row["hint"]) < 10
    assert row["digest"] == projects.digest(project.key)
    assert not any(project.key in str(value) for value in row.values())


def test_keys_are_long_enough() -> None:
    assert projects.KEY_BYTES * 8 >= 160
