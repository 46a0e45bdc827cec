"""Suppressed addresses over HTTP."""

from typing import Any

import pytest

from tests.conftest import Project, make_project
from tidings import suppressions
from tidings.app import App
from tidings.suppressions import Wanted

PATH = "/api/suppressions"


async def add(project: Project, address: str, **more: Any) -> dict[str, Any]:
    answer = await project.client.post(PATH, json={"address": address, **more})
    assert answer.status_code == 201, answer.text
    added: dict[str, Any] = answer.json()
    return added


async def listed(project: Project, query: str = "") -> list[str]:
    answer = await project.client.get(PATH + query)
    assert answer.status_code == 200, answer.text
    return [one["address"] for one in answer.json()]


async def test_add_list_remove(project: Project, other: Project) -> None:
    added = await add(project, "Jane.Doe@Example.COM", detail="asked by telephone")
    assert (added["channel"], added["address"], added["reason"]) == ("email", "jane.doe@example.com", "manual")
    assert added["detail"] == "asked by telephone"
    number = await add(project, "+41791234567")
    assert (number["channel"], number["address"]) == ("sms", "+41791234567")
    assert await listed(project) == ["+41791234567", "jane.doe@example.com"]
    assert await listed(project, "?channel=email") == ["jane.doe@example.com"]
    assert await listed(other) == []
    for address in ("JANE.DOE%40example.com", "jane.doe@example.com"):
        gone = await project.client.delete(f"{PATH}/email/{address}")
        assert gone.status_code == (204 if "%" in address else 404)
    assert (await project.client.delete(f"{PATH}/sms/%2B41%2079%20123%2045%2067")).status_code == 204
    assert await listed(project) == []


async def test_a_number_is_the_same_however_it_is_written(project: Project) -> None:
    for written in ("+442079460123", "+4402079460123"):
        assert (await add(project, written))["address"] == "+442079460123"
    assert await listed(project) == ["+442079460123"]
    assert (await project.client.delete(f"{PATH}/sms/%2B44%20(0)20%207946%200123")).status_code == 204
    assert await listed(project) == []


async def test_the_first_reason_stays(app: App, project: Project) -> None:
    await suppressions.add(app.db, [Wanted(project.id, "email", "a@b.example", "bounced", "5.1.1")])
    again = await add(project, "A@b.example", detail="mine")
    assert (again["reason"], again["detail"]) == ("bounced", "5.1.1")
    rows = await app.db.fetch("SELECT type, data FROM events WHERE project_id = $1 ORDER BY id", project.id)
    assert [row["type"] for row in rows] == ["address.suppressed"]
    assert "b.example" not in rows[0]["data"], "events name no addresses"


async def test_only_who_opted_out_can_opt_in(app: App, project: Project) -> None:
    addresses = ("+41790000001", "+41790000002")
    wanted = [
        Wanted(project.id, "sms", one, reason) for one, reason in zip(addresses, ("bounced", "opted_out"), strict=True)
    ]
    assert len(await suppressions.add(app.db, [*wanted, *wanted])) == 2
    assert await suppressions.opt_in(app.db, wanted) == [wanted[1]]
    assert await suppressions.opt_in(app.db, wanted) == []
    assert await listed(project) == ["+41790000001"]


async def test_pages(project: Project) -> None:
    for number in range(7):
        await add(project, f"user-{number}@example.com")
    found: list[str] = []
    path: str | None = f"{PATH}?limit=3"
    while path:
        answer = await project.client.get(path)
        found += [one["address"] for one in answer.json()]
        path = answer.headers["link"].partition(">")[0][1:] if "link" in answer.headers else None
    assert found == [f"user-{number}@example.com" for number in reversed(range(7))]


async def test_what_came_at_once_stays_on_one_page(app: App, project: Project) -> None:
    await suppressions.add(app.db, [Wanted(project.id, "sms", f"+4179000{number:04}") for number in range(9)])
    answer = await project.client.get(f"{PATH}?limit=4")
    assert len(answer.json()) == 9
    rest = await project.client.get(answer.headers["link"].partition(">")[0][1:])
    assert rest.json() == []


BAD = [
    "",
    "a",
    "a@",
    "@b",
    "a b@c",
    "a@b@c",
    "+0123",
    "0791234567",
    "+1",
    "+41117",
    "+" + "1" * 16,
    "x" * 255 + "@y",
    "a@b\x00",
    "a\n@b",
]


@pytest.mark.parametrize("address", BAD)
async def test_what_is_no_address(project: Project, address: str) -> None:
    answer = await project.client.post(PATH, json={"address": address})
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("invalid_field", "bad_encoding")
    assert await listed(project) == []


@pytest.mark.parametrize(
    "path", ["push/a@b.c", "email/nobody", "email/%00@x", "sms/x", "email/%ed%a0%80@x", "Email/a@b.c"]
)
async def test_what_was_never_suppressed(project: Project, path: str) -> None:
    answer = await project.client.delete(f"{PATH}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "suppression_not_found")


async def test_channels_that_have_no_list(project: Project) -> None:
    assert (await project.client.get(f"{PATH}?channel=push")).json()["code"] == "bad_query"


async def test_a_project_that_is_not_there(app: App) -> None:
    await make_project(app)
    assert await suppressions.add(app.db, [Wanted(2**62, "email", "a@b.example")]) == []
