"""The provider against the emulator, over real HTTP/2 and TLS: every answer, and every way to break."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tidings import emulators
from tidings.emulators import Emulators
from tidings.emulators.exchange import ErrorCode, GoAway, Request, Reset, Response
from tidings.emulators.faults import Plan
from tidings.emulators.http_server import serve
from tidings.providers.contract import Gone, Message, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.fcm import FcmAccount, FcmProvider, open_fcm
from tidings.providers.fcm_account import parse_service_account


def message(address: str, **changes: Any) -> Message:
    plain = Message(
        project_id=1,
        notification_id=4711,
        user_id=2,
        device_id=3,
        device_type="android",
        address=address,
        title="Your parcel",
        body="is at the door",
        data={"parcel": 17},
        ttl_s=3600,
        collapse_key="parcel",
        urgent=True,
        created_at=datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC),
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.fixture
async def vendor() -> AsyncIterator[Emulators]:
    running = await emulators.start()
    yield running
    await running.close()


def account(vendor: Emulators, **changes: Any) -> FcmAccount:
    plain = FcmAccount(
        service_account=parse_service_account(vendor.service_account),
        base_url=vendor.fcm_url,
        ca_pem=vendor.ca_pem,
        emulated=True,
        timeout_s=10,
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.fixture
async def provider(vendor: Emulators) -> AsyncIterator[FcmProvider]:
    opened = await open_fcm(account(vendor))
    yield opened
    await opened.close()


async def test_a_message_reaches_the_phone(provider: FcmProvider, vendor: Emulators) -> None:
    got = await provider.send(message("phone-1"))
    assert isinstance(got, Sent)
    assert got.provider_message_id is not None
    assert got.provider_message_id.startswith("projects/tidings-emulator/messages/")
    assert provider.emulated
    assert vendor.accepted.total == 1


@pytest.mark.parametrize("device_type", ["android", "ios", "web", "other"])
@pytest.mark.parametrize("title", ["Your parcel", ""])
async def test_every_kind_of_message_is_valid_to_fcm(provider: FcmProvider, device_type: str, title: str) -> None:
    body = "is at the door" if title else ""
    for urgent in (True, False):
        sent = message("phone-2", device_type=device_type, title=title, body=body, urgent=urgent, ttl_s=0)
        sent = msgspec.structs.replace(sent, receipt_url="http://127.0.0.1:1/r", collapse_key="k" * 100)
        assert isinstance(await provider.send(sent), Sent)


def retry(
    reason: Reason, after_s: float | None = 10.0, account_wide: bool = False, *, maybe_taken: bool = False
) -> Retry:
    return Retry(reason, after_s=after_s, account_wide=account_wide, maybe_taken=maybe_taken)


# The emulator's magic tokens and what they must lead to; `detail` is compared apart.
MAGIC: dict[str, Outcome] = {
    "unregistered": Gone(Reason.UNREGISTERED),
    "invalid-token": Gone(Reason.INVALID_ADDRESS),
    "sender-id-mismatch": Gone(Reason.SENDER_MISMATCH),
    "quota-device": retry(Reason.RATE_LIMITED, 60),
    "quota-topic": retry(Reason.RATE_LIMITED, 60, account_wide=True),
    "quota-retry-90": retry(Reason.RATE_LIMITED, 90, account_wide=True),
    "quota": retry(Reason.RATE_LIMITED, 60, account_wide=True),
    "unavailable": retry(Reason.UNAVAILABLE),
    "retry-after-0": retry(Reason.UNAVAILABLE, 1),
    "retry-after-77": retry(Reason.UNAVAILABLE, 77),
    "retry-after-99999": retry(Reason.UNAVAILABLE, 3600),
    "internal": retry(Reason.UNAVAILABLE),
    "html-502": retry(Reason.UNAVAILABLE),
    "empty-503": retry(Reason.UNAVAILABLE),
    "garbage": retry(Reason.UNAVAILABLE),
    "third-party-auth": Paused(Reason.VENDOR_CREDENTIALS),
    "unauthenticated": Paused(Reason.CREDENTIALS),
    "permission-denied": Paused(Reason.CREDENTIALS),
    "wrong-project": Paused(Reason.WRONG_ACCOUNT),
    "flaky-1": retry(Reason.UNAVAILABLE),
    "drop-once": retry(Reason.CONNECTION, maybe_taken=True),
    "drop": retry(Reason.CONNECTION, maybe_taken=True),
    "lost": retry(Reason.CONNECTION, maybe_taken=True),
    "reset": retry(Reason.CONNECTION, maybe_taken=True),
}


@pytest.mark.parametrize("word", MAGIC)
async def test_magic_token(provider: FcmProvider, word: str) -> None:
    address = f"{word}-a-secret-address"
    got = await provider.send(message(address))
    assert not isinstance(got, Sent)
    assert msgspec.structs.replace(got, detail="") == MAGIC[word]
    assert got.detail
    assert "a-secret-address" not in got.detail
    assert "ya29" not in got.detail


@pytest.mark.parametrize("word", ["latency-50", "goaway"])
async def test_magic_token_that_is_sent(provider: FcmProvider, word: str) -> None:
    assert isinstance(await provider.send(message(f"{word}-1")), Sent)
    assert isinstance(await provider.send(message("phone-3")), Sent)


async def test_a_repeat_after_a_passing_failure_is_sent(provider: FcmProvider) -> None:
    for word in ("flaky-1-x", "drop-once-x"):
        assert isinstance(await provider.send(message(word)), Retry)
        assert isinstance(await provider.send(message(word)), Sent)


async def test_a_message_that_may_have_been_taken_is_not_sent_again_unasked(
    provider: FcmProvider, vendor: Emulators
) -> None:
    assert isinstance(await provider.send(message("phone-19")), Sent)
    assert await provider.send(message("lost-1")) != Sent()
    assert vendor.accepted.total == 2


async def test_no_answer_in_time(vendor: Emulators) -> None:
    provider = await open_fcm(account(vendor, timeout_s=0.3))
    got = await provider.send(message("timeout-1"))
    assert got == Retry(Reason.TIMEOUT, "no answer in time", after_s=10.0, maybe_taken=True)
    assert isinstance(await provider.send(message("phone-4")), Sent)
    await provider.close()


async def test_nobody_listens(vendor: Emulators) -> None:
    provider = await open_fcm(account(vendor))
    assert isinstance(await provider.send(message("phone-5")), Sent)
    await vendor.close()
    got = await provider.send(message("phone-5"))
    assert isinstance(got, Retry)
    assert got.reason is Reason.CONNECTION
    assert "127.0.0.1" not in got.detail
    await provider.close()


async def test_a_certificate_that_is_not_trusted(vendor: Emulators) -> None:
    plain = parse_service_account(vendor.service_account | {"token_uri": f"{vendor.plain_url}/token"})
    provider = await open_fcm(account(vendor, ca_pem=None, service_account=plain))
    got = await provider.send(message("phone-6"))
    assert isinstance(got, Retry)
    assert (got.reason, got.after_s) == (Reason.CONNECTION, None)
    assert "certificate" in got.detail
    await provider.close()


async def test_a_message_that_is_too_big_is_never_sent(provider: FcmProvider, vendor: Emulators) -> None:
    got = await provider.send(message("phone-7", body="x" * 4100))
    assert isinstance(got, Rejected)
    assert got.reason is Reason.MESSAGE_TOO_BIG
    assert vendor.oauth.issued == 0


async def test_what_the_vendor_finds_wrong_is_rejected(provider: FcmProvider) -> None:
    got = await provider.send(message("phone-8", overrides={"android": {"priority": "NOW"}}))
    assert isinstance(got, Rejected)
    assert got.reason is Reason.INVALID_MESSAGE


async def test_plain_http2_to_the_emulator(vendor: Emulators) -> None:
    provider = await open_fcm(account(vendor, base_url=vendor.plain_url))
    assert isinstance(await provider.send(message("phone-9")), Sent)
    await provider.close()


async def test_a_cold_burst_is_one_token_and_few_connections(provider: FcmProvider, vendor: Emulators) -> None:
    got = await asyncio.gather(*(provider.send(message(f"burst-{number}")) for number in range(1500)))
    assert Counter(type(each) for each in got) == {Sent: 1500}
    assert vendor.oauth.issued == 1
    assert vendor.tls_server.connections <= 3  # two to send, one for the token


async def test_revoked_tokens_cost_one_renewal_for_a_hundred_senders(provider: FcmProvider, vendor: Emulators) -> None:
    assert isinstance(await provider.send(message("phone-10")), Sent)
    assert vendor.oauth.revoke() == 1
    got = await asyncio.gather(*(provider.send(message(f"revoked-{number}")) for number in range(100)))
    assert Counter(type(each) for each in got) == {Sent: 100}
    assert vendor.oauth.issued == 2


async def test_a_key_that_is_refused_pauses_and_is_not_hammered(vendor: Emulators) -> None:
    stranger = parse_service_account(vendor.service_account | {"private_key_id": "another"})
    provider = await open_fcm(account(vendor, service_account=stranger))
    got = await asyncio.gather(*(provider.send(message(f"phone-{number}")) for number in range(500)))
    assert {(type(each), each.reason) for each in got if not isinstance(each, Sent)} == {(Paused, Reason.CREDENTIALS)}
    again = await provider.send(message("phone-11"))
    assert isinstance(again, Paused)
    assert "invalid_grant" in again.detail
    assert vendor.tls_server.requests == 1
    await provider.close()


async def test_a_token_endpoint_that_is_down_is_a_retry(provider: FcmProvider, vendor: Emulators) -> None:
    vendor.faults.set({"oauth": Plan(status=503)})
    got = await provider.send(message("phone-12"))
    assert isinstance(got, Retry)
    assert got.account_wide
    assert vendor.accepted.total == 0


async def test_tokens_that_never_work_pause_after_one_renewal(provider: FcmProvider, vendor: Emulators) -> None:
    got = await asyncio.gather(*(provider.send(message(f"unauthenticated-{number}")) for number in range(100)))
    assert {(type(each), each.reason) for each in got if not isinstance(each, Sent)} == {(Paused, Reason.CREDENTIALS)}
    assert vendor.oauth.issued == 2


async def test_more_calls_than_streams_wait_their_turn() -> None:
    running = await emulators.start(max_concurrent_streams=5)
    provider = await open_fcm(account(running))
    got = await asyncio.gather(*(provider.send(message(f"latency-5-{number}")) for number in range(200)))
    assert Counter(type(each) for each in got) == {Sent: 200}
    assert running.accepted.total == 200
    await provider.close()
    await running.close()


async def test_a_connection_cut_among_many_calls_is_a_value_for_each(provider: FcmProvider, vendor: Emulators) -> None:
    words = ["drop-x" if number == 50 else f"latency-20-{number}" for number in range(100)]
    got = await asyncio.gather(*(provider.send(message(word)) for word in words))
    assert all(isinstance(each, Sent | Retry) for each in got)
    assert {each.reason for each in got if isinstance(each, Retry)} == {Reason.CONNECTION}
    assert isinstance(await provider.send(message("phone-13")), Sent)


async def test_goaway_among_many_calls_loses_none(provider: FcmProvider, vendor: Emulators) -> None:
    words = ["goaway" if number % 40 == 20 else f"latency-{number % 7}-{number}" for number in range(400)]
    got = await asyncio.gather(*(provider.send(message(word)) for word in words))
    assert all(isinstance(each, Sent | Retry) for each in got)
    assert {each.reason for each in got if isinstance(each, Retry)} <= {Reason.CONNECTION}
    assert isinstance(await provider.send(message("phone-14")), Sent)


async def test_a_redirect_is_not_followed_and_a_refused_stream_is_repeated(vendor: Emulators) -> None:
    seen: list[str] = []

    def app(request: Request) -> Response | Reset | GoAway:
        seen.append(request.path)
        if len(seen) == 1:
            return Reset(ErrorCode.REFUSED_STREAM)
        return Response(307, b"", (("location", f"{vendor.fcm_url}/elsewhere"),))

    server = await serve(app)
    provider = await open_fcm(account(vendor, base_url=f"http://127.0.0.1:{server.port}"))
    got = await provider.send(message("phone-15"))
    assert isinstance(got, Retry)
    assert got.reason is Reason.UNAVAILABLE
    assert got.detail == "307"
    assert seen == ["/v1/projects/tidings-emulator/messages:send"] * 2
    await provider.close()
    await server.close()


async def test_an_endless_answer_is_cut(vendor: Emulators) -> None:
    server = await serve(lambda request: Response(200, b'{"name":"' + b"x" * 900_000 + b'"}'))
    provider = await open_fcm(account(vendor, base_url=f"http://127.0.0.1:{server.port}"))
    got = await provider.send(message("phone-16"))
    assert got == Retry(Reason.UNAVAILABLE, "200, but not an answer of FCM", after_s=10.0)
    await provider.close()
    await server.close()


async def test_closing_ends_calls_under_way_with_a_value(vendor: Emulators) -> None:
    provider = await open_fcm(account(vendor))
    assert isinstance(await provider.send(message("phone-17")), Sent)
    waiting = [asyncio.create_task(provider.send(message(f"latency-1500-{number}"))) for number in range(20)]
    async with asyncio.timeout(5):
        while vendor.tls_server.requests < 20:  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(0.01)
    await provider.close()
    assert {type(await each) for each in waiting} == {Retry}
    assert isinstance(await provider.send(message("phone-18")), Retry)
