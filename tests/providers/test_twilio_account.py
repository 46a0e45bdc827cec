"""Which Twilio accounts can be used: Twilio's own fields. What all SMS accounts have is in test_sms_account.py."""

from typing import Any

import pytest

from tests.providers.sms_vendors import TWILIO
from tidings.providers.twilio import TwilioAccount, TwilioAccountError, parse_twilio_account

SID, TOKEN = TWILIO.given["account_sid"], TWILIO.given["auth_token"]
GOOD: dict[str, Any] = {"account_sid": SID, "auth_token": TOKEN, "from": "+15005550006"}


def test_the_least_that_an_account_needs() -> None:
    account = parse_twilio_account(GOOD)
    assert account == TwilioAccount(account_sid=SID, auth_token=TOKEN, from_="+15005550006")
    assert account.base_url == "https://api.twilio.com"


def test_a_region_has_its_own_host() -> None:
    account = parse_twilio_account(GOOD | {"region": "ie1", "edge": "dublin"})
    assert account.base_url == "https://api.dublin.ie1.twilio.com"
    assert parse_twilio_account(GOOD | {"edge": "sydney"}).base_url == "https://api.sydney.us1.twilio.com"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"account_sid": "SK" + "0" * 32}, "account_sid"),
        ({"account_sid": None}, "account_sid"),
        ({"auth_token": ""}, "auth_token"),
        ({"messaging_service_sid": "MG1"}, "messaging_service_sid"),
        ({"api_key_sid": "SK" + "0" * 32}, "api_key_secret"),
        ({"api_key_secret": "x"}, "api_key_sid"),
        ({"api_key_sid": "AC", "api_key_secret": "x"}, "api_key_sid"),
        ({"region": "evil.example.org/", "edge": "dublin"}, "region"),
        ({"region": "ie1", "edge": "a.b"}, "edge"),
        ({"region": "ie1"}, "edge"),
    ],
)
def test_what_is_refused_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(TwilioAccountError, match=named) as caught:
        parse_twilio_account(GOOD | changes)
    assert TOKEN not in str(caught.value)
