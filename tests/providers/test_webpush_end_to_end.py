"""The provider against the emulated push service, over real TLS: every answer, and every way to break."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from tests.providers.webpush_browser import json_of, message, subscription
from tidings import emulators
from tidings.emulators import Emulators
from tidings.emulators.webpush_browsers import Received
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.webpush import WebPushProvider, open_webpush
from tidings.providers.webpush_account import WebPushAccount
from tidings.providers.webpush_vapid import new_private_key

KEY = new_private_key()


@pytest.fixture
async def vendor() -> AsyncIterator[Emulators]:
    running = await emulators.start()
    yield running
    await running.close()


def account(vendor: Emulators, **changes: Any) -> WebPushAccount:
    plain = WebPushAccount(
        private_key=KEY,
        subject="mailto:push@example.org",
        ca_pem=vendor.ca_pem,
        emulated=True,
        timeout_s=10,
        rest_s=0,
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.fixture
async def provider(vendor: Emulators) -> AsyncIterator[WebPushProvider]:
    opened = await open_webpush(account(vendor))
    yield opened
    await opened.close()


def address(vendor: Emulators, name: str, **more: Any) -> str:
    """The address of a new browser of that name; `more` is added to its subscription."""
    return json_of(vendor.webpush.subscribe(name) | more)


def received(vendor: Emulators, name: str) -> list[Received]:
    browser = vendor.webpush.browsers.get(name)
    assert browser is not None
    return browser.received


async def test_a_message_reaches_the_browser(provider: WebPushProvider, vendor: Emulators) -> None:
    bound = vendor.webpush.subscribe("browser-1", server_key=provider.public_key)
    got = await provider.send(message(json_of(bound)))
    [message_in] = received(vendor, "browser-1")
    assert got == Sent(message_in.message_id)
    assert msgspec.json.decode(message_in.text or "") == {
        "notification": {"title": "Your parcel", "body": "is at the door", "tag": "parcel"},
        "data": {"parcel": 17, "tidings_id": "4711"},
    }
    assert (message_in.terms.urgency, len(message_in.terms.topic)) == ("high", 32)
    assert 3500 <= message_in.terms.ttl_s <= 3600
    assert provider.emulated
    assert provider.name == "webpush"
    assert vendor.accepted.total == 1


async def test_a_declarative_message_reaches_the_browser(provider: WebPushProvider, vendor: Emulators) -> None:
    over = {"declarative": True, "navigate": "https://example.org/17", "topic": "parcel-1", "urgency": "low"}
    assert isinstance(await provider.send(message(address(vendor, "browser-2"), overrides=over)), Sent)
    [message_in] = received(vendor, "browser-2")
    whole = msgspec.json.decode(message_in.text or "")
    assert whole["web_push"] == 8030
    assert whole["notification"]["navigate"] == "https://example.org/17"
    assert message_in.content_type == "application/notification+json"
    assert (message_in.terms.topic, message_in.terms.urgency) == ("parcel-1", "low")


async def test_the_longest_message_passes_and_a_longer_one_is_never_sent(
    provider: WebPushProvider, vendor: Emulators
) -> None:
    to = address(vendor, "browser-3")
    room = 3993 - len('{"notification":{"body":""},"data":{"tidings_id":"4711"}}')
    fitting = message(to, title="", body="x" * room, data={}, collapse_key="")
    assert isinstance(await provider.send(fitting), Sent)
    got = await provider.send(msgspec.structs.replace(fitting, body="x" * (room + 1)))
    assert got == Rejected(Reason.MESSAGE_TOO_BIG, "3994 bytes, Web Push takes 3993")
    assert vendor.tls_server.requests == 1


def retry(reason: Reason, after_s: float | None = 10.0, *, maybe_taken: bool = False) -> Retry:
    return Retry(reason, after_s=after_s, maybe_taken=maybe_taken)


# The emulator's magic words and what they must lead to; `detail` is compared apart.
MAGIC: dict[str, Outcome] = {
    "not-found": Gone(Reason.UNREGISTERED),
    "bad-path": Gone(Reason.UNREGISTERED),
    "gone": Gone(Reason.UNREGISTERED),
    "apple-mismatch": Gone(Reason.SENDER_MISMATCH),
    "fcm-mismatch": Gone(Reason.SENDER_MISMATCH),
    "mozilla-mismatch": Gone(Reason.SENDER_MISMATCH),
    "bad-topic": Rejected(Reason.INVALID_MESSAGE),
    "bad-crypto": Rejected(Reason.INVALID_MESSAGE),
    "unauthorized-reg": Paused(Reason.PUSH_SERVICE_CREDENTIALS),
    "unauthorized": Paused(Reason.PUSH_SERVICE_CREDENTIALS),
    "bad-jwt": Paused(Reason.PUSH_SERVICE_CREDENTIALS),
    "too-large": Rejected(Reason.MESSAGE_TOO_BIG),
    "throttled": retry(Reason.RATE_LIMITED, 60),
    "too-many": retry(Reason.RATE_LIMITED, 60),
    "rate": retry(Reason.RATE_LIMITED, 60),
    "rate-retry-90": retry(Reason.RATE_LIMITED, 90),
    "redirect": retry(Reason.UNAVAILABLE),
    "internal": retry(Reason.UNAVAILABLE),
    "html-502": retry(Reason.UNAVAILABLE),
    "unavailable": retry(Reason.UNAVAILABLE),
    "retry-after-0": retry(Reason.UNAVAILABLE, 1),
    "retry-after-77": retry(Reason.UNAVAILABLE, 77),
    "retry-after-99999": retry(Reason.UNAVAILABLE, 3600),
    "gateway-timeout": retry(Reason.UNAVAILABLE),
    "flaky-1": retry(Reason.UNAVAILABLE),
    "drop-once": retry(Reason.CONNECTION, maybe_taken=True),
    "drop": retry(Reason.CONNECTION, maybe_taken=True),
    "lost": retry(Reason.CONNECTION, maybe_taken=True),
    "reset": retry(Reason.CONNECTION, maybe_taken=True),
}


@pytest.mark.parametrize("word", MAGIC)
async def test_magic_word(provider: WebPushProvider, vendor: Emulators, word: str) -> None:
    got = await provider.send(message(address(vendor, f"{word}-a-secret-address")))
    assert not isinstance(got, Sent)
    assert msgspec.structs.replace(got, detail="") == MAGIC[word]
    assert got.detail
    assert "a-secret-address" not in got.detail
    assert "127.0.0.1" not in got.detail


@pytest.mark.parametrize("word", ["latency-50", "goaway", "ok-200", "ok-202", "ok-204"])
async def test_magic_word_that_is_sent(provider: WebPushProvider, vendor: Emulators, word: str) -> None:
    assert isinstance(await provider.send(message(address(vendor, f"{word}-1"))), Sent)
    assert isinstance(await provider.send(message(address(vendor, "browser-4"))), Sent)


async def test_a_repeat_after_a_passing_failure_is_sent(provider: WebPushProvider, vendor: Emulators) -> None:
    for word in ("flaky-1-x", "drop-once-x"):
        to = address(vendor, word)
        assert isinstance(await provider.send(message(to)), Retry)
        assert isinstance(await provider.send(message(to)), Sent)


async def test_a_repeat_takes_the_place_of_what_still_waits(provider: WebPushProvider, vendor: Emulators) -> None:
    to = address(vendor, "lost-1")
    browser = vendor.webpush.browsers.get("lost-1")
    assert browser is not None
    browser.online = False
    assert isinstance(await provider.send(message(to)), Retry)
    assert isinstance(await provider.send(message(to)), Retry)
    assert len(browser.waiting) == 1


async def test_key_mismatch_for_a_subscription_that_we_made_is_our_fault(
    provider: WebPushProvider, vendor: Emulators
) -> None:
    ours = address(vendor, "fcm-mismatch-1", applicationServerKey=provider.public_key)
    got = await provider.send(message(ours))
    assert isinstance(got, Paused)
    assert got.reason is Reason.PUSH_SERVICE_CREDENTIALS
    other = account(vendor, private_key=new_private_key())
    stranger = await open_webpush(other)
    theirs = address(vendor, "fcm-mismatch-2", applicationServerKey=provider.public_key)
    assert isinstance(await stranger.send(message(theirs)), Gone)
    await stranger.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not json", Reason.INVALID_ADDRESS),
        ('{"endpoint":"https://fcm.googleapis.com/x"}', Reason.INVALID_ADDRESS),
    ],
)
async def test_what_is_no_subscription_is_gone(provider: WebPushProvider, text: str, reason: Reason) -> None:
    got = await provider.send(message(text))
    assert isinstance(got, Gone)
    assert got.reason is reason


@pytest.mark.parametrize(
    "endpoint", ["https://169.254.169.254/latest", "https://fcm.googleapis.com/x", "http://10.0.0.1/", "x"]
)
async def test_an_endpoint_elsewhere_is_never_called(provider: WebPushProvider, endpoint: str) -> None:
    got = await provider.send(message(json_of(subscription(endpoint))))
    assert isinstance(got, Rejected)
    assert got.reason is Reason.FORBIDDEN_ADDRESS


PUBLIC = WebPushAccount(KEY, "mailto:push@example.org", timeout_s=5)


async def test_an_allowed_name_that_leads_inside_is_never_called(vendor: Emulators) -> None:
    """DNS rebinding: the name was public when the device was registered, and is not any more."""

    async def inside(host: str, port: int) -> Sequence[str]:
        return ["142.250.1.95", "127.0.0.1"]

    provider = await open_webpush(PUBLIC, inside)
    got = await provider.send(message(json_of(subscription())))
    assert got == Rejected(Reason.FORBIDDEN_ADDRESS, "the push service's name: the address is not public: loopback")
    await provider.close()


async def test_a_name_that_can_not_be_resolved_is_a_retry(vendor: Emulators) -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("no DNS")

    provider = await open_webpush(PUBLIC, unknown)
    got = await provider.send(message(json_of(subscription())))
    assert got == Retry(Reason.CONNECTION, "the push service's name can't be resolved")
    await provider.close()


async def test_the_next_address_is_tried_when_one_does_not_answer(vendor: Emulators) -> None:
    """The name leads to two addresses of this machine; nobody listens on the first."""

    async def two(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    provider = await open_webpush(account(vendor), two)
    to = json_of(vendor.webpush.subscribe("browser-5")).replace("127.0.0.1", "localhost")
    first = await provider.send(message(to))
    assert isinstance(first, Retry)
    assert (first.reason, first.after_s) == (Reason.CONNECTION, None)
    assert isinstance(await provider.send(message(to)), Sent)
    await provider.close()


async def test_no_answer_in_time(vendor: Emulators) -> None:
    provider = await open_webpush(account(vendor, timeout_s=0.5))
    got = await provider.send(message(address(vendor, "timeout-1")))
    assert got == Retry(Reason.TIMEOUT, "no answer in time", after_s=10.0, maybe_taken=True)
    assert isinstance(await provider.send(message(address(vendor, "browser-6"))), Sent)
    await provider.close()


async def test_nobody_listens(vendor: Emulators) -> None:
    provider = await open_webpush(account(vendor))
    to = address(vendor, "browser-7")
    assert isinstance(await provider.send(message(to)), Sent)
    await vendor.close()
    got = await provider.send(message(to))
    assert isinstance(got, Retry)
    assert got.reason is Reason.CONNECTION
    assert "127.0.0.1" not in got.detail
    await provider.close()


async def test_a_certificate_that_is_not_trusted(vendor: Emulators) -> None:
    provider = await open_webpush(account(vendor, ca_pem=None))
    got = await provider.send(message(address(vendor, "browser-8")))
    assert isinstance(got, Retry)
    assert (got.reason, got.after_s) == (Reason.CONNECTION, None)
    assert "certificate" in got.detail
    await provider.close()


async def test_a_cold_burst_makes_few_connections_and_one_token(provider: WebPushProvider, vendor: Emulators) -> None:
    browsers = [address(vendor, f"burst-{number}") for number in range(20)]
    sends = [
        provider.send(message(browsers[number % 20], notification_id=number, collapse_key="")) for number in range(600)
    ]
    assert Counter(type(each) for each in await asyncio.gather(*sends)) == {Sent: 600}
    assert vendor.tls_server.connections <= 10  # without order it would be one for nearly every call
    assert vendor.accepted.total == 600
    assert vendor.accepted.duplicates == 0


async def test_a_connection_cut_among_many_calls_is_a_value_for_each(
    provider: WebPushProvider, vendor: Emulators
) -> None:
    words = ["drop-x" if number == 50 else f"latency-20-{number}" for number in range(100)]
    got = await asyncio.gather(*(provider.send(message(address(vendor, word))) for word in words))
    assert all(isinstance(each, Sent | Retry) for each in got)
    assert {each.reason for each in got if isinstance(each, Retry)} == {Reason.CONNECTION}
    assert isinstance(await provider.send(message(address(vendor, "browser-9"))), Sent)


async def test_a_refused_key_rests_one_push_service_and_no_other(vendor: Emulators) -> None:
    provider = await open_webpush(account(vendor, rest_s=60.0))
    assert isinstance(await provider.send(message(address(vendor, "bad-jwt-1"))), Paused)
    before = vendor.tls_server.requests
    again = await provider.send(message(address(vendor, "browser-10")))
    assert isinstance(again, Paused)
    assert 50 < again.after_s <= 60
    assert vendor.tls_server.requests == before
    other = json_of(vendor.webpush.subscribe("browser-11")).replace("127.0.0.1", "localhost")
    assert isinstance(await provider.send(message(other)), Sent)
    await provider.close()


async def test_five_refusals_for_the_rate_in_a_row_rest_a_push_service(vendor: Emulators) -> None:
    provider = await open_webpush(account(vendor, rest_s=60.0))
    limited, fine = address(vendor, "rate-1"), address(vendor, "browser-12")
    for _ in range(2):
        for _ in range(4):
            assert isinstance(await provider.send(message(limited)), Retry)
        assert isinstance(await provider.send(message(fine)), Sent)
    for _ in range(6):  # Apple's is about one subscription
        assert isinstance(await provider.send(message(address(vendor, "too-many-1"))), Retry)
    assert isinstance(await provider.send(message(fine)), Sent)
    for _ in range(5):
        await provider.send(message(limited))
    before = vendor.tls_server.requests
    got = await provider.send(message(fine))
    assert isinstance(got, Retry)
    assert got.reason is Reason.RATE_LIMITED
    assert vendor.tls_server.requests == before
    await provider.close()


async def test_closing_ends_calls_under_way_with_a_value(vendor: Emulators) -> None:
    provider = await open_webpush(account(vendor))
    assert isinstance(await provider.send(message(address(vendor, "browser-13"))), Sent)
    waiting = [
        asyncio.create_task(provider.send(message(address(vendor, f"latency-5000-{number}")))) for number in range(20)
    ]
    async with asyncio.timeout(10):
        while vendor.tls_server.requests < 21:  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(0.01)
    await provider.close()
    assert {type(await each) for each in waiting} == {Retry}
    assert isinstance(await provider.send(message(address(vendor, "browser-14"))), Retry)
    await provider.close()
