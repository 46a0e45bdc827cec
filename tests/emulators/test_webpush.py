"""The emulated push service: a foreign sender works against it, and it checks what real ones check."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid  # type: ignore[import-untyped]
from pyreqwest.response import Response
from pywebpush import WebPushException, webpush  # type: ignore[import-untyped]

from tests.emulators.conftest import Caller
from tidings.emulators import Emulators
from tidings.emulators.exchange import Request
from tidings.emulators.exchange import Response as Answer
from tidings.emulators.http_server import serve

CURVE = ec.SECP256R1()
CLAIMS = {"sub": "mailto:push@example.org"}


def text_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Sender:
    """A VAPID key of a sender, and what it says of itself."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(CURVE)
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public = text_of(point)

    def header(self, origin: str, **claims: Any) -> str:
        good = {"aud": origin, "exp": int(time.time()) + 3600, "sub": CLAIMS["sub"]}
        token = jwt.encode({k: v for k, v in (good | claims).items() if v is not None}, self.key, "ES256")
        return f"vapid t={token}, k={self.public}"


class Page:
    """Subscribes browsers and pushes to them, over the real listeners."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.origin = caller.emulators.fcm_url
        self.sender = Sender()

    async def browser(self, **wishes: Any) -> dict[str, Any]:
        response = await self.call("POST", "/browsers", wishes)
        assert response.status == 201, await response.text()
        subscription: dict[str, Any] = await response.json()
        return subscription

    async def messages(self, name: str) -> list[dict[str, Any]]:
        shown = await (await self.call("GET", f"/browsers/{name}/messages")).json()
        messages: list[dict[str, Any]] = shown["messages"]
        return messages

    async def call(self, method: str, path: str, body: Any = None) -> Response:
        builder = self.caller.client.request(method, self.caller.emulators.plain_url + path)
        return await (builder if body is None else builder.body_json(body)).build().send()

    async def push(self, endpoint: str, body: bytes = b"", /, **headers: str | None) -> Response:
        """A push with the usual headers; None leaves one out."""
        usual = {"ttl": "60", "authorization": self.sender.header(self.origin)}
        if body:
            usual["content-encoding"] = "aes128gcm"
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        builder = self.caller.client.post(endpoint)
        for name, value in (usual | given).items():
            if value is not None:
                builder = builder.header(name, value)
        return await builder.body_bytes(body).build().send()


@pytest.fixture
async def page(caller: Caller) -> AsyncIterator[Page]:
    yield Page(caller)
    caller.emulators.webpush.clear()


@pytest.fixture
def trusted(emulators: Emulators, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    path.write_bytes(emulators.ca_pem)
    return str(path)


def push_by_pywebpush(subscription: dict[str, Any], trusted: str, **more: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = trusted
        answer = webpush(subscription, requests_session=session, vapid_claims=dict(CLAIMS), timeout=10, **more)
    assert isinstance(answer, requests.Response)
    return answer


async def test_pywebpush_sends_and_the_browser_reads(page: Page, trusted: str) -> None:
    vapid = Vapid()
    vapid.generate_keys()
    subscription = await page.browser(id="foreign-1")
    assert set(subscription) == {"endpoint", "expirationTime", "keys"}
    headers = {"urgency": "high", "topic": "abcd"}
    answer = await asyncio.to_thread(
        push_by_pywebpush,
        subscription,
        trusted,
        data='{"a":"ü"}',
        vapid_private_key=vapid,
        ttl=60,
        headers=headers,
    )
    assert answer.status_code == 201
    assert answer.headers["location"].startswith(f"{page.origin}/message/")
    [message] = await page.messages("foreign-1")
    assert message["message"] == {"a": "ü"}
    assert (message["ttl"], message["urgency"], message["topic"]) == (60, "high", "abcd")


async def test_pywebpush_understands_the_refusals(page: Page, trusted: str) -> None:
    vapid = Vapid()
    vapid.generate_keys()
    for name, status in (("gone-1", 410), ("not-found-1", 404), ("rate-retry-7", 429), ("too-large-1", 413)):
        subscription = await page.browser(id=name)
        with pytest.raises(WebPushException) as caught:
            await asyncio.to_thread(push_by_pywebpush, subscription, trusted, data="x", vapid_private_key=vapid, ttl=60)
        assert caught.value.response is not None
        assert caught.value.response.status_code == status
    assert caught.value.response.json()["errno"] == 104


async def test_a_subscription_is_bound_to_the_key_it_was_made_with(page: Page) -> None:
    other = Sender()
    endpoint = (await page.browser(application_server_key=page.sender.public))["endpoint"]
    assert (await page.push(endpoint)).status == 201
    response = await page.push(endpoint, authorization=other.header(page.origin))
    assert response.status == 403
    assert "do not correspond to the credentials used to create" in await response.text()


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://fcm.googleapis.com"},
        {"aud": None},
        {"exp": int(time.time()) - 1},
        {"exp": int(time.time()) + 90_000},
        {"exp": str(int(time.time()) + 3600)},
        {"exp": None},
        {"sub": None},
        {"sub": "push@example.org"},
        {"sub": "mailto:<push@example.org>"},
        {"sub": "mailto:push@localhost"},
    ],
    ids=str,
)
async def test_a_token_that_says_something_wrong_is_refused(page: Page, claims: dict[str, Any]) -> None:
    endpoint = (await page.browser())["endpoint"]
    response = await page.push(endpoint, authorization=page.sender.header(page.origin, **claims))
    assert (response.status, await response.json()) == (403, {"reason": "BadJwtToken"})


async def test_a_token_of_another_key_or_none_is_refused(page: Page) -> None:
    endpoint = (await page.browser())["endpoint"]
    forged = page.sender.header(page.origin).split(", k=")[0] + f", k={Sender().public}"
    for header, status in ((forged, 403), (None, 401), ("Bearer x", 400), ("vapid t=a.b.c, k=AAAA", 403)):
        assert (await page.push(endpoint, authorization=header)).status == status


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"ttl": None}, 400, 111),
        ({"ttl": "-1"}, 400, 114),
        ({"ttl": "soon"}, 400, 112),
        ({"ttl": "2147483648"}, 400, 112),
        ({"urgency": "urgent"}, 400, "BadUrgency"),
        ({"urgency": "low, high"}, 400, "BadUrgency"),
        ({"topic": "a b"}, 400, "BadWebPushTopic"),
        ({"topic": "x" * 33}, 400, "BadWebPushTopic"),
        ({"topic": "abcde"}, 400, "BadWebPushTopic"),
    ],
    ids=str,
)
async def test_a_header_that_breaks_a_rule_is_refused(
    page: Page, headers: dict[str, str | None], status: int, reason: int | str
) -> None:
    endpoint = (await page.browser())["endpoint"]
    response = await page.push(endpoint, b"", **headers)
    body = await response.json()
    assert (response.status, body.get("errno") or body.get("reason")) == (status, reason)


async def test_a_body_that_breaks_a_rule_is_refused(page: Page) -> None:
    endpoint = (await page.browser())["endpoint"]
    point = base64.urlsafe_b64decode(page.sender.public + "=")
    whole = b"s" * 16 + (4096).to_bytes(4, "big") + b"\x41" + point + b"x" * 40
    assert (await page.push(endpoint, whole)).status == 400  # the signing key must not encrypt
    assert (await page.push(endpoint, b"short")).status == 400
    assert (await page.push(endpoint, whole, content_encoding="aesgcm")).status == 400
    assert (await page.push(endpoint, whole, content_encoding=None)).status == 400
    assert (await page.push(endpoint, whole, crypto_key="dh=x")).status == 400
    assert (await page.push(endpoint, b"x" * 4097)).status == 413
    assert page.caller.emulators.webpush.refused == {"400": 5, "413": 1}


async def test_an_empty_push_is_allowed(page: Page) -> None:
    endpoint = (await page.browser(id="empty-1"))["endpoint"]
    response = await page.push(endpoint)
    assert (response.status, response.get_header("ttl")) == (201, "60")
    assert [message["text"] for message in await page.messages("empty-1")] == [""]


async def test_what_a_browser_can_not_decrypt_is_told_to_the_curious(page: Page) -> None:
    endpoint = (await page.browser(id="damaged-1"))["endpoint"]
    other = ec.generate_private_key(CURVE).public_key()
    point = other.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    body = b"s" * 16 + (4096).to_bytes(4, "big") + b"\x41" + point + b"x" * 40
    assert (await page.push(endpoint, body)).status == 201  # a push service can't know
    [message] = await page.messages("damaged-1")
    assert (message["text"], message["problem"]) == (None, "encrypted for other keys, or damaged")
    assert (await (await page.call("GET", "/browsers")).json())["undecryptable"] == 1


async def test_an_offline_browser_gets_what_is_still_good_once_a_topic(page: Page) -> None:
    endpoint = (await page.browser(id="offline-1", online=False))["endpoint"]
    locations = []
    for headers in (
        {"topic": "aaaa", "urgency": "low"},
        {"topic": "aaaa", "urgency": "high"},  # takes the place of the first
        {"topic": "bbbb"},
        {},
        {"ttl": "0"},  # now or never
    ):
        response = await page.push(endpoint, b"", **headers)
        assert response.status == 201
        locations.append(response.get_header("location") or "")
    assert await page.messages("offline-1") == []
    assert (await page.caller.client.delete(locations[2]).build().send()).status == 204  # taken back
    assert (await page.caller.client.delete(locations[2]).build().send()).status == 404
    await page.call("POST", "/browsers/offline-1", {"online": True})
    got = [(each["topic"], each["urgency"]) for each in await page.messages("offline-1")]
    assert got == [("aaaa", "high"), ("", "normal")]


async def test_an_unsubscribed_browser_is_gone_and_an_unknown_one_not_found(page: Page) -> None:
    endpoint = (await page.browser(id="left-1"))["endpoint"]
    await page.call("POST", "/browsers/left-1", {"subscribed": False})
    assert (await page.push(endpoint)).status == 410
    assert (await page.push(f"{page.origin}/push/unknown")).status == 404


async def test_a_confirming_browser_calls_the_receipt(page: Page, trusted: str) -> None:
    called: asyncio.Queue[str] = asyncio.Queue()

    def app(request: Request) -> Answer:
        called.put_nowait(f"{request.method} {request.path}")
        return Answer(204)

    server = await serve(app)
    vapid = Vapid()
    vapid.generate_keys()
    subscription = await page.browser(id="confirming-1")
    data = {"data": {"tidings_id": "17", "tidings_receipt": f"http://127.0.0.1:{server.port}/r/17"}}
    before = page.caller.emulators.accepted.total
    await asyncio.to_thread(
        push_by_pywebpush, subscription, trusted, data=json.dumps(data), vapid_private_key=vapid, ttl=60
    )
    assert await asyncio.wait_for(called.get(), 10) == "POST /r/17"
    assert page.caller.emulators.accepted.total == before + 1
    await server.close()


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("bad-path-1", [404]),
        ("bad-topic-1", [400]),
        ("bad-crypto-1", [400]),
        ("unauthorized-reg-1", [400]),
        ("apple-mismatch-1", [400]),
        ("fcm-mismatch-1", [403]),
        ("mozilla-mismatch-1", [401]),
        ("unauthorized-1", [401]),
        ("bad-jwt-1", [403]),
        ("throttled-1", [406]),
        ("too-many-1", [429]),
        ("rate-1", [429]),
        ("internal-1", [500]),
        ("html-502-1", [502]),
        ("unavailable-1", [503]),
        ("retry-after-5", [503]),
        ("gateway-timeout-1", [504]),
        ("ok-200-1", [200]),
        ("ok-202-1", [202]),
        ("ok-204-1", [204]),
        ("latency-5-1", [201]),
        ("flaky-2-1", [503, 503, 201, 201]),
        ("goaway-1", [201]),
    ],
)
async def test_a_magic_word(page: Page, name: str, statuses: list[int]) -> None:
    endpoint = (await page.browser(id=name))["endpoint"]
    assert [(await page.push(endpoint)).status for _ in statuses] == statuses
    taken = sum(status < 300 for status in statuses)
    assert len(await page.messages(name)) == taken


async def test_faults_on_command_hit_the_push_service_too(page: Page) -> None:
    endpoint = (await page.browser())["endpoint"]
    await page.caller.control("POST", "/control/faults", {"webpush": {"status": 429, "retry_after_s": 3, "count": 1}})
    first = await page.push(endpoint)
    assert (first.status, first.get_header("retry-after")) == (429, "3")
    assert (await page.push(endpoint)).status == 201


async def test_control_calls_are_for_this_machine_only_and_say_what_is_wrong(page: Page) -> None:
    client, url = page.caller.client, page.caller.emulators.plain_url + "/browsers"
    assert (await client.get(url).header("host", "rebound.example").build().send()).status == 421
    assert (await client.post(url).body_text("{}").build().send()).status == 415
    for method, path, body, status in (
        ("POST", "/browsers", {"id": "a/b"}, 400),
        ("POST", "/browsers", {"nam": "x"}, 400),
        ("GET", "/browsers?limit=x", None, 400),
        ("GET", "/browsers/unknown/messages", None, 404),
        ("GET", "/browsers?limit=0", None, 200),
        ("DELETE", "/browsers", None, 204),
    ):
        assert (await page.call(method, path, body)).status == status
