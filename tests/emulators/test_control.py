"""Faults on command, phones, the ledger and its file, receipts."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import RequestError

from tests.emulators.conftest import Caller
from tidings.emulators.confirmations import is_loopback
from tidings.emulators.exchange import Request, Response
from tidings.emulators.http_server import serve


async def statuses(caller: Caller, token: str, count: int) -> Counter[str]:
    async def one() -> str:
        try:
            return str((await caller.send(token)).status)
        except RequestError:
            return "failed"

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


async def faults(caller: Caller, **plans: Any) -> None:
    await caller.control("POST", "/control/faults", plans)


async def test_an_error_for_the_next_requests_only(caller: Caller) -> None:
    await faults(caller, fcm={"status": 429, "retry_after_s": 3, "count": 2})
    first = await caller.send("f-1")
    assert (first.status, first.get_header("retry-after")) == (429, "3")
    assert await statuses(caller, "f-1", 4) == {"429": 1, "200": 3}
    assert await caller.control("GET", "/control/faults") == {}


async def test_a_count_alone_means_unavailable(caller: Caller) -> None:
    await faults(caller, fcm={"count": 3})
    assert await statuses(caller, "f-2", 5) == {"503": 3, "200": 2}


@pytest.mark.parametrize(("plan", "bad"), [({"error_rate": 0.5}, "503"), ({"reset_rate": 0.5}, "failed")])
async def test_a_rate_hits_some(caller: Caller, plan: dict[str, Any], bad: str) -> None:
    await faults(caller, fcm=plan | {"seed": 7})
    seen = await statuses(caller, "f-3", 200)
    assert seen[bad] + seen["200"] == 200
    assert min(seen.values()) > 20


async def test_a_drop_is_not_taken_and_a_loss_is(caller: Caller) -> None:
    await faults(caller, fcm={"drop_rate": 1, "count": 1})
    assert await statuses(caller, "f-drop", 1) == {"failed": 1}
    assert caller.emulators.phones.messages("f-drop") == []
    await faults(caller, fcm={"lost_rate": 1, "count": 1})
    assert await statuses(caller, "f-lost", 1) == {"failed": 1}
    assert len(caller.emulators.phones.messages("f-lost")) == 1


async def test_dead_tokens_latency_and_the_end_of_faults(caller: Caller) -> None:
    await faults(caller, fcm={"dead_tokens": ["f-dead"], "latency_ms": 20, "jitter_ms": 5})
    assert await statuses(caller, "f-dead", 3) == {"404": 3}
    assert await statuses(caller, "f-alive", 30) == {"200": 30}
    await caller.control("DELETE", "/control/faults")
    assert await statuses(caller, "f-dead", 1) == {"200": 1}


async def test_connections_can_be_ended_from_outside(caller: Caller) -> None:
    server = caller.emulators.tls_server
    for action in ("goaway", "drop"):
        assert (await caller.send("c-1")).status == 200
        before = server.connections
        assert (await caller.control("POST", "/control/connections", {"action": action}))["connections"] >= 1
        deadline = time.monotonic() + 10
        while await statuses(caller, "c-1", 1) != {"200": 1}:
            assert time.monotonic() < deadline
        assert server.connections > before


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/control/faults", {"nobody": {}}, 400),
        ("POST", "/control/faults", {"fcm": {"error_rate": 2}}, 400),
        ("POST", "/control/faults", {"fcm": {"mistyped": 1}}, 400),
        ("POST", "/control/faults", [], 400),
        ("POST", "/control/connections", {"action": "explode"}, 400),
        ("POST", "/control/record", {"path": "relative.jsonl"}, 400),
        ("POST", "/control/record", {"path": "/etc/passwd"}, 400),
        ("POST", "/control/record", {"path": "/no/such/folder/x.jsonl"}, 400),
        ("GET", "/control/accepted?since=x", None, 400),
        ("GET", "/control/nothing", None, 404),
        ("PUT", "/control/faults", None, 404),
    ],
)
async def test_wrong_control_calls_are_refused(caller: Caller, method: str, path: str, body: Any, status: int) -> None:
    request = caller.client.request(method, caller.emulators.plain_url + path)
    request = request if body is None else request.body_json(body)
    response = await request.build().send()
    assert response.status == status
    assert (await response.json())["error"]


async def test_a_web_page_cannot_control_us(caller: Caller) -> None:
    url = f"{caller.emulators.plain_url}/control/faults"
    as_text = caller.client.post(url).header("content-type", "text/plain").body_text("{}")
    assert (await as_text.build().send()).status == 415
    rebound = caller.client.post(url).header("host", "evil.example").body_json({})
    assert (await rebound.build().send()).status == 421


async def test_phones_can_be_listed_read_and_forgotten(caller: Caller) -> None:
    for number in range(3):
        await caller.send("p/1 ü", data={"n": str(number)})
    listed = await caller.control("GET", "/phones?limit=1")
    assert listed["phones"] == [{"token": "p/1 ü", "messages": 3, "confirms": False}]
    shown = await caller.control("GET", "/phones/p%2F1%20%C3%BC/messages")
    assert [item["request"]["message"]["data"]["n"] for item in shown["messages"]] == ["0", "1", "2"]
    await caller.control("DELETE", "/phones")
    assert (await caller.control("GET", "/phones"))["total"] == 0
    assert (await caller.control("GET", "/phones/p%2F1%20%C3%BC/messages"))["messages"] == []


async def test_a_phone_keeps_its_last_hundred(caller: Caller) -> None:
    await asyncio.gather(*(caller.send("p-many") for _ in range(130)))
    assert len(caller.emulators.phones.messages("p-many")) == 100


async def test_statistics_and_duplicates(caller: Caller) -> None:
    await caller.control("DELETE", "/phones")
    for token, tidings_id in (("s-1", "1"), ("s-1", "1"), ("s-2", "1"), ("s-1", "2")):
        await caller.send(token, data={"tidings_id": tidings_id})
    await caller.send("unregistered-s", data={"tidings_id": "3"})
    await caller.send("s-3")
    stats = await caller.control("GET", "/control/stats")
    assert (stats["accepted"], stats["duplicates"], stats["phones"]) == (5, 1, 3)
    assert stats["refused"] == {"404 UNREGISTERED": 1}
    assert stats["requests"] >= 6
    counted = await caller.control("GET", "/control/accepted?limit=3")
    assert counted == {"counts": {"1": 3}, "next": 3, "complete": True}
    rest = await caller.control("GET", "/control/accepted?since=3")
    assert rest == {"counts": {"2": 1}, "next": 4, "complete": True}


async def test_the_record_has_a_line_for_each_accepted_message(caller: Caller, tmp_path: Path) -> None:
    path = tmp_path / "taken.jsonl"
    await caller.control("POST", "/control/record", {"path": str(path)})
    await asyncio.gather(*(caller.send("r-1", data={"tidings_id": str(n)}) for n in range(50)))
    await caller.send("unavailable-r", data={"tidings_id": "no"})
    # The answer to this call leaves after the lines of all earlier turns of the loop were flushed.
    await caller.control("GET", "/control/stats")
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    assert sorted(lines) == sorted([str(n), "r-1"] for n in range(50))
    await caller.control("DELETE", "/control/record")
    await caller.send("r-1", data={"tidings_id": "after"})
    assert len(path.read_bytes().splitlines()) == 50


async def test_confirming_phones_call_their_receipts(caller: Caller) -> None:
    called: Counter[str] = Counter()

    def receipts(request: Request) -> Response:
        called[request.path] += 1
        assert (request.method, request.body) == ("POST", b"")
        return Response(500 if request.path == "/bad" else 204)

    server = await serve(receipts)
    before = (await caller.control("GET", "/control/stats"))["confirmations"]
    await caller.control("POST", "/phones", {"token": "named", "confirms": True})
    base = f"http://127.0.0.1:{server.port}"
    for token, url in (
        ("confirming-1", f"{base}/a"),
        ("named", f"{base}/b"),
        ("silent", f"{base}/c"),
        ("confirming-2", f"{base}/bad"),
        ("confirming-3", "http://example.org/elsewhere"),
        ("confirming-4", "http://127.0.0.1:1/closed"),
    ):
        assert (await caller.send(token, data={"tidings_receipt": url})).status == 200
    expected = {
        "confirmed": before["confirmed"] + 2,
        "failed": before["failed"] + 2,
        "dropped": before["dropped"] + 1,
    }
    deadline = time.monotonic() + 10
    while (await caller.control("GET", "/control/stats"))["confirmations"] != expected:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert called == {"/a": 1, "/b": 1, "/bad": 1}
    await server.close()


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:80/x", True),
        ("https://localhost/x", True),
        ("http://[::1]:1/x", True),
        ("http://127.0.0.1@example.org/", False),
        ("http://localhost.example.org/", False),
        ("http://10.0.0.1/", False),
        ("file:///etc/passwd", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_only_this_machine_is_called(url: str, local: bool) -> None:
    assert is_loopback(url) is local


async def test_the_certificate_is_trusted_only_with_its_authority(caller: Caller) -> None:
    async with ClientBuilder().no_proxy().build() as stranger:
        with pytest.raises(RequestError):
            await stranger.get(f"{caller.emulators.fcm_url}/phones").build().send()
    localhost = caller.emulators.fcm_url.replace("127.0.0.1", "localhost")
    assert (await caller.client.get(f"{localhost}/phones").build().send()).status == 200
