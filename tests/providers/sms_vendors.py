"""Both SMS vendors, for what is tested of each alike: an account of theirs, and the emulator that they stand for."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from tests.providers.report_listener import Reader
from tests.providers.text_message import Recorded, recorded
from tidings.emulators import Emulators
from tidings.providers import twilio, twilio_answers, twilio_reports, vonage, vonage_answers, vonage_reports
from tidings.providers.sms_account import SmsAccount
from tidings.providers.sms_calls import OutcomeOf, SmsProvider


class SmsVendor(Struct, frozen=True):
    """One vendor. `given`: a good account as an operator writes it, `secrets`: fields of it that nothing may show.

    `emulated`: the emulator's account, and what its reports are signed with.
    """

    name: str
    given: dict[str, Any]
    secrets: tuple[str, ...]
    parse: Callable[[Any], SmsAccount]
    error: type[ValueError]
    open: Callable[[Any], Awaitable[SmsProvider]]
    outcome_of: OutcomeOf
    emulated: Callable[[Emulators], tuple[dict[str, str], str]]
    read: Reader

    @property
    def recorded(self) -> dict[str, Recorded]:
        return recorded(self.name)

    def account(self, place: Emulators, **changes: Any) -> SmsAccount:
        """The account that sends to the emulator."""
        used = {"base_url": place.fcm_url, "ca_pem": place.ca_pem, "emulated": True, "timeout_s": 10}
        return msgspec.structs.replace(self.parse(self.emulated(place)[0]), **used | changes)


TWILIO = SmsVendor(
    name="twilio",
    given={
        "account_sid": "AC" + "0123456789abcdef" * 2,
        "auth_token": "the-auth-token-of-the-account",
        "from": "+15005550006",
        "api_key_sid": "SK" + "0" * 32,
        "api_key_secret": "the-secret-of-the-key",
    },
    secrets=("auth_token", "api_key_secret"),
    parse=twilio.parse_twilio_account,
    error=twilio.TwilioAccountError,
    open=twilio.open_twilio,
    outcome_of=twilio_answers.outcome_of,
    emulated=lambda place: (place.sms.twilio.account(), place.sms.twilio.auth_token),
    read=twilio_reports.read,
)
VONAGE = SmsVendor(
    name="vonage",
    given={
        "api_key": "abcd1234",
        "api_secret": "api-secret-" * 2,
        "from": "Parcels",
        "signature_secret": "signed-with-this",
    },
    secrets=("api_secret", "signature_secret"),
    parse=vonage.parse_vonage_account,
    error=vonage.VonageAccountError,
    open=vonage.open_vonage,
    outcome_of=vonage_answers.outcome_of,
    emulated=lambda place: (place.sms.vonage.account(), place.sms.vonage.signature_secret),
    read=vonage_reports.read,
)
each_vendor = pytest.mark.parametrize("vendor", (TWILIO, VONAGE), ids=lambda vendor: vendor.name)
