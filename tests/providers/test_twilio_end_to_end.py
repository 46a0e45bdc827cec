"""Twilio's own side of test_sms_end_to_end.py: its senders, its errors, its reports."""

import pytest

from tests.providers.report_listener import ReportListener
from tests.providers.sms_vendors import TWILIO, SmsVendor
from tests.providers.text_message import NUMBER, REFERENCE, message, shape
from tidings.emulators import Emulators
from tidings.providers.contract import Fate, Outcome, Paused, Reason, Rejected, Report, Retry, Sent
from tidings.providers.sms_calls import SmsProvider


@pytest.fixture
def vendor() -> SmsVendor:
    return TWILIO


async def test_a_message_reaches_the_phone(sms_provider: SmsProvider, sms_place: Emulators) -> None:
    text = {"title": "“Parcel”", "body": "50 % + 1 & 2 = 3, naïve, ~€5"}
    got = await sms_provider.send(message(**text, ttl_s=600))
    assert isinstance(got, Sent)
    [received] = sms_place.sms.inboxes.messages(NUMBER)
    assert received.message_id == got.provider_message_id
    assert (received.text, received.sender) == ("“Parcel”\n50 % + 1 & 2 = 3, naïve, ~€5", "+15005550006")
    assert received.webhook == ""


async def test_overrides_and_emoji_reach_the_phone(sms_provider: SmsProvider, sms_place: Emulators) -> None:
    overrides = {"body": "Grüße 😀中", "from": "DHL 24"}
    assert isinstance(await sms_provider.send(message(overrides=overrides)), Sent)
    [received] = sms_place.sms.inboxes.messages(NUMBER)
    assert (received.text, received.sender, received.segments) == ("Grüße 😀中", "DHL 24", 1)


async def test_a_messaging_service_and_an_api_key(sms_place: Emulators) -> None:
    service = f"MG{'0' * 32}"
    provider = await TWILIO.open(TWILIO.account(sms_place, messaging_service_sid=service, from_=""))
    assert isinstance(await provider.send(message()), Sent)
    assert sms_place.sms.inboxes.messages(NUMBER)[0].sender == service
    await provider.close()
    key = {"api_key_sid": f"SK{'0' * 32}", "api_key_secret": "not-this-one"}
    keyed = await TWILIO.open(TWILIO.account(sms_place, **key))
    assert shape(await keyed.send(message())) == shape(Paused(Reason.CREDENTIALS))
    await keyed.close()


@pytest.mark.parametrize(
    ("sender", "outcome"),
    [
        ("+15005550001", Paused(Reason.WRONG_ACCOUNT)),
        ("+15005550007", Paused(Reason.WRONG_ACCOUNT)),
        ("+15005550008", Retry(Reason.RATE_LIMITED, account_wide=True)),
    ],
)
async def test_magic_sender(sms_place: Emulators, sender: str, outcome: Outcome) -> None:
    provider = await TWILIO.open(TWILIO.account(sms_place, from_=sender))
    assert shape(await provider.send(message())) == shape(outcome)
    await provider.close()


async def test_a_bad_sender_of_one_notification_does_not_stop_the_account(sms_provider: SmsProvider) -> None:
    got = await sms_provider.send(message(overrides={"from": "+15005550007"}))
    assert shape(got) == shape(Rejected(Reason.INVALID_MESSAGE))


async def test_a_delivery_is_reported_once(sms_provider: SmsProvider, sms_listener: ReportListener) -> None:
    got = await sms_provider.send(message(reports_url=sms_listener.url))
    assert isinstance(got, Sent)
    assert await sms_listener.wait(1) == [Report(Fate.DELIVERED, REFERENCE, NUMBER, got.provider_message_id)]
    await sms_listener.wait_posts(2)
    assert len(sms_listener.reports) == 1
