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
from tidings.providers.vonage import VonageAccount, open_vonage, parse_vonage_account
from tidings.providers.vonage_reports import read


@pytest.fixture
async def vendor() -> AsyncIterator[Emulators]:
    running = await emulators.start()
    yield running
    await running.close()


def account(vendor: Emulators, **changes: Any) -> VonageAccount:
    plain = parse_vonage_account(vendor.sms.vonage.account())
    used = {"base_url": vendor.fcm_url, "ca_pem": vendor.ca_pem, "emulated": True, "timeout_s": 10}
    return msgspec.structs.replace(plain, **used | changes)


@pytest.fixture
async def provider(vendor: Emulators) -> AsyncIterator[SmsProvider]:
    opened = await open_vonage(account(vendor))
    yield opened
    await opened.close()


@pytest.fixture
async def listener(vendor: Emulators) -> AsyncIterator[ReportListener]:
    async with listening(read, vendor.sms.vonage.signature_secret) as open_one:
        yield open_one


async def test_a_message_reaches_the_phone(provider: SmsProvider, vendor: Emulators) -> None:
    got = await provider.send(message(title="", body="50 % + 1 & 2 = 3, ~€5", ttl_s=1))
    assert isinstance(got, Sent)
    [received] = vendor.sms.inboxes.messages(NUMBER)
    assert received.message_id == got.provider_message_id
    assert (received.text, received.sender, received.webhook) == ("50 % + 1 & 2 = 3, ~€5", "15005550006", "")
    assert (provider.name, provider.emulated, vendor.accepted.total) == ("vonage", True, 1)


async def test_what_the_gsm_alphabet_lacks_is_sent_as_unicode(provider: SmsProvider, vendor: Emulators) -> None:
    overrides = {"body": "Grüße 😀中" * 12, "from": "DHL 24"}
    assert isinstance(await provider.send(message(overrides=overrides)), Sent)
    [received] = vendor.sms.inboxes.messages(NUMBER)
    assert (received.text, received.sender, received.segments) == ("Grüße 😀中" * 12, "DHL 24", 2)


ROUTE = Paused(Reason.VENDOR_CREDENTIALS, after_s=3600.0)
BUSY = Retry(Reason.UNAVAILABLE, after_s=10.0)
FAST = Retry(Reason.RATE_LIMITED, account_wide=True)
BROKEN = Retry(Reason.CONNECTION, after_s=10.0, maybe_taken=True)

# The emulator's magic numbers and what they must lead to.
MAGIC: dict[str, Outcome] = {
    "+15005570001": FAST,
    "+15005570002": Rejected(Reason.INVALID_MESSAGE),
    "+15005570003": Rejected(Reason.INVALID_MESSAGE),
    "+15005570004": Paused(Reason.CREDENTIALS),
    "+15005570005": BUSY,
    "+15005570006": Gone(Reason.INVALID_ADDRESS),
    "+15005570007": Gone(Reason.OPTED_OUT),
    "+15005570008": Paused(Reason.CREDENTIALS),
    "+15005570009": Paused(Reason.CREDENTIALS, after_s=600.0),
    "+15005570010": FAST,
    "+15005570012": Rejected(Reason.MESSAGE_TOO_BIG),
    "+15005570014": Paused(Reason.CREDENTIALS),
    "+15005570015": ROUTE,
    "+15005570023": Paused(Reason.WRONG_ACCOUNT),
    "+15005570029": ROUTE,
    "+15005570033": Gone(Reason.UNREGISTERED),
    "+15005560429": Retry(Reason.RATE_LIMITED, after_s=7.0, account_wide=True),
    "+15005560500": BUSY,
    "+15005560502": msgspec.structs.replace(BUSY, maybe_taken=True),
    "+15005560503": Retry(Reason.UNAVAILABLE, after_s=7.0),
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


async def test_no_answer_in_time_is_of_unknown_fate(vendor: Emulators) -> None:
    provider = await open_vonage(account(vendor, timeout_s=0.3))
    got = await provider.send(message("+15005561003"))
    assert shape(got) == shape(Retry(Reason.TIMEOUT, after_s=10.0, maybe_taken=True))
    await provider.close()


async def test_a_refused_connection_is_surely_not_taken(vendor: Emulators) -> None:
    provider = await open_vonage(account(vendor, base_url="https://127.0.0.1:1"))
    assert shape(await provider.send(message())) == shape(Retry(Reason.CONNECTION, maybe_taken=False))
    await provider.close()
    assert isinstance(await provider.send(message()), Retry)


async def test_a_wrong_secret_pauses(vendor: Emulators) -> None:
    provider = await open_vonage(account(vendor, api_secret="not-the-secret"))
    assert shape(await provider.send(message())) == shape(Paused(Reason.CREDENTIALS))
    await provider.close()


async def test_faults_on_command(provider: SmsProvider, vendor: Emulators) -> None:
    vendor.faults.set({"vonage": Plan(status=503, count=1)})
    assert shape(await provider.send(message())) == shape(BUSY)
    assert isinstance(await provider.send(message()), Sent)


async def test_many_at_once(provider: SmsProvider, vendor: Emulators) -> None:
    numbers = [f"+15005562{number % 5:03}" if number % 3 else f"+44770090{number:04}" for number in range(300)]
    got = await asyncio.gather(*(provider.send(message(number)) for number in numbers))
    assert Counter(type(each) for each in got) == {Sent: 300}
    assert vendor.accepted.total == 300


async def test_a_delivery_is_reported_for_each_segment(provider: SmsProvider, listener: ReportListener) -> None:
    got = await provider.send(message(body="x" * 200, reports_url=listener.url))
    assert isinstance(got, Sent)
    reports = await listener.wait(2)
    assert {(each.fate, each.reference, each.address) for each in reports} == {(Fate.DELIVERED, REFERENCE, NUMBER)}
    assert got.provider_message_id in {each.provider_message_id for each in reports}


@pytest.mark.parametrize(
    ("number", "fate", "reason"),
    [
        ("+15005571002", Fate.FAILED, Reason.UNAVAILABLE),
        ("+15005571003", Fate.BOUNCED, Reason.INVALID_ADDRESS),
        ("+15005571006", Fate.FAILED, Reason.INVALID_MESSAGE),
    ],
)
async def test_a_failure_is_reported(
    provider: SmsProvider, listener: ReportListener, number: str, fate: Fate, reason: Reason
) -> None:
    assert isinstance(await provider.send(message(number, reports_url=listener.url)), Sent)
    [report] = await listener.wait(1)
    assert (report.fate, report.reason, report.reference, report.address) == (fate, reason, REFERENCE, number)


async def test_an_address_for_reports_that_vonage_would_refuse_is_left_out(
    provider: SmsProvider, vendor: Emulators, listener: ReportListener
) -> None:
    assert isinstance(await provider.send(message(reports_url=listener.url + "x" * 100)), Sent)
    assert vendor.sms.inboxes.messages(NUMBER)[0].webhook == ""


async def test_stop_reaches_us_and_the_vendor_keeps_to_it(
    provider: SmsProvider, vendor: Emulators, listener: ReportListener
) -> None:
    await provider.send(message(reports_url=listener.url))
    await listener.wait(1)
    vendor.sms.inboxes.reply(NUMBER, Reply("stop"))
    assert (await listener.wait(2))[1] == Report(Fate.OPTED_OUT, "", NUMBER)
    assert shape(await provider.send(message())) == shape(Gone(Reason.OPTED_OUT))
    vendor.sms.inboxes.reply(NUMBER, Reply("START"))
    assert (await listener.wait(3))[2] == Report(Fate.OPTED_IN, "", NUMBER)
    assert isinstance(await provider.send(message()), Sent)
