"""Preferences and quiet hours over HTTP."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.conftest import Project
from tidings.api.examples import ALLOWED
from tidings.app import App
from tidings.preferences import MOST_RULES

NOTHING: dict[str, Any] = {"preferences": [], "quiet_hours": None}
NIGHT = {"from": "22:00", "until": "07:00", "timezone": "Europe/Zurich", "action": "hold"}


def rule(category: str = "marketing", channel: str = "email", enabled: bool | None = False) -> dict[str, Any]:
    return {"category": category, "channel": channel, "enabled": enabled}


def path_of(user_id: int) -> str:
    return f"/api/users/{user_id}/preferences"


async def shown(project: Project, user_id: int) -> dict[str, Any]:
    answer = await project.client.get(path_of(user_id))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def change(project: Project, user_id: int, **body: Any) -> dict[str, Any]:
    """PATCH, and that it answers what is stored then."""
    answer = await project.client.patch(path_of(user_id), json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == await shown(project, user_id)
    found: dict[str, Any] = answer.json()
    return found


async def changes(app: App, project: Project) -> list[dict[str, Any]]:
    """The events."""
    query = "SELECT data FROM events WHERE project_id = $1 AND type = 'preferences.changed' ORDER BY id"
    return [msgspec.json.decode(row["data"]) for row in await app.db.fetch(query, project.id)]


async def test_put_replaces_all_and_get_gives_it_back(project: Project) -> None:
    user_id = await project.user()
    assert await shown(project, user_id) == NOTHING
    for wanted in (ALLOWED, {"preferences": [rule("orders", "push", True)], "quiet_hours": None}, NOTHING):
        for _ in range(2):
            answer = await project.client.put(path_of(user_id), json=wanted)
            assert (answer.status_code, answer.json()) == (200, wanted)
            assert await shown(project, user_id) == wanted
    twice = await project.client.put(path_of(user_id), json={"preferences": [rule(), rule("b"), rule(enabled=True)]})
    assert twice.json() == {"preferences": [rule("b"), rule(enabled=True)], "quiet_hours": None}
    assert (await project.client.put(path_of(user_id), json={"preferences": []})).json() == NOTHING


async def test_patch_changes_what_is_named(project: Project) -> None:
    user_id = await project.user()
    assert await change(project, user_id) == NOTHING
    first = await change(project, user_id, preferences=[rule(), rule("*", "sms")], quiet_hours=NIGHT)
    assert first == {"preferences": [rule("*", "sms"), rule()], "quiet_hours": NIGHT}
    second = await change(project, user_id, preferences=[rule(enabled=True)])
    assert second == {"preferences": [rule("*", "sms"), rule(enabled=True)], "quiet_hours": NIGHT}
    third = await change(project, user_id, preferences=[rule(enabled=None), rule("unheard", "chat", None)])
    assert third == {"preferences": [rule("*", "sms")], "quiet_hours": NIGHT}
    short = {"from": "12:00", "until": "13:00"}
    assert (await change(project, user_id, quiet_hours=short))["quiet_hours"] == {
        **short,
        "timezone": None,
        "action": "hold",
    }
    assert await change(project, user_id, quiet_hours=None) == {"preferences": [rule("*", "sms")], "quiet_hours": None}


async def test_a_repeated_patch_does_nothing_again(project: Project) -> None:
    user_id = await project.user()
    headers = {"Idempotency-Key": "once"}
    body = {"preferences": [rule()]}
    first = await project.client.patch(path_of(user_id), json=body, headers=headers)
    await change(project, user_id, preferences=[rule(enabled=True)])
    again = await project.client.patch(path_of(user_id), json=body, headers=headers)
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true")
    assert await shown(project, user_id) == {"preferences": [rule(enabled=True)], "quiet_hours": None}


async def test_what_changed_is_written_down_once(app: App, project: Project) -> None:
    user_id = await project.user()
    for _ in range(2):
        await change(project, user_id, preferences=[rule(), rule("*", "sms")])
    for _ in range(2):
        await project.client.put(path_of(user_id), json={"preferences": [rule(enabled=True)], "quiet_hours": NIGHT})
    await change(project, user_id, preferences=[rule("unheard", "chat", None)])
    assert await changes(app, project) == [
        {"user_id": user_id, "changed": [rule(), rule("*", "sms")], "quiet_hours_changed": False},
        {"user_id": user_id, "changed": [rule("*", "sms", None), rule(enabled=True)], "quiet_hours_changed": True},
    ]


async def test_nobody_has_preferences(project: Project, other: Project) -> None:
    stranger = await other.user()
    body = {"preferences": [rule()]}
    for user_id in (stranger, 0, 2**62, 2**64):
        for method, sent in (("GET", None), ("PUT", body), ("PATCH", body)):
            answer = await project.client.request(method, path_of(user_id), json=sent)
            assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")
    assert await shown(other, stranger) == NOTHING


async def test_they_go_with_the_user(app: App, project: Project) -> None:
    user_id = await project.user()
    await change(project, user_id, preferences=[rule()], quiet_hours=NIGHT)
    assert (await project.client.delete(f"/api/users/{user_id}")).status_code == 204
    for table in ("user_preferences", "quiet_hours"):
        query = f"SELECT count(*) FROM {table} WHERE project_id = $1"  # noqa: S608
        assert await app.db.fetchval(query, project.id) == 0
    assert (await project.client.get(path_of(user_id))).status_code == 404


async def test_there_may_be_so_many(project: Project) -> None:
    user_id = await project.user()
    most = [rule(f"c{number}") for number in range(MOST_RULES)]
    answer = await project.client.put(path_of(user_id), json={"preferences": most})
    assert (answer.status_code, len(answer.json()["preferences"])) == (200, MOST_RULES)
    more = await project.client.put(path_of(user_id), json={"preferences": [*most, rule("more")]})
    assert (more.status_code, more.json()["errors"][0]["pointer"]) == (422, "/preferences")
    more = await project.client.patch(path_of(user_id), json={"preferences": [rule("more")]})
    assert (more.status_code, more.json()["errors"][0]["pointer"]) == (422, "/preferences")
    await change(project, user_id, preferences=[rule("more"), rule("c0", enabled=None)])


async def test_at_once_nothing_is_lost_and_nothing_locks_up(app: App, project: Project) -> None:
    user_id = await project.user()
    pairs = [[rule(f"c{number}"), rule(f"c{(number + 7) % 20}", "sms")] for number in range(20)]
    calls = [project.client.patch(path_of(user_id), json={"preferences": pair}) for pair in pairs]
    calls += [project.client.patch(path_of(user_id), json={"preferences": pair[::-1]}) for pair in pairs]
    assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}
    assert len((await shown(project, user_id))["preferences"]) == 40
    assert sum(len(event["changed"]) for event in await changes(app, project)) == 40


def quiet(**fields: Any) -> dict[str, Any]:
    return {"preferences": [], "quiet_hours": {**NIGHT, **fields}}


BAD = [
    ({}, "missing_field", "/preferences"),
    ({"preferences": [], "quiet": None}, "unknown_field", "/quiet"),
    ({"preferences": [{"category": "a", "channel": "email"}]}, "missing_field", "/preferences/0/enabled"),
    ({"preferences": [rule(), rule("", "email")]}, "invalid_field", "/preferences/1/category"),
    ({"preferences": [rule("a" * 65)]}, "invalid_field", "/preferences/0/category"),
    ({"preferences": [rule("a/b")]}, "invalid_field", "/preferences/0/category"),
    ({"preferences": [rule("a*")]}, "invalid_field", "/preferences/0/category"),
    ({"preferences": [rule("a\n")]}, "invalid_field", "/preferences/0/category"),
    ({"preferences": [rule("ä")]}, "invalid_field", "/preferences/0/category"),
    ({"preferences": [rule(channel="letter")]}, "invalid_field", "/preferences/0/channel"),
    ({"preferences": [rule(channel="*")]}, "invalid_field", "/preferences/0/channel"),
    ({"preferences": [rule(enabled=None)]}, "invalid_field", "/preferences/0/enabled"),
    (quiet(**{"from": "24:00"}), "invalid_field", "/quiet_hours/from"),
    (quiet(**{"from": "9:00"}), "invalid_field", "/quiet_hours/from"),
    (quiet(until="07:60"), "invalid_field", "/quiet_hours/until"),
    (quiet(until="07:00:00"), "invalid_field", "/quiet_hours/until"),
    (quiet(until="22:00"), "invalid_field", "/quiet_hours/until"),
    (quiet(timezone="Europe/Atlantis"), "invalid_field", "/quiet_hours/timezone"),
    (quiet(timezone="Europe"), "invalid_field", "/quiet_hours/timezone"),
    (quiet(timezone="../Zurich"), "invalid_field", "/quiet_hours/timezone"),
    (quiet(timezone=""), "invalid_field", "/quiet_hours/timezone"),
    (quiet(timezone="a" * 65), "invalid_field", "/quiet_hours/timezone"),
    (quiet(action="shout"), "invalid_field", "/quiet_hours/action"),
    ({"preferences": [], "quiet_hours": {"from": "22:00"}}, "missing_field", "/quiet_hours/until"),
    (quiet(begins="22:00"), "unknown_field", "/quiet_hours/begins"),
]


@pytest.mark.parametrize(("body", "code", "pointer"), BAD)
async def test_bad_preferences(project: Project, body: dict[str, Any], code: str, pointer: str) -> None:
    user_id = await project.user()
    await change(project, user_id, preferences=[rule("kept")])
    for method in ("PUT", "PATCH"):
        if method == "PATCH" and pointer in ("/preferences", "/preferences/0/enabled"):
            continue  # there the rules may be left out, and null forgets one
        answer = await project.client.request(method, path_of(user_id), json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert await shown(project, user_id) == {"preferences": [rule("kept")], "quiet_hours": None}


@pytest.mark.parametrize("category", ["*", "a", "A.b_c-9", "a" * 64])
@pytest.mark.parametrize("channel", ["push", "websocket", "email", "sms", "chat"])
async def test_good_rules(project: Project, category: str, channel: str) -> None:
    user_id = await project.user()
    wanted = {"preferences": [rule(category, channel)], "quiet_hours": None}
    assert (await project.client.put(path_of(user_id), json=wanted)).json() == wanted
