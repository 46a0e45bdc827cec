"""Both SMS vendors against their emulators, over real HTTP and TLS: what they do alike, and every way to break."""

import asyncio
from collections import Counter

from tests.providers.report_listener import ReportListener
from tests.providers.sms_vendors import TWILIO, VONAGE, SmsVendor, each_vendor
from tests.providers.text_message import NUMBER, REFERENCE, message, shape
from tidings.emulators import Emulators
from tidings.emulators.faults import Plan
from tidings.emulators.sms_inbox import Reply
from tidings.providers.contract import Fate, Gone, Paused, Reason, Report, Retry, Sent
from tidings.providers.sms_calls import SmsProvider

pytestmark = each_vendor

BUSY = Retry(Reason.UNAVAILABLE, after_s=10.0)


async def test_who_sends(vendor: SmsVendor, sms_provider: SmsProvider, sms_place: Emulators) -> None:
    assert isinstance(await sms_provider.send(message()), Sent)
    assert (sms_provider.name, sms_provider.emulated, sms_place.accepted.total) == (vendor.name, True, 1)


async def test_a_repeat_after_a_passing_failure_is_sent(sms_provider: SmsProvider) -> None:
    assert isinstance(await sms_provider.send(message("+15005564002")), Retry)
    assert isinstance(await sms_provider.send(message("+15005564002")), Sent)


async def test_no_answer_in_time_is_of_unknown_fate(vendor: SmsVendor, sms_place: Emulators) -> None:
    provider = await vendor.open(vendor.account(sms_place, timeout_s=0.3))
    got = await provider.send(message("+15005561003"))
    assert shape(got) == shape(Retry(Reason.TIMEOUT, after_s=10.0, maybe_taken=True))
    await provider.close()


async def test_a_refused_connection_is_surely_not_taken(vendor: SmsVendor, sms_place: Emulators) -> None:
    provider = await vendor.open(vendor.account(sms_place, base_url="https://127.0.0.1:1"))
    assert shape(await provider.send(message())) == shape(Retry(Reason.CONNECTION, maybe_taken=False))
    await provider.close()
    assert isinstance(await provider.send(message()), Retry)


async def test_a_wrong_secret_pauses(vendor: SmsVendor, sms_place: Emulators) -> None:
    provider = await vendor.open(vendor.account(sms_place, **{vendor.secrets[0]: "not-the-secret"}))
    assert shape(await provider.send(message())) == shape(Paused(Reason.CREDENTIALS))
    await provider.close()


async def test_faults_on_command(vendor: SmsVendor, sms_provider: SmsProvider, sms_place: Emulators) -> None:
    sms_place.faults.set({vendor.name: Plan(status=429, retry_after_s=3, count=1)})
    limited = Retry(Reason.RATE_LIMITED, after_s=3.0, account_wide=True)
    assert shape(await sms_provider.send(message())) == shape(limited)
    sms_place.faults.set({vendor.name: Plan(status=503, count=1)})
    assert shape(await sms_provider.send(message())) == shape(BUSY)
    assert isinstance(await sms_provider.send(message()), Sent)


async def test_many_at_once(sms_provider: SmsProvider, sms_place: Emulators) -> None:
    numbers = [f"+15005562{number % 5:03}" if number % 3 else f"+44770090{number:04}" for number in range(300)]
    got = await asyncio.gather(*(sms_provider.send(message(number)) for number in numbers))
    assert Counter(type(each) for each in got) == {Sent: 300}
    assert sms_place.accepted.total == 300


# By vendor: numbers about which a failure is reported, and as what.
REPORTED: dict[str, dict[str, tuple[Fate, Reason]]] = {
    TWILIO.name: {
        "+15005530003": (Fate.FAILED, Reason.UNAVAILABLE),
        "+15005530005": (Fate.BOUNCED, Reason.INVALID_ADDRESS),
        "+15005530007": (Fate.FAILED, Reason.INVALID_MESSAGE),
    },
    VONAGE.name: {
        "+15005571002": (Fate.FAILED, Reason.UNAVAILABLE),
        "+15005571003": (Fate.BOUNCED, Reason.INVALID_ADDRESS),
        "+15005571006": (Fate.FAILED, Reason.INVALID_MESSAGE),
    },
}


async def test_a_failure_is_reported(
    vendor: SmsVendor, sms_provider: SmsProvider, sms_listener: ReportListener
) -> None:
    wanted = REPORTED[vendor.name]
    for number in wanted:
        assert isinstance(await sms_provider.send(message(number, reports_url=sms_listener.url)), Sent)
    reports = await sms_listener.wait(len(wanted))
    assert {report.address: (report.fate, report.reason) for report in reports} == wanted
    assert {report.reference for report in reports} == {REFERENCE}


async def test_a_report_that_is_not_taken_comes_again(sms_provider: SmsProvider, sms_listener: ReportListener) -> None:
    sms_listener.fail = 3
    await sms_provider.send(message(reports_url=sms_listener.url))
    assert [report.fate for report in await sms_listener.wait(1)] == [Fate.DELIVERED]


async def test_stop_reaches_us_and_the_vendor_keeps_to_it(
    sms_provider: SmsProvider, sms_place: Emulators, sms_listener: ReportListener
) -> None:
    await sms_provider.send(message(reports_url=sms_listener.url))
    await sms_listener.wait(1)
    sms_place.sms.inboxes.reply(NUMBER, Reply("stop"))
    assert (await sms_listener.wait(2))[1] == Report(Fate.OPTED_OUT, "", NUMBER)
    assert shape(await sms_provider.send(message())) == shape(Gone(Reason.OPTED_OUT))
    sms_place.sms.inboxes.reply(NUMBER, Reply("START"))
    assert (await sms_listener.wait(3))[2] == Report(Fate.OPTED_IN, "", NUMBER)
    assert isinstance(await sms_provider.send(message()), Sent)
