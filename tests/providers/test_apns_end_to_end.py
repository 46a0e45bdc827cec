"""The provider against the emulator, over real HTTP/2 and TLS: every answer, and every way to break."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tidings import clock
from tidings.emulators import apns_certificates, apns_server, certificate
from tidings.emulators.accepted import Accepted
from tidings.emulators.apns import Apns
from tidings.emulators.apns_devices import Device
from tidings.emulators.apns_reasons import for_status
from tidings.emulators.apns_server import ApnsServers
from tidings.emulators.confirmations import Confirmations
from tidings.emulators.exchange import ErrorCode, Request, Reset, Response
from tidings.emulators.faults import Faults
from tidings.emulators.http_server import serve
from tidings.emulators.phones import Phones
from tidings.providers.apns import ApnsAccount, ApnsProvider, open_apns, parse_apns_account
from tidings.providers.apns_message import apns_id
from tidings.providers.apns_token import ProviderTokens
from tidings.providers.contract import Gone, Message, Outcome, Paused, Reason, Rejected, Retry, Sent


class Vendor(msgspec.Struct, frozen=True):
    servers: ApnsServers
    phones: Phones
    accepted: Accepted

    @property
    def apns(self) -> Apns:
        return self.servers.apns


def message(address: str, **changes: Any) -> Message:
    plain = Message(
        project_id=1,
        notification_id=4711,
        user_id=2,
        device_id=3,
        device_type="ios",
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


def phone(number: int) -> str:
    return f"{number:064x}"


def magic(word: str, number: int = 0) -> str:
    return f"facade{word}{number:x}".ljust(64, "0")


async def start(environment: str = "production") -> Vendor:
    accepted = Accepted()
    phones = Phones(accepted, Confirmations())
    apns = Apns(Faults({"apns": for_status}), phones, environment)
    return Vendor(await apns_server.listen(apns, certificate.make()), phones, accepted)


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    running = await start()
    yield running
    await running.servers.close()


def account(vendor: Vendor, **changes: Any) -> ApnsAccount:
    plain = parse_apns_account(vendor.apns.account())
    servers = vendor.servers
    given = {"base_url": servers.url, "ca_pem": servers.ca_pem, "emulated": True, "timeout_s": 10.0}
    return msgspec.structs.replace(plain, **(given | changes))


@pytest.fixture
async def provider(vendor: Vendor) -> AsyncIterator[ApnsProvider]:
    opened = await open_apns(account(vendor))
    yield opened
    await opened.close()


async def test_a_message_reaches_the_phone(provider: ApnsProvider, vendor: Vendor) -> None:
    assert await provider.send(message(phone(1))) == Sent(apns_id(1, 4711, 3))
    [received] = vendor.phones.messages(phone(1))
    assert msgspec.json.decode(received.body)["tidings_id"] == "4711"
    assert (provider.name, provider.emulated, vendor.accepted.total) == ("apns", True, 1)


async def test_a_certificate_needs_no_token(vendor: Vendor) -> None:
    servers = vendor.servers
    pem = servers.certificate_pem
    plain = account(vendor, private_key="", certificate=pem, base_url=servers.certificate_url)
    provider = await open_apns(plain)
    assert isinstance(await provider.send(message(phone(2))), Sent)
    await provider.close()
    stranger = apns_certificates.make("dev.tidings.emulator").pem
    provider = await open_apns(msgspec.structs.replace(plain, certificate=stranger))
    got = await provider.send(message(phone(2)))
    assert isinstance(got, Retry)
    assert got.reason is Reason.CONNECTION
    await provider.close()


async def test_both_environments(vendor: Vendor) -> None:
    development = await start("development")
    provider = await open_apns(account(development))
    assert isinstance(await provider.send(message(phone(3))), Sent)
    vendor.apns.devices.register(Device(phone(3), environment="development"))
    wrong = await open_apns(account(vendor))
    got = await wrong.send(message(phone(3)))
    assert isinstance(got, Gone)
    assert got.reason is Reason.INVALID_ADDRESS
    await asyncio.gather(provider.close(), wrong.close())
    await development.servers.close()


@pytest.mark.parametrize(
    "overrides",
    [
        {"push_type": "background"},
        {"push_type": "voip", "topic": "dev.tidings.other.voip"},
        {"push_type": "liveactivity", "aps": {"event": "update", "content-state": {"left": 3}}},
        {"push_type": "widgets"},
        {"push_type": "location"},
        {"push_type": "pushtotalk"},
        {"aps": {"sound": {"critical": 1, "name": "siren", "volume": 1.0}, "badge": 0}, "priority": 1},
    ],
)
async def test_every_kind_of_push_is_valid_to_apns(vendor: Vendor, overrides: dict[str, Any]) -> None:
    provider = await open_apns(account(vendor, more_topics=("dev.tidings.other",)))
    for ttl_s in (0, 60):
        assert isinstance(await provider.send(message(phone(4), overrides=overrides, ttl_s=ttl_s)), Sent)
    await provider.close()


def retry(reason: Reason, after_s: float | None, account_wide: bool = False, *, maybe_taken: bool = False) -> Retry:
    return Retry(reason, after_s=after_s, account_wide=account_wide, maybe_taken=maybe_taken)


REJECTED, PAUSED = Rejected(Reason.INVALID_MESSAGE), Paused(Reason.CREDENTIALS)
BAD_REQUESTS = ("01", "03", "04", "05", "06", "08", "10", "11", "12", "13")

# The emulator's magic tokens and what they must lead to; `detail` and `since` are compared apart.
MAGIC: dict[str, Outcome] = {
    **{f"400{number}": REJECTED for number in BAD_REQUESTS},
    "40002": Gone(Reason.INVALID_ADDRESS),
    "40007": Gone(Reason.SENDER_MISMATCH),
    "40009": retry(Reason.CONNECTION, 1),
    "40014": PAUSED,
    **{f"4030{number}": PAUSED for number in range(1, 9)},
    "40401": REJECTED,
    "40501": REJECTED,
    "41001": Gone(Reason.UNREGISTERED),
    "41002": Gone(Reason.UNREGISTERED),
    "41301": Rejected(Reason.MESSAGE_TOO_BIG),
    "42901": retry(Reason.RATE_LIMITED, 1200, account_wide=True),
    "42902": retry(Reason.RATE_LIMITED, 60),
    "42903": retry(Reason.RATE_LIMITED, 90),
    "50001": retry(Reason.UNAVAILABLE, 900),
    "50301": retry(Reason.UNAVAILABLE, 900),
    "50302": retry(Reason.CONNECTION, 1),
    "50303": retry(Reason.UNAVAILABLE, 900),
    "00001": retry(Reason.CONNECTION, 1, maybe_taken=True),
    "00002": retry(Reason.CONNECTION, 1, maybe_taken=True),
    "00003": retry(Reason.CONNECTION, 1, maybe_taken=True),
}


@pytest.mark.parametrize("word", MAGIC)
async def test_magic_token(provider: ApnsProvider, word: str) -> None:
    address = magic(word, 0xABCDEF)
    got = await provider.send(message(address))
    assert not isinstance(got, Sent)
    assert got.detail
    assert address not in got.detail
    plain = msgspec.structs.replace(got, detail="")
    if isinstance(plain, Gone):
        plain = msgspec.structs.replace(plain, since=None)
    assert plain == MAGIC[word]


@pytest.mark.parametrize("word", ["00005", "00007", "10050", "20100"])
async def test_magic_token_that_is_sent(provider: ApnsProvider, vendor: Vendor, word: str) -> None:
    assert isinstance(await provider.send(message(magic(word))), Sent)
    assert isinstance(await provider.send(message(phone(5))), Sent)
    assert vendor.accepted.total == 2


async def test_gone_says_since_when(provider: ApnsProvider, vendor: Vendor) -> None:
    ended = datetime(2026, 2, 1, tzinfo=UTC)
    since_ms = int(ended.timestamp() * 1000)
    for state in ("unregistered", "expired"):
        vendor.apns.devices.register(Device(phone(6), state=state, since_ms=since_ms))
        got = await provider.send(message(phone(6)))
        assert isinstance(got, Gone)
        assert (got.reason, got.since) == (Reason.UNREGISTERED, ended)


async def test_a_token_of_another_app(provider: ApnsProvider, vendor: Vendor) -> None:
    vendor.apns.devices.register(Device(phone(7), topic="dev.tidings.other"))
    got = await provider.send(message(phone(7)))
    assert isinstance(got, Gone)
    assert got.reason is Reason.SENDER_MISMATCH


async def test_a_message_that_is_too_big_is_never_sent(provider: ApnsProvider, vendor: Vendor) -> None:
    got = await provider.send(message(phone(8), body="x" * 4100))
    assert isinstance(got, Rejected)
    assert got.reason is Reason.MESSAGE_TOO_BIG
    assert vendor.servers.tls_server.connections == 0


async def test_a_5xx_is_repeated_once_until_the_repeat_fails_too(provider: ApnsProvider, vendor: Vendor) -> None:
    assert isinstance(await provider.send(message(magic("201", 1))), Sent)
    assert isinstance(await provider.send(message(magic("205", 2))), Retry)
    assert vendor.apns.refused == {"503 ServiceUnavailable": 3}
    assert isinstance(await provider.send(message(magic("201", 3))), Retry)
    assert vendor.apns.refused == {"503 ServiceUnavailable": 4}


async def test_one_request_goes_ahead_on_a_new_connection(vendor: Vendor) -> None:
    arrived, go = 0, asyncio.Event()

    async def late() -> Response:
        await go.wait()
        return Response(200)

    def app(request: Request) -> Any:
        nonlocal arrived
        arrived += 1
        return late() if arrived == 1 else Response(200)

    server = await serve(app)
    provider = await open_apns(account(vendor, base_url=f"http://127.0.0.1:{server.port}", connections=1))
    calls = [asyncio.create_task(provider.send(message(phone(number)))) for number in range(50)]
    async with asyncio.timeout(5):
        while not arrived:  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert arrived == 1
    go.set()
    assert Counter(type(each) for each in await asyncio.gather(*calls)) == {Sent: 50}
    assert (arrived, server.connections) == (50, 1)
    await provider.close()
    await server.close()


async def test_a_cancelled_first_call_does_not_take_the_others_along(vendor: Vendor) -> None:
    provider = await open_apns(account(vendor, connections=1))
    first = asyncio.create_task(provider.send(message(magic("00004"))))
    await asyncio.sleep(0)
    others = [asyncio.create_task(provider.send(message(phone(number)))) for number in range(20)]
    async with asyncio.timeout(5):
        while not vendor.servers.tls_server.requests:  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(0.01)
    first.cancel()
    assert {type(each) for each in await asyncio.gather(*others)} == {Sent}
    assert first.cancelled()
    await provider.close()


async def test_a_cold_burst_is_few_connections(provider: ApnsProvider, vendor: Vendor) -> None:
    got = await asyncio.gather(*(provider.send(message(phone(number))) for number in range(1500)))
    assert Counter(type(each) for each in got) == {Sent: 1500}
    assert vendor.servers.tls_server.connections == 2


async def test_more_calls_than_streams_wait_their_turn(vendor: Vendor) -> None:
    server = await serve(lambda request: Response(200), max_concurrent_streams=3)
    provider = await open_apns(account(vendor, base_url=f"http://127.0.0.1:{server.port}"))
    got = await asyncio.gather(*(provider.send(message(phone(number))) for number in range(200)))
    assert Counter(type(each) for each in got) == {Sent: 200}
    await provider.close()
    await server.close()


async def test_each_bundle_id_has_connections_of_its_own(vendor: Vendor) -> None:
    provider = await open_apns(account(vendor, connections=1, more_topics=("dev.tidings.other",)))
    for topic in ("dev.tidings.emulator", "dev.tidings.other", "dev.tidings.other.voip"):
        push_type = "voip" if topic.endswith("voip") else "alert"
        sent = message(phone(9), overrides={"topic": topic, "push_type": push_type})
        assert isinstance(await provider.send(sent), Sent)
    assert vendor.servers.tls_server.connections == 2
    await provider.close()


async def test_a_bundle_id_added_later_needs_a_new_connection(vendor: Vendor) -> None:
    vendor.apns.authority.topics = frozenset()
    provider = await open_apns(account(vendor, connections=1))
    assert await provider.send(message(phone(10))) == Paused(Reason.CREDENTIALS, "400 TopicDisallowed")
    vendor.apns.authority.topics = frozenset({"dev.tidings.emulator"})
    assert isinstance(await provider.send(message(phone(10))), Sent)
    assert vendor.servers.tls_server.connections == 2
    await provider.close()


async def test_a_goaway_among_many_calls_loses_none(provider: ApnsProvider, vendor: Vendor) -> None:
    words = ["00005" if number % 40 == 20 else f"1{number % 7:04}" for number in range(400)]
    got = await asyncio.gather(*(provider.send(message(magic(word, number))) for number, word in enumerate(words)))
    assert Counter(type(each) for each in got) == {Sent: 400}
    assert vendor.accepted.total == 400


async def test_shutdown_is_repeated_over_a_fresh_connection(vendor: Vendor) -> None:
    answers = [Response(503, b'{"reason":"Shutdown"}'), Response(200)]
    server = await serve(lambda request: answers.pop(0))
    provider = await open_apns(account(vendor, base_url=f"http://127.0.0.1:{server.port}", connections=1))
    assert isinstance(await provider.send(message(phone(11))), Sent)
    assert server.connections == 2
    await provider.close()
    await server.close()


async def test_connections_are_not_replaced_over_and_over(vendor: Vendor) -> None:
    server = await serve(lambda request: Response(403, b'{"reason":"Forbidden"}'))
    provider = await open_apns(account(vendor, base_url=f"http://127.0.0.1:{server.port}", connections=1))
    for _ in range(10):
        assert await provider.send(message(phone(12))) == Paused(Reason.CREDENTIALS, "403 Forbidden")
    got = await asyncio.gather(*(provider.send(message(phone(number))) for number in range(100)))
    assert set(got) == {Paused(Reason.CREDENTIALS, "403 Forbidden")}
    assert server.connections == 2
    assert server.requests == 11  # of the hundred, one went ahead for all
    await provider.close()
    await server.close()


async def test_a_refused_stream_is_repeated(vendor: Vendor) -> None:
    answers: list[Response | Reset] = [Reset(ErrorCode.REFUSED_STREAM), Response(200)]
    server = await serve(lambda request: answers.pop(0))
    provider = await open_apns(account(vendor, base_url=f"http://127.0.0.1:{server.port}"))
    assert isinstance(await provider.send(message(phone(13))), Sent)
    await provider.close()
    await server.close()


async def test_an_expired_token_is_replaced_once_and_sent_again(vendor: Vendor) -> None:
    minutes = 0.0
    tokens = ProviderTokens(account(vendor), lambda: minutes * 60, lambda: clock.now().timestamp() + minutes * 60)
    provider = ApnsProvider(account(vendor), tokens)
    assert isinstance(await provider.send(message(phone(14))), Sent)
    minutes = 30
    vendor.apns.authority.ahead_s = 3660
    got = await asyncio.gather(*(provider.send(message(phone(number))) for number in range(100)))
    assert Counter(type(each) for each in got) == {Sent: 100}
    assert vendor.apns.refused.keys() == {"403 ExpiredProviderToken"}
    vendor.apns.authority.ahead_s = 3600 * 3
    assert await provider.send(message(phone(14))) == Paused(Reason.CREDENTIALS, "403 ExpiredProviderToken")
    await provider.close()


async def test_a_revoked_key_pauses(provider: ApnsProvider, vendor: Vendor) -> None:
    assert isinstance(await provider.send(message(phone(15))), Sent)
    vendor.apns.authority.revoke(vendor.apns.key.key_id)
    got = await provider.send(message(phone(15)))
    assert got == Paused(Reason.CREDENTIALS, "403 InvalidProviderToken")


async def test_no_answer_in_time(vendor: Vendor) -> None:
    provider = await open_apns(account(vendor, timeout_s=0.3))
    assert isinstance(await provider.send(message(phone(16))), Sent)
    got = await provider.send(message(magic("00004")))
    assert got == Retry(Reason.TIMEOUT, "no answer in time", after_s=1.0, maybe_taken=True)
    assert isinstance(await provider.send(message(phone(16))), Sent)
    await provider.close()


async def test_nobody_listens(vendor: Vendor) -> None:
    provider = await open_apns(account(vendor))
    assert isinstance(await provider.send(message(phone(17))), Sent)
    await vendor.servers.close()
    got = await asyncio.gather(*(provider.send(message(phone(number))) for number in range(50)))
    assert {(type(each), each.reason) for each in got if not isinstance(each, Sent)} == {(Retry, Reason.CONNECTION)}
    assert not any(isinstance(each, Sent) or "127.0.0.1" in each.detail for each in got)
    await provider.close()


async def test_closing_ends_calls_under_way_with_a_value(vendor: Vendor) -> None:
    provider = await open_apns(account(vendor))
    assert isinstance(await provider.send(message(phone(18))), Sent)
    assert isinstance(await provider.send(message(phone(18))), Sent)
    requests = vendor.servers.tls_server.requests
    calls = [asyncio.create_task(provider.send(message(magic("11500", number)))) for number in range(20)]
    async with asyncio.timeout(5):
        while vendor.servers.tls_server.requests < requests + 20:  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0.01)
    await provider.close()
    await provider.close()
    assert {type(await each) for each in calls} == {Retry}
    assert isinstance(await provider.send(message(phone(18))), Retry)
