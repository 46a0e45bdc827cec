"""Lists page by page: `limit`, `cursor`, and the `Link` header."""

import re
from typing import Any

import httpx
import pytest

from tests.api.operations import the_document
from tests.conftest import Project

LISTS = sorted(
    path
    for path, operations in the_document()["paths"].items()
    if any(parameter["name"] == "cursor" for parameter in operations.get("get", {}).get("parameters", ()))
)


def next_page(answer: httpx.Response) -> str | None:
    link = answer.headers.get("link")
    if link is None:
        return None
    found = re.fullmatch(r'<(/[^>]*)>; rel="next"', link)
    assert found, link
    return found[1]


async def pages(project: Project, path: str) -> list[list[Any]]:
    """All pages from this path on."""
    found: list[list[Any]] = []
    follow: str | None = path
    while follow is not None:
        assert len(found) < 20
        answer = await project.client.get(follow)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        follow = next_page(answer)
    return found


def ids(found: list[list[Any]]) -> list[int]:
    return [item["id"] for page in found for item in page]


async def test_users(project: Project, other: Project) -> None:
    await other.user(email="a@b.c")
    made = [await project.user(email="a@b.c") for _ in range(7)]
    for limit in (1, 2, 3, 6, 7, 8):
        found = await pages(project, f"/api/users?limit={limit}")
        assert ids(found) == made
        assert all(len(page) == limit for page in found[:-1])
    assert ids(await pages(project, "/api/users?email=a%40b.c&limit=3")) == made
    first = await project.client.get("/api/users?email=a%40b.c&limit=3")
    assert "email=a%40b.c" in first.headers["link"]


async def test_devices(project: Project) -> None:
    user_id = await project.user()
    made = [await project.device(user_id, f"paged-{number}") for number in range(5)]
    assert ids(await pages(project, f"/api/users/{user_id}/devices?limit=2")) == made


async def test_notifications_while_more_come(project: Project) -> None:
    """What comes meanwhile neither repeats nor hides anything."""
    user_id = await project.user()
    made = [await project.send(user_id) for _ in range(5)]
    first = await project.client.get(f"/api/notifications/user/{user_id}?limit=2")
    await project.send(user_id)
    rest = await pages(project, next_page(first) or "")
    assert ids([first.json(), *rest]) == made[::-1]


async def test_the_last_page_has_no_link(project: Project) -> None:
    user_id = await project.user()
    assert "link" not in (await project.client.get(f"/api/users/{user_id}/devices")).headers
    await project.send(user_id)
    assert "link" not in (await project.client.get(f"/api/notifications/user/{user_id}?limit=2")).headers


GOOD_LIMITS = ["1", "500"]
BAD_LIMITS = ["0", "501", "-1", "abc", "", "1.5", "1e3", "9" * 30, "%00", "١"]
BAD_CURSORS = [
    "",
    "x",
    "MQ",
    "c",
    "c0",
    "c01",
    "c-1",
    "c1 ",
    "c1%0A",
    "c1%00",
    "c" + "9" * 19,
    "c١",
    "1",
    "%ff",
]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("query", "code"),
    [(f"limit={limit}", None) for limit in GOOD_LIMITS]
    + [(f"limit={limit}", "bad_query") for limit in BAD_LIMITS]
    + [("cursor=c" + "9" * 18, None), ("cursor=c1", None)]
    + [(f"cursor={cursor}", "bad_cursor") for cursor in BAD_CURSORS],
)
async def test_bounds(project: Project, path: str, query: str, code: str | None) -> None:
    url = f"{path.replace('{user_id}', str(await project.user()))}?{query}"
    answer = await project.client.get(url)
    if code is None:
        assert answer.status_code == 200, answer.text
    else:
        assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize("value", ["%00", "%ff", "%ed%a0%80", "a%0Ab", "%F0%9F%98%80", "'; DROP TABLE users; --"])
@pytest.mark.parametrize("name", ["email", "external_id"])
async def test_strange_filters_find_nothing(project: Project, name: str, value: str) -> None:
    await project.user(email="a@b.c", external_id="u-1")
    answer = await project.client.get(f"/api/users?{name}={value}")
    assert (answer.status_code, answer.json()) == (200, [])


async def test_filters_have_bounds_and_unknown_parameters_are_ignored(project: Project) -> None:
    assert (await project.client.get(f"/api/users?email={'x' * 256}")).json()["code"] == "bad_query"
    assert (await project.client.get("/api/users?nope=%00&%ff=1")).status_code == 200
