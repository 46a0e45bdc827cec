"""Users over HTTP."""

import asyncio

import pytest

from tests.api.operations import rows
from tests.conftest import Project
from tidings.api.examples import JOHN
from tidings.app import App

EXTRA = {"external_id", "locale", "timezone", "updated_at", "chat"}  # what the original interface did not have


async def test_create_as_in_the_original_interface(project: Project) -> None:
    answer = await project.client.post("/api/users", json=JOHN)
    assert answer.status_code == 201
    user = answer.json()
    assert isinstance(user["id"], int)
    assert {name: user[name] for name in JOHN} == JOHN
    assert user["created_at"].endswith("Z")
    assert set(user) == {"id", "created_at", *JOHN, *EXTRA}
    again = await project.client.get(f"/api/users/{user['id']}")
    assert (again.status_code, again.json()) == (200, user)


async def test_every_field_is_optional(project: Project) -> None:
    answer = await project.client.post("/api/users", json={})
    assert answer.status_code == 201
    assert answer.json()["name"] is None


async def test_two_users_may_share_everything_but_the_external_id(project: Project, other: Project) -> None:
    assert (await project.client.post("/api/users", json=JOHN)).status_code == 201
    assert (await project.client.post("/api/users", json=JOHN)).status_code == 201
    assert (await project.client.post("/api/users", json={"external_id": "u-1"})).status_code == 201
    taken = await project.client.post("/api/users", json={"external_id": "u-1"})
    assert (taken.status_code, taken.json()["code"]) == (409, "external_id_taken")
    assert (await other.client.post("/api/users", json={"external_id": "u-1"})).status_code == 201


GOOD = {
    "email": ["a@b", "ä@bücher.example", "a+b@c.d"],
    "phone": ["+1234567890", "044 123 45 67", "(044) 123-45-67"[1:].replace(")", "")],
    "locale": ["de", "de-CH", "zh_Hant_TW"],
    "timezone": ["UTC", "Europe/Zurich", "Etc/GMT+5", "America/Argentina/Buenos_Aires"],
    "name": ["x", "名" * 255, "O'Brien; DROP TABLE users"],
    "external_id": ["x", "a/b?c#d", "x" * 255],
}
BAD = {
    "email": ["", "nobody", "a b@c", "a@b@c", "a@b\n", "a@b\r\nBcc: c@d", "x" * 250 + "@b.cd"],
    "phone": ["", "12", "call me", "+", "1" * 33, "+1234567890\n", "٣٣٣٣٣٣"],
    "locale": ["", "d", "de-", "de CH", "de\n", "x" * 36],
    "timezone": ["", "Europe/", "../etc/passwd", "UTC\n", "x" * 65, "Europe/Atlantis", "Europe", "CEST", "posix/UTC"],
    "name": ["", "名" * 256],
    "external_id": ["", "x" * 256],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in GOOD for value in GOOD[field]])
async def test_good_values(project: Project, field: str, value: str) -> None:
    answer = await project.client.post("/api/users", json={field: value})
    assert (answer.status_code, answer.json()[field]) == (201, value)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in BAD for value in BAD[field]])
async def test_bad_values(app: App, project: Project, field: str, value: str) -> None:
    answer = await project.client.post("/api/users", json={field: value})
    assert answer.status_code == 422, value
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{field}"]
    assert (await rows(app, project.id))["users"] == 0


async def test_a_zone_that_does_not_exist_is_refused_wherever_it_is_said(project: Project) -> None:
    user = await project.user(external_id="u-1", timezone="Asia/Tokyo")
    for method, path, more in (
        ("POST", "/api/users", {}),
        ("PUT", "/api/users", {"external_id": "u-1"}),
        ("PUT", "/api/users", {"external_id": "u-2"}),
        ("PATCH", f"/api/users/{user}", {"name": "Ann"}),
    ):
        answer = await project.client.request(method, path, json={**more, "timezone": "Europe/Atlantis"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field"), method
        [error] = answer.json()["errors"]
        assert error["pointer"] == "/timezone"
        assert "such as Europe/Zurich" in error["detail"]
        assert "Atlantis" not in answer.text
    [only] = (await project.client.get("/api/users")).json()
    assert (only["id"], only["timezone"], only["name"]) == (user, "Asia/Tokyo", None)


async def test_a_stored_zone_that_does_not_exist_can_be_read_and_replaced(app: App, project: Project) -> None:
    user = await project.user()
    await app.db.execute("UPDATE users SET timezone = 'Europe/Atlantis' WHERE id = $1", user)
    path = f"/api/users/{user}"
    assert (await project.client.get(path)).json()["timezone"] == "Europe/Atlantis"
    assert (await project.client.patch(path, json={"name": "Ann"})).json()["timezone"] == "Europe/Atlantis"
    assert (await project.client.patch(path, json={"timezone": None})).json()["timezone"] is None


async def test_change_touches_only_what_is_given(project: Project) -> None:
    user = (await project.client.post("/api/users", json={**JOHN, "external_id": "u-1", "locale": "de"})).json()
    path = f"/api/users/{user['id']}"
    changed = (await project.client.patch(path, json={"name": "Jane Doe", "phone": None})).json()
    assert changed == {**user, "name": "Jane Doe", "phone": None, "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > user["updated_at"]
    assert (await project.client.get(path)).json() == changed


async def test_change_nothing(project: Project) -> None:
    user_id = await project.user(name="Same")
    answer = await project.client.patch(f"/api/users/{user_id}", json={})
    assert (answer.status_code, answer.json()["name"]) == (200, "Same")


async def test_change_to_an_external_id_of_another(project: Project) -> None:
    await project.user(external_id="u-1")
    second = await project.user(external_id="u-2", name="Second")
    path = f"/api/users/{second}"
    answer = await project.client.patch(path, json={"external_id": "u-1", "name": "Changed"})
    assert (answer.status_code, answer.json()["code"]) == (409, "external_id_taken")
    assert (await project.client.get(path)).json()["name"] == "Second"
    assert (await project.client.patch(path, json={"external_id": None})).json()["external_id"] is None


async def test_upsert(project: Project, other: Project) -> None:
    made = await project.client.put("/api/users", json={"external_id": "u-1", "name": "Ann", "email": "a@b.c"})
    assert made.status_code == 201
    same = await project.client.put("/api/users", json={"external_id": "u-1", "name": "Bea"})
    assert (same.status_code, same.json()["name"], same.json()["email"]) == (200, "Bea", "a@b.c")
    assert same.json()["id"] == made.json()["id"]
    emptied = await project.client.put("/api/users", json={"external_id": "u-1", "email": None})
    assert (emptied.json()["name"], emptied.json()["email"]) == ("Bea", None)
    theirs = await other.client.put("/api/users", json={"external_id": "u-1"})
    assert theirs.status_code == 201
    assert theirs.json()["id"] != made.json()["id"]


async def test_upsert_needs_an_external_id(project: Project) -> None:
    for body, code in (({}, "missing_field"), ({"external_id": None}, "invalid_field")):
        answer = await project.client.put("/api/users", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert answer.json()["errors"][0]["pointer"] == "/external_id"


async def test_upserts_at_once_make_one_user(app: App, project: Project) -> None:
    body = {"external_id": "u-1", "name": "Ann"}
    answers = await asyncio.gather(*(project.client.put("/api/users", json=body) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await rows(app, project.id))["users"] == 1


async def test_list_and_filter(project: Project, other: Project) -> None:
    await other.user(name="Not mine", email="a@b.c", external_id="u-1")
    first = await project.user(name="First", email="a@b.c")
    second = await project.user(name="Second", email="a@b.c", external_id="u-1")
    found = {}
    for query in ("", "?email=a@b.c", "?external_id=u-1", "?external_id=u-1&email=no@where"):
        found[query] = [user["id"] for user in (await project.client.get(f"/api/users{query}")).json()]
    assert list(found.values()) == [[first, second], [first, second], [second], []]


async def test_delete(app: App, project: Project) -> None:
    user_id = await project.user(**JOHN)
    await project.device(user_id, "goes-with-the-user")
    later = {"user_id": user_id, "title": "Secret", "body": "Secret", "data": {"secret": 1}}
    later["scheduled_time"] = "2036-01-01T00:00:00Z"
    scheduled = (await project.client.post("/api/notifications/schedule", json=later)).json()["id"]
    answer = await project.client.delete(f"/api/users/{user_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    for method, path in (
        ("GET", f"/api/users/{user_id}"),
        ("DELETE", f"/api/users/{user_id}"),
        ("GET", f"/api/users/{user_id}/devices"),
        ("GET", f"/api/users/{user_id}/presence"),
        ("GET", f"/api/notifications/user/{user_id}"),
    ):
        answer = await project.client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found"), (method, path)
    kept = await project.get(scheduled)
    assert (kept["status"], kept["title"], kept["body"], kept["data"]) == ("cancelled", "", "", {})
    assert (await rows(app, project.id))["devices"] == 0


async def test_register_while_the_user_is_deleted(project: Project) -> None:
    for attempt in range(10):
        user_id = await project.user()
        body = {"device_token": f"late-{attempt}", "device_type": "ios"}
        gone, late = await asyncio.gather(
            project.client.delete(f"/api/users/{user_id}"),
            project.client.post(f"/api/users/{user_id}/devices", json=body),
        )
        assert gone.status_code == 204
        assert late.status_code in (201, 404), late.text


async def test_token_and_presence(project: Project) -> None:
    user_id = await project.user()
    for content, seconds in ((b"", 3600), (b"{}", 3600), (b'{"ttl_s": null}', 3600), (b'{"ttl_s": 60}', 60)):
        answer = await project.client.post(f"/api/users/{user_id}/token", content=content)
        assert answer.status_code == 201, answer.text
        assert answer.json()["token"].count(".") == 2
        assert answer.json()["expires_at"].endswith("Z"), seconds
    for ttl_s in (59, 86_401, 0, -1, "60", 60.5):
        answer = await project.client.post(f"/api/users/{user_id}/token", json={"ttl_s": ttl_s})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/ttl_s")
    presence = (await project.client.get(f"/api/users/{user_id}/presence")).json()
    assert presence == {"user_id": user_id, "online": False, "sockets": 0, "last_seen_at": None}
