"""Devices over HTTP."""

import asyncio

import pytest

from tests.api.operations import rows
from tests.conftest import Project
from tidings.api.examples import PHONE
from tidings.app import App


async def tokens(project: Project, user_id: int) -> list[str]:
    answer = await project.client.get(f"/api/users/{user_id}/devices")
    assert answer.status_code == 200
    return [device["device_token"] for device in answer.json()]


async def test_register_as_in_the_original_interface(project: Project) -> None:
    user_id = await project.user()
    answer = await project.client.post(f"/api/users/{user_id}/devices", json=PHONE)
    assert answer.status_code == 201
    device = answer.json()
    assert {name: device[name] for name in PHONE} == PHONE
    assert (device["user_id"], type(device["id"])) == (user_id, int)
    assert device["created_at"].endswith("Z")
    extra = {"registered_at", "disabled_at", "disabled_reason"}
    assert set(device) == {"id", "user_id", "device_token", "device_type", "created_at", *extra}
    listed = await project.client.get(f"/api/users/{user_id}/devices")
    assert listed.json() == [device]
    gone = await project.client.delete(f"/api/users/{user_id}/devices/{device['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert await tokens(project, user_id) == []
    again = await project.client.delete(f"/api/users/{user_id}/devices/{device['id']}")
    assert (again.status_code, again.json()["code"]) == (404, "device_not_found")


async def test_a_token_moves_to_another_user_of_the_project(app: App, project: Project) -> None:
    first, second = await project.user(), await project.user()
    device_id = await project.device(first, "one-phone")
    assert await project.device(second, "one-phone") == device_id
    assert (await tokens(project, first), await tokens(project, second)) == ([], ["one-phone"])
    assert (await rows(app, project.id))["devices"] == 1


async def test_the_same_token_again_is_refreshed(app: App, project: Project) -> None:
    user_id = await project.user()
    path = f"/api/users/{user_id}/devices"
    first = (await project.client.post(path, json={"device_token": "t", "device_type": "ios"})).json()
    await app.db.execute(
        "UPDATE devices SET disabled_at = now(), disabled_reason = 'unregistered' WHERE id = $1", first["id"]
    )
    again = (await project.client.post(path, json={"device_token": "t", "device_type": "android"})).json()
    assert again == {**first, "device_type": "android", "registered_at": again["registered_at"]}
    assert again["registered_at"] > first["registered_at"]
    assert (again["disabled_at"], again["disabled_reason"]) == (None, None)


async def test_projects_may_know_the_same_token(project: Project, other: Project) -> None:
    mine, theirs = await project.user(), await other.user()
    assert await project.device(mine, "shared") != await other.device(theirs, "shared")
    assert (await tokens(project, mine), await tokens(other, theirs)) == (["shared"], ["shared"])


async def test_registering_at_once_leaves_one_device(app: App, project: Project) -> None:
    users = [await project.user() for _ in range(4)]
    body = {"device_token": "wanted", "device_type": "web"}
    answers = await asyncio.gather(
        *(project.client.post(f"/api/users/{user_id}/devices", json=body) for user_id in users * 5)
    )
    assert {answer.status_code for answer in answers} == {201}
    assert (await rows(app, project.id))["devices"] == 1
    assert sum([len(await tokens(project, user_id)) for user_id in users]) == 1


async def test_registering_crosswise_never_locks_up(project: Project) -> None:
    users = [await project.user() for _ in range(2)]
    bodies = [{"device_token": f"crossed-{i}", "device_type": "web"} for i in range(2)]
    calls = [project.client.post(f"/api/users/{users[i % 2]}/devices", json=bodies[i // 2 % 2]) for i in range(40)]
    assert {answer.status_code for answer in await asyncio.gather(*calls)} == {201}


GOOD = [("t", "android"), ("t" * 4096, "ios"), ("https://push.example/ä?x=1", "web"), ("名", "web")]
BAD = [
    ({"device_type": "ios"}, "missing_field", "/device_token"),
    ({"device_token": "t"}, "missing_field", "/device_type"),
    ({"device_token": "", "device_type": "ios"}, "invalid_field", "/device_token"),
    ({"device_token": "t" * 4097, "device_type": "ios"}, "invalid_field", "/device_token"),
    ({"device_token": "t", "device_type": "iOS"}, "invalid_field", "/device_type"),
    ({"device_token": "t", "device_type": "phone"}, "invalid_field", "/device_type"),
]


@pytest.mark.parametrize(("token", "device_type"), GOOD)
async def test_good_devices(project: Project, token: str, device_type: str) -> None:
    user_id = await project.user()
    await project.device(user_id, token, device_type)
    assert await tokens(project, user_id) == [token]


@pytest.mark.parametrize(("body", "code", "pointer"), BAD)
async def test_bad_devices(app: App, project: Project, body: dict[str, str], code: str, pointer: str) -> None:
    user_id = await project.user()
    answer = await project.client.post(f"/api/users/{user_id}/devices", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await rows(app, project.id))["devices"] == 0


async def test_what_happens_to_devices_is_written_down(app: App, project: Project) -> None:
    user_id = await project.user()
    device_id = await project.device(user_id, "watched", "ios")
    await project.client.delete(f"/api/users/{user_id}/devices/{device_id}")
    found = await app.db.fetch("SELECT type, data FROM events WHERE project_id = $1 ORDER BY id", project.id)
    assert [row["type"] for row in found] == ["device.registered", "device.unregistered"]
    assert f'"device_id": {device_id}' in found[0]["data"]
