"""The emulated Twilio, used by Twilio's own package, and what it refuses."""

import asyncio
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response as TwilioResponse  # type: ignore[import-untyped]
from twilio.rest import Client as TwilioClient  # type: ignore[import-untyped]

from tests.emulators.conftest import Caller
from tidings.emulators import Emulators
from tidings.emulators.twilio import PREFIX

NUMBER = "+447700900123"


class Redirected(TwilioHttpClient):  # type: ignore[misc]
    """Twilio's client, with the host of its requests replaced."""

    def __init__(self, base_url: str) -> None:
        super().__init__(timeout=10)
        self._base_url = base_url

    def request(self, method: str, url: str, *args: Any, **named: Any) -> TwilioResponse:
        path = urlsplit(url)._replace(scheme="", netloc="").geturl()
        return super().request(method, self._base_url + path, *args, **named)


@pytest.fixture
async def foreign(caller: Caller) -> TwilioClient:
    emulated = caller.emulators.sms.twilio
    client = Redirected(caller.emulators.plain_url)
    return TwilioClient(emulated.account_sid, emulated.auth_token, http_client=client)


async def test_twilios_package_sends_fetches_and_lists(foreign: TwilioClient, emulators: Emulators) -> None:
    def use() -> None:
        sent = foreign.messages.create(to=NUMBER, from_="+15005550006", body="Hi 😀", validity_period=60)
        assert (sent.status, sent.num_segments, sent.error_code) == ("queued", "1", None)
        assert sent.date_created is not None
        fetched = foreign.messages(sent.sid).fetch()
        assert (fetched.body, fetched.status, fetched.to) == ("Hi 😀", "delivered", NUMBER)
        failing = foreign.messages.create(to="+15005530003", from_="Parcels", body="x")
        assert foreign.messages(failing.sid).fetch().error_code == 30003
        assert sent.sid in [each.sid for each in foreign.messages.list(to=NUMBER, limit=20)]

    await asyncio.to_thread(use)
    assert emulators.sms.inboxes.messages(NUMBER)[-1].text == "Hi 😀"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"to": "+15005550001"}, 400, 21211),
        ({"to": "+15005550004"}, 400, 21610),
        ({"to": "5551234"}, 400, 21211),
        ({"to": ""}, 400, 21604),
        ({"from_": "+15005550007"}, 400, 21606),
        ({"from_": "a name that is too long"}, 400, 21212),
        ({"from_": ""}, 400, 21603),
        ({"body": ""}, 400, 21602),
        ({"body": "x" * 1601}, 400, 21617),
        ({"messaging_service_sid": "MG1"}, 400, 21701),
        ({"status_callback": "ftp://example.org"}, 400, 21609),
        ({"status_callback": "http://under_score.example.org"}, 400, 21609),
        ({"validity_period": 36_001}, 400, 20001),
        ({"to": "+15005520429"}, 429, 20429),
    ],
)
async def test_refusals_as_twilios_package_reads_them(
    foreign: TwilioClient, fields: dict[str, Any], status: int, code: int
) -> None:
    whole = {"to": NUMBER, "from_": "+15005550006", "body": "x"} | fields
    with pytest.raises(TwilioRestException) as caught:
        await asyncio.to_thread(lambda: foreign.messages.create(**whole))
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.msg


async def test_strangers_and_other_paths(caller: Caller, foreign: TwilioClient) -> None:
    emulated = caller.emulators.sms.twilio
    url = f"{caller.emulators.fcm_url}{PREFIX}{emulated.account_sid}/Messages.json"
    refused = await caller.client.post(url).form([("To", NUMBER)]).build().send()
    assert (refused.status, (await refused.json())["code"]) == (401, 20003)
    with pytest.raises(TwilioRestException) as caught:
        await asyncio.to_thread(lambda: foreign.messages("SM404").fetch())
    assert (caught.value.status, caught.value.code) == (404, 20404)


async def test_inboxes_are_shown_and_forgotten(caller: Caller, foreign: TwilioClient) -> None:
    await caller.control("DELETE", "/inboxes")
    for number in (NUMBER, NUMBER, "+491711234567"):
        await asyncio.to_thread(partial(foreign.messages.create, to=number, from_="Parcels", body="x"))
    listed = await caller.control("GET", "/inboxes?limit=1")
    assert listed == {"inboxes": [{"number": "+491711234567", "messages": 1}], "total": 2}
    shown = await caller.control("GET", "/inboxes/%2B447700900123")
    assert [each["sender"] for each in shown["messages"]] == ["Parcels", "Parcels"]
    assert (await caller.control("GET", "/inboxes/nobody"))["messages"] == []
    await caller.control("DELETE", "/inboxes")
    assert (await caller.control("GET", "/inboxes"))["total"] == 0


async def test_a_reply_needs_somebody_to_answer(caller: Caller, foreign: TwilioClient) -> None:
    await caller.control("DELETE", "/inboxes")
    url = f"{caller.emulators.plain_url}/inboxes/{NUMBER}"
    for body in ({"text": "STOP"}, {"text": 1}, {}, {"text": "x", "vendor": "nobody", "to": "a", "url": "b"}):
        refused = await caller.client.post(url).body_json(body).build().send()
        assert refused.status == 400
    form = caller.client.post(url).header("content-type", "text/plain").body_text("{}")
    assert (await form.build().send()).status == 415
    assert (await caller.client.put(url).build().send()).status == 404


async def test_opt_outs_are_kept_by_sender(caller: Caller, foreign: TwilioClient) -> None:
    url = f"{caller.emulators.plain_url}/nowhere"
    stop = {"text": "STOP", "vendor": "twilio", "to": "Parcels", "url": url}
    await caller.control("POST", f"/inboxes/{NUMBER}", stop)
    with pytest.raises(TwilioRestException) as caught:
        await asyncio.to_thread(lambda: foreign.messages.create(to=NUMBER, from_="Parcels", body="x"))
    assert caught.value.code == 21610
    await asyncio.to_thread(lambda: foreign.messages.create(to=NUMBER, from_="Others", body="x"))
    await caller.control("POST", f"/inboxes/{NUMBER}", stop | {"text": "unstop"})
    await asyncio.to_thread(lambda: foreign.messages.create(to=NUMBER, from_="Parcels", body="x"))


async def test_webhooks_go_to_this_machine_only(caller: Caller, foreign: TwilioClient) -> None:
    callbacks = caller.emulators.sms.callbacks
    before = callbacks.dropped
    named: dict[str, Any] = {"to": NUMBER, "from_": "Others", "body": "x", "status_callback": "https://example.org/r"}
    await asyncio.to_thread(lambda: foreign.messages.create(**named))
    assert callbacks.dropped == before + 2


async def test_any_form_is_an_answer(caller: Caller) -> None:
    emulated = caller.emulators.sms.twilio
    url = f"{caller.emulators.fcm_url}{PREFIX}{emulated.account_sid}/Messages.json"
    bodies = [b"", b"\xff", b"&" * 300, b"To", urlencode({"To": NUMBER, "ValidityPeriod": "٣"}).encode(), b"a=b" * 99]
    for body in bodies:
        request = caller.client.post(url).basic_auth(emulated.account_sid, emulated.auth_token)
        assert (await request.body_bytes(body).build().send()).status == 400
