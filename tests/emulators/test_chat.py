"""The emulated rooms: what they take from whom, what they show, and the answers that names provoke."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tidings.emulators import Emulators
from tidings.emulators.chat import MAX_MESSAGES
from tidings.emulators.faults import Plan


@pytest.fixture
async def http(emulators: Emulators) -> AsyncIterator[httpx.AsyncClient]:
    emulators.chat.clear()
    async with httpx.AsyncClient(base_url=emulators.plain_url, timeout=10, trust_env=False) as client:
        yield client
    emulators.faults.clear()


@pytest.mark.parametrize(
    ("path", "how", "room"),
    [
        ("/chats/a%20room", {"json": {"title": "T", "message": "M"}}, "a room"),
        ("/", {"json": {"topic": "parcels", "title": "T", "message": "M"}}, "parcels"),
        ("/message", {"json": {"title": "T", "message": "M"}}, "gotify"),
        ("/hooks/abc", {"json": {"title": "T", "text": "M"}}, "abc"),
        ("/chats/form", {"data": {"title": "T", "message": "M"}}, "form"),
    ],
)
async def test_what_is_said_is_shown(http: httpx.AsyncClient, path: str, how: dict[str, Any], room: str) -> None:
    assert (await http.post(path, **how)).status_code == 200
    [said] = (await http.get(f"/chats/{room}")).json()["messages"]
    assert (said["title"], said["text"]) == ("T", "M")
    assert (await http.get("/chats")).json() == {"rooms": [{"room": room, "messages": 1}], "total": 1}


async def test_text_that_is_no_json_is_kept_as_it_is(http: httpx.AsyncClient) -> None:
    await http.post("/chats/raw", content=b"<a>&</a>", headers={"content-type": "text/xml"})
    [said] = (await http.get("/chats/raw")).json()["messages"]
    assert said["whole"] == "<a>&</a>"


async def test_the_newest_rooms_and_messages_are_kept(http: httpx.AsyncClient) -> None:
    for number in range(MAX_MESSAGES + 2):
        await http.post("/chats/full", json={"message": str(number)})
    await http.post("/chats/last", json={"message": "x"})
    messages = (await http.get("/chats/full")).json()["messages"]
    assert [messages[0]["text"], messages[-1]["text"]] == ["2", str(MAX_MESSAGES + 1)]
    assert (await http.get("/chats?limit=1")).json() == {"rooms": [{"room": "last", "messages": 1}], "total": 2}
    assert (await http.delete("/chats")).status_code == 204
    assert (await http.get("/chats")).json() == {"rooms": [], "total": 0}


@pytest.mark.parametrize(
    ("room", "status"),
    [
        ("gone", 410),
        ("no-room", 404),
        ("closed", 403),
        ("bad", 400),
        ("big", 413),
        ("rate-9", 429),
        ("busy", 503),
        ("html-502", 502),
        ("redirect", 302),
        ("huge", 500),
    ],
)
async def test_names_that_provoke_an_answer(http: httpx.AsyncClient, room: str, status: int) -> None:
    answer = await http.post(f"/chats/{room}", json={"message": "x"})
    assert answer.status_code == status
    assert (await http.get(f"/chats/{room}")).json()["messages"] == []
    if status == 429:
        assert (answer.headers["retry-after"], answer.json()["retry_after"]) == ("9", 9)


@pytest.mark.parametrize(("room", "kept"), [("drop", 0), ("lost", 1)])
async def test_a_connection_that_is_cut(http: httpx.AsyncClient, room: str, kept: int) -> None:
    with pytest.raises(httpx.TransportError):
        await http.post(f"/chats/{room}", json={"message": "x"})
    assert len((await http.get(f"/chats/{room}")).json()["messages"]) == kept


async def test_a_plan_of_faults_holds_for_chat_too(http: httpx.AsyncClient, emulators: Emulators) -> None:
    emulators.faults.set({"chat": Plan(status=503, retry_after_s=4, count=1)})
    refused, taken = [await http.post("/chats/plain", json={"message": "x"}) for _ in range(2)]
    assert (refused.status_code, refused.headers["retry-after"], taken.status_code) == (503, "4", 200)


async def test_who_asks_must_have_named_this_machine(http: httpx.AsyncClient) -> None:
    assert (await http.get("/chats", headers={"host": "elsewhere.example"})).status_code == 403
    assert (await http.delete("/chats", headers={"host": "elsewhere.example"})).status_code == 403


@pytest.mark.parametrize(("method", "path", "status"), [("PUT", "/chats/a", 405), ("GET", "/hooks/a", 405)])
async def test_other_calls(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    assert (await http.request(method, path)).status_code == status


async def test_a_message_without_a_room(http: httpx.AsyncClient) -> None:
    assert (await http.post("/", json={"message": "x"})).status_code == 400
