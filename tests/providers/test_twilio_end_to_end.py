"""The provider against the emulator, over real HTTP and TLS: every answer, every report, and every way to break."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.providers.report_listener import ReportListener, listening
from tests.providers.text_message import NUMBER, REFERENCE, message, shape
from tidings import emulators
from tidings.emulators import Emulators
from tidings.emulators.faults import Plan
from tidings.emulators.sms_inbox import Reply
from tidings.providers.contract import Fate, Gone, Outcome, Paused, Reason, Rejected, Report, Retry, Sent
from tidings.providers.sms_calls import SmsProvider
from tidings.providers.twilio import TwilioAccount, open_twilio, parse_twilio_account
from tidings.providers.twilio_reports import read


@pytest.fixture
async def vendor() -> AsyncIterator[Emulators]:
    running = await emulators.start()
    yield running
    await running.close()


def account(vendor: Emulators, **changes: Any) -> TwilioAccount:
    plain = parse_twilio_account(vendor.sms.twilio.account())
    used = {"base_url": vendor.fcm_url, "ca_pem": vendor.ca_pem, "emulated": True, "timeout_s": 10}
    return msgspec.structs.replace(plain, **used | changes)


@pytest.fixture
async def provider(vendor: Emulators) -> AsyncIterator[SmsProvider]:
    opened = await open_twilio(account(vendor))
    yield opened
    await opened.close()


@pytest.fixture
async def listener(vendor: Emulators) -> AsyncIterator[ReportListener]:
    async with listening(read, vendor.sms.twilio.auth_token) as open_one:
        yield open_one


async def test_a_message_reaches_the_phone(provider: SmsProvider, vendor: Emulators) -> None:
    text = {"title": "“Parcel”", "body": "50 % + 1 & 2 = 3, naïve, ~€5"}
    got = await provider.send(message(**text, ttl_s=600))
    assert isinstance(got, Sent)
    [received] = vendor.sms.inboxes.messages(NUMBER)
    assert received.message_id == got.provider_message_id
    assert (received.text, received.sender) == ("“Parcel”\n50 % + 1 & 2 = 3, naïve, ~€5", "+15005550006")
    assert received.webhook == ""
    assert (provider.name, provider.emulated, vendor.accepted.total) == ("twilio", True, 1)


async def test_overrides_and_emoji_reach_the_phone(provider: SmsProvider, vendor: Emulators) -> None:
    overrides = {"body": "Grüße 😀中", "from": "DHL 24"}
    assert isinstance(await provider.send(message(overrides=overrides)), Sent)
    [received] = vendor.sms.inboxes.messages(NUMBER)
    assert (received.text, received.sender, received.segments) == ("Grüße 😀中", "DHL 24", 1)


async def test_a_messaging_service_and_an_api_key(vendor: Emulators) -> None:
    service = f"MG{'0' * 32}"
    provider = await open_twilio(account(vendor, messaging_service_sid=service, from_=""))
    assert isinstance(await provider.send(message()), Sent)
    assert vendor.sms.inboxes.messages(NUMBER)[0].sender == service
    await provider.close()
    keyed = await open_twilio(account(vendor, api_key_sid=f"SK{'0' * 32}", api_key_secret="not-this-one"))
    got = await keyed.send(message())
    assert shape(got) == shape(Paused(Reason.CREDENTIALS))
    await keyed.close()


ROUTE = Paused(Reason.VENDOR_CREDENTIALS, after_s=3600.0)
BUSY = Retry(Reason.UNAVAILABLE, after_s=10.0)
FAST = Retry(Reason.RATE_LIMITED, account_wide=True)
BROKEN = Retry(Reason.CONNECTION, after_s=10.0, maybe_taken=True)

# The emulator's magic numbers and what they must lead to.
MAGIC: dict[str, Outcome] = {
    "+15005550001": Gone(Reason.INVALID_ADDRESS),
    "+15005550002": ROUTE,
    "+15005550003": ROUTE,
    "+15005550004": Gone(Reason.OPTED_OUT),
    "+15005550009": Gone(Reason.INVALID_ADDRESS),
    "+15005520003": Paused(Reason.CREDENTIALS),
    "+15005520404": Paused(Reason.WRONG_ACCOUNT),
    "+15005520429": FAST,
    "+15005521606": Paused(Reason.WRONG_ACCOUNT),
    "+15005521608": ROUTE,
    "+15005521609": Paused(Reason.WRONG_ACCOUNT),
    "+15005521611": FAST,
    "+15005521617": Rejected(Reason.MESSAGE_TOO_BIG),
    "+15005521635": Gone(Reason.INVALID_ADDRESS),
    "+15005521999": Rejected(Reason.INVALID_MESSAGE),
    "+15005560402": Paused(Reason.CREDENTIALS, after_s=600.0),
    "+15005560429": Retry(Reason.RATE_LIMITED, after_s=7.0, account_wide=True),
    "+15005560500": BUSY,
    "+15005560502": msgspec.structs.replace(BUSY, maybe_taken=True),
    "+15005560503": Retry(Reason.UNAVAILABLE, after_s=7.0),
    "+15005560504": msgspec.structs.replace(BUSY, maybe_taken=True),
    "+15005561001": BROKEN,
    "+15005561002": BROKEN,
    "+15005561004": BROKEN,
    "+15005561005": msgspec.structs.replace(BUSY, maybe_taken=True),
    "+15005564001": BUSY,
}
TAKEN = {"+15005561002", "+15005561005"}


@pytest.mark.parametrize("number", MAGIC)
async def test_magic_number(provider: SmsProvider, vendor: Emulators, number: str) -> None:
    got = await provider.send(message(number))
    assert shape(got) == shape(MAGIC[number])
    assert not isinstance(got, Sent)
    assert got.detail
    assert number[1:] not in got.detail
    assert vendor.accepted.total == (number in TAKEN)


@pytest.mark.parametrize(
    ("sender", "outcome"),
    [
        ("+15005550001", Paused(Reason.WRONG_ACCOUNT)),
        ("+15005550007", Paused(Reason.WRONG_ACCOUNT)),
        ("+15005550008", FAST),
    ],
)
async def test_magic_sender(vendor: Emulators, sender: str, outcome: Outcome) -> None:
    provider = await open_twilio(account(vendor, from_=sender))
    assert shape(await provider.send(message())) == shape(outcome)
    await provider.close()


async def test_a_bad_sender_of_one_notification_does_not_stop_the_account(provider: SmsProvider) -> None:
    got = await provider.send(message(overrides={"from": "+15005550007"}))
    assert shape(got) == shape(Rejected(Reason.INVALID_MESSAGE))


async def test_a_repeat_after_a_passing_failure_is_sent(provider: SmsProvider) -> None:
    assert isinstance(await provider.send(message("+15005564002")), Retry)
    assert isinstance(await provider.send(message("+15005564002")), Sent)


async def test_no_answer_in_time_is_of_unknown_fate(vendor: Emulators) -> None:
    provider = await open_twilio(account(vendor, timeout_s=0.3))
    got = await provider.send(message("+15005561003"))
    assert shape(got) == shape(Retry(Reason.TIMEOUT, after_s=10.0, maybe_taken=True))
    await provider.close()


async def test_a_refused_connection_is_surely_not_taken(vendor: Emulators) -> None:
    provider = await open_twilio(account(vendor, base_url="https://127.0.0.1:1"))
    got = await provider.send(message())
    assert shape(got) == shape(Retry(Reason.CONNECTION, maybe_taken=False))
    await provider.close()
    assert isinstance(await provider.send(message()), Retry)


async def test_a_wrong_token_pauses(vendor: Emulators) -> None:
    provider = await open_twilio(account(vendor, auth_token="not-the-token"))
    got = await provider.send(message())
    assert shape(got) == shape(Paused(Reason.CREDENTIALS))
    await provider.close()


async def test_faults_on_command(provider: SmsProvider, vendor: Emulators) -> None:
    vendor.faults.set({"twilio": Plan(status=429, retry_after_s=3, count=1)})
    got = await provider.send(message())
    assert shape(got) == shape(Retry(Reason.RATE_LIMITED, after_s=3.0, account_wide=True))
    assert isinstance(await provider.send(message()), Sent)


async def test_many_at_once(provider: SmsProvider, vendor: Emulators) -> None:
    numbers = [f"+15005562{number % 5:03}" if number % 3 else f"+44770090{number:04}" for number in range(300)]
    got = await asyncio.gather(*(provider.send(message(number)) for number in numbers))
    assert Counter(type(each) for each in got) == {Sent: 300}
    assert vendor.accepted.total == 300


async def test_a_delivery_is_reported(provider: SmsProvider, listener: ReportListener) -> None:
    got = await provider.send(message(reports_url=listener.url))
    assert isinstance(got, Sent)
    assert await listener.wait(1) == [Report(Fate.DELIVERED, REFERENCE, NUMBER, got.provider_message_id)]
    await listener.wait_posts(2)
    assert len(listener.reports) == 1


@pytest.mark.parametrize(
    ("number", "fate", "reason"),
    [
        ("+15005530003", Fate.FAILED, Reason.UNAVAILABLE),
        ("+15005530005", Fate.BOUNCED, Reason.INVALID_ADDRESS),
        ("+15005530007", Fate.FAILED, Reason.INVALID_MESSAGE),
    ],
)
async def test_a_failure_is_reported(
    provider: SmsProvider, listener: ReportListener, number: str, fate: Fate, reason: Reason
) -> None:
    assert isinstance(await provider.send(message(number, reports_url=listener.url)), Sent)
    [report] = await listener.wait(1)
    assert (report.fate, report.reason, report.reference, report.address) == (fate, reason, REFERENCE, number)


async def test_a_report_that_is_not_taken_comes_again(provider: SmsProvider, listener: ReportListener) -> None:
    listener.fail = 3
    await provider.send(message(reports_url=listener.url))
    assert [report.fate for report in await listener.wait(1)] == [Fate.DELIVERED]


async def test_stop_reaches_us_and_the_vendor_keeps_to_it(
    provider: SmsProvider, vendor: Emulators, listener: ReportListener
) -> None:
    await provider.send(message(reports_url=listener.url))
    await listener.wait_posts(2)
    listener.reports.clear()
    vendor.sms.inboxes.reply(NUMBER, Reply("stop"))
    assert await listener.wait(1) == [Report(Fate.OPTED_OUT, "", NUMBER)]
    assert shape(await provider.send(message())) == shape(Gone(Reason.OPTED_OUT))
    vendor.sms.inboxes.reply(NUMBER, Reply("START"))
    assert (await listener.wait(2))[1] == Report(Fate.OPTED_IN, "", NUMBER)
    assert isinstance(await provider.send(message()), Sent)
