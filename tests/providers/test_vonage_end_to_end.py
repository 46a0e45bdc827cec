"""Vonage's own side of test_sms_end_to_end.py: its alphabet, its statuses, its reports."""

import pytest

from tests.providers.report_listener import ReportListener
from tests.providers.sms_vendors import VONAGE, SmsVendor
from tests.providers.text_message import NUMBER, REFERENCE, message
from tidings.emulators import Emulators
from tidings.providers.contract import Fate, Sent
from tidings.providers.sms_calls import SmsProvider


@pytest.fixture
def vendor() -> SmsVendor:
    return VONAGE


async def test_a_message_reaches_the_phone(sms_provider: SmsProvider, sms_place: Emulators) -> None:
    got = await sms_provider.send(message(title="", body="50 % + 1 & 2 = 3, ~€5", ttl_s=1))
    assert isinstance(got, Sent)
    [received] = sms_place.sms.inboxes.messages(NUMBER)
    assert received.message_id == got.provider_message_id
    assert (received.text, received.sender, received.webhook) == ("50 % + 1 & 2 = 3, ~€5", "15005550006", "")


async def test_what_the_gsm_alphabet_lacks_is_sent_as_unicode(sms_provider: SmsProvider, sms_place: Emulators) -> None:
    overrides = {"body": "Grüße 😀中" * 12, "from": "DHL 24"}
    assert isinstance(await sms_provider.send(message(overrides=overrides)), Sent)
    [received] = sms_place.sms.inboxes.messages(NUMBER)
    assert (received.text, received.sender, received.segments) == ("Grüße 😀中" * 12, "DHL 24", 2)


async def test_a_delivery_is_reported_for_each_segment(sms_provider: SmsProvider, sms_listener: ReportListener) -> None:
    got = await sms_provider.send(message(body="x" * 200, reports_url=sms_listener.url))
    assert isinstance(got, Sent)
    reports = await sms_listener.wait(2)
    assert {(each.fate, each.reference, each.address) for each in reports} == {(Fate.DELIVERED, REFERENCE, NUMBER)}
    assert got.provider_message_id in {each.provider_message_id for each in reports}


async def test_an_address_for_reports_that_vonage_would_refuse_is_left_out(
    sms_provider: SmsProvider, sms_place: Emulators, sms_listener: ReportListener
) -> None:
    assert isinstance(await sms_provider.send(message(reports_url=sms_listener.url + "x" * 100)), Sent)
    assert sms_place.sms.inboxes.messages(NUMBER)[0].webhook == ""
