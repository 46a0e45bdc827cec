"""Accounts over HTTP: their life, who may have how many, and that no secret ever comes back."""

from typing import Any

import pytest

from tests.api.operations import rows
from tests.api.providers.calls import PATH, add, emulated, secrets_of, webpush
from tests.conftest import Project, eventually
from tidings import accounts
from tidings.api.examples import VAPID
from tidings.app import App
from tidings.emulators import Emulators
from tidings.providers.webpush_vapid import new_private_key


async def test_the_life_of_an_account(app: App, project: Project) -> None:
    made = await add(project, webpush())
    assert made["check"] == {"verdict": "unknown", "detail": "This vendor has no call that could tell."}
    assert made["summary"]["subject"] == VAPID["subject"]
    assert len(made["summary"]["public_key"]) == 87
    shown = {**made, "check": None}
    one = f"{PATH}/{made['id']}"
    assert (await project.client.get(one)).json() == shown
    assert (await project.client.get(PATH)).json() == [shown]
    changed = (await project.client.patch(one, json={"name": "All", "priority": 9, "enabled": False})).json()
    assert changed == {**shown, "name": "All", "priority": 9, "enabled": False, "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > made["updated_at"]
    assert (await project.client.patch(one, json={})).json()["name"] == "All"
    assert (await project.client.delete(one)).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = await project.client.request(method, one, json={} if method == "PATCH" else None)
        assert (answer.status_code, answer.json()["code"]) == (404, "account_not_found")
    assert (await rows(app, project.id))["provider_accounts"] == 0


async def test_new_credentials_replace_the_old_ones_as_a_whole(app: App, project: Project) -> None:
    made = await add(project, webpush())
    one = f"{PATH}/{made['id']}"
    before = await app.db.fetchrow("SELECT credentials, version FROM provider_accounts WHERE id = $1", made["id"])
    other = {"private_key": new_private_key(), "subject": "https://example.com"}
    answer = await project.client.patch(one, json={"credentials": other})
    assert answer.status_code == 200, answer.text
    assert answer.json()["summary"]["subject"] == "https://example.com"
    assert answer.json()["summary"]["public_key"] != made["summary"]["public_key"]
    after = await app.db.fetchrow("SELECT credentials, version FROM provider_accounts WHERE id = $1", made["id"])
    assert before is not None
    assert after is not None
    assert (after["version"], before["version"]) == (2, 1)
    assert after["credentials"] != before["credentials"]
    bad = await project.client.patch(one, json={"credentials": {"private_key": "nonsense", "subject": "x"}})
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "/credentials")
    vault = app.services.vault
    assert vault is not None
    assert (await accounts.stored(app.db, vault, project.id, made["id"])).credentials == other


async def test_what_is_stored_is_sealed(app: App, project: Project, key_file: dict[str, str]) -> None:
    await add(project, {"provider": "fcm", "name": "Firebase", "credentials": key_file}, check="false")
    row = await app.db.fetchrow("SELECT * FROM provider_accounts WHERE project_id = $1", project.id)
    assert row is not None
    stored = repr(dict(row))
    assert "PRIVATE" not in stored
    assert all(secret not in stored for secret in secrets_of(key_file))


async def test_no_call_gives_a_secret_back(project: Project, key_file: dict[str, str]) -> None:
    made = await add(project, {"provider": "fcm", "name": "Firebase", "credentials": key_file}, check="false")
    one = f"{PATH}/{made['id']}"
    answers = [
        await project.client.get(PATH),
        await project.client.get(one),
        await project.client.patch(one, json={"priority": 1}),
        await project.client.patch(one, json={"credentials": key_file}, params={"check": "false"}),
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert all(secret not in answer.text for answer in answers for secret in secrets_of(key_file))
    assert made["check"] is None
    assert made["summary"] == {
        "project_id": "shop-1",
        "client_email": "push@shop-1.iam.gserviceaccount.com",
        "key_id": "a1b2c3",
    }


async def test_the_next_account_stands_in_and_a_rotated_one_comes_back(
    project: Project, vendors: Emulators, key_file: dict[str, str]
) -> None:
    user = await project.user()
    await project.device(user, f"own-account-{project.id}")
    stranger = {**key_file, "token_uri": vendors.service_account["token_uri"]}
    bad = await add(project, emulated("fcm", stranger, "main"), check="false")
    first = await project.send(user)
    waiting = await eventually(lambda: paused(project, first))
    assert waiting["reason"] == "credentials", "the operator's account must not send for a project that has its own"
    good = await add(project, {**emulated("fcm", vendors.service_account, "stands in"), "priority": 5})
    await project.until(await project.send(user), "sent")
    await project.client.delete(f"{PATH}/{good['id']}")
    one = f"{PATH}/{bad['id']}"
    answer = await project.client.patch(one, json={"credentials": vendors.service_account})
    assert answer.status_code == 200, answer.text
    await project.until(await project.send(user), "sent")


async def paused(project: Project, notification_id: int) -> dict[str, Any] | None:
    shown = await project.get(notification_id)
    found: list[dict[str, Any]] = [one for one in shown["deliveries"] if one["reason"] is not None]
    return found[0] if found else None


async def test_names_are_unique_in_a_project(project: Project, other: Project) -> None:
    first = await add(project, webpush("same"))
    second = await add(project, webpush("another"))
    again = await project.client.post(PATH, json=webpush("same"))
    assert (again.status_code, again.json()["code"]) == (409, "account_name_taken")
    renamed = await project.client.patch(f"{PATH}/{second['id']}", json={"name": "same"})
    assert (renamed.status_code, renamed.json()["code"]) == (409, "account_name_taken")
    assert (await add(other, webpush("same")))["id"] not in (first["id"], second["id"])


async def test_there_is_a_most(app: App, project: Project) -> None:
    await app.db.execute(
        "INSERT INTO provider_accounts (project_id, provider, name, credentials, summary) "
        "SELECT $1, 'webpush', 'account ' || n, '', '{}' FROM generate_series(1, $2) AS n",
        project.id,
        accounts.MOST - 1,
    )
    await add(project, webpush("the last one"))
    answer = await project.client.post(PATH, json=webpush("one too many"))
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_accounts")


async def test_pages(project: Project) -> None:
    ids = [(await add(project, webpush(f"account {number}")))["id"] for number in range(5)]
    found: list[int] = []
    path = f"{PATH}?limit=2"
    while path:
        answer = await project.client.get(path)
        found += [account["id"] for account in answer.json()]
        link = answer.headers.get("link", "")
        path = link[1 : link.index(">")] if link else ""
    assert found == ids


async def test_a_change_is_announced(app: App, project: Project) -> None:
    heard: list[str] = []
    app.bus.listen(accounts.CHANGED, heard.append)
    made = await add(project, webpush())
    await project.client.patch(f"{PATH}/{made['id']}", json={"priority": 3})
    await project.client.delete(f"{PATH}/{made['id']}")
    assert [value for value in heard if value == str(project.id)] == [str(project.id)] * 3


async def test_a_secret_that_was_changed_is_told(app: App, project: Project) -> None:
    made = await add(project, webpush())
    await app.db.execute(
        "UPDATE provider_accounts SET credentials = overlay(credentials placing '\\x00' from 20) WHERE id = $1",
        made["id"],
    )
    answer = await project.client.post(f"{PATH}/{made['id']}/check")
    assert answer.status_code == 200
    assert answer.json()["verdict"] == "refused"
    assert "TIDINGS_SECRET" in answer.json()["detail"]
    assert (await project.client.get(f"{PATH}/{made['id']}")).status_code == 200


BAD_BODIES: list[tuple[dict[str, Any], str, str]] = [
    ({"priority": -1}, "invalid_field", "/priority"),
    ({"priority": 1001}, "invalid_field", "/priority"),
    ({"enabled": "yes"}, "invalid_field", "/enabled"),
    ({"provider": "apprise"}, "invalid_field", "/provider"),
    ({"credentials": {}}, "invalid_field", "/credentials"),
    ({"credentials": {"private_key": "x" * 70_000, "subject": "y"}}, "invalid_field", "/credentials"),
    ({"name": ""}, "invalid_field", "/name"),
    ({"secret": "x"}, "unknown_field", "/secret"),
]


@pytest.mark.parametrize(("change", "code", "pointer"), BAD_BODIES)
async def test_bad_bodies(app: App, project: Project, change: dict[str, Any], code: str, pointer: str) -> None:
    answer = await project.client.post(PATH, json={**webpush(), **change})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert (await rows(app, project.id))["provider_accounts"] == 0
