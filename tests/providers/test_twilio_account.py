"""Which Twilio accounts can be used, and that no word about them holds a secret."""

from typing import Any

import msgspec
import pytest

from tidings.providers.twilio import TwilioAccount, TwilioAccountError, open_twilio, parse_twilio_account

SID, TOKEN = "AC" + "0123456789abcdef" * 2, "the-auth-token-of-the-account"
GOOD: dict[str, Any] = {"account_sid": SID, "auth_token": TOKEN, "from": "+15005550006"}


def test_an_account_from_json_or_an_object() -> None:
    account = parse_twilio_account(msgspec.json.encode(GOOD))
    assert (
        account == parse_twilio_account(GOOD) == TwilioAccount(account_sid=SID, auth_token=TOKEN, from_="+15005550006")
    )
    assert account.base_url == "https://api.twilio.com"
    assert not account.emulated


def test_repr_shows_no_secret() -> None:
    account = parse_twilio_account(GOOD | {"api_key_sid": "SK" + "0" * 32, "api_key_secret": "key-secret"})
    assert TOKEN not in repr(account)
    assert "key-secret" not in repr(account)


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
        ({"from": ""}, "messaging_service_sid"),
        ({"from": "a name too long"}, "from"),
        ({"messaging_service_sid": "MG1"}, "messaging_service_sid"),
        ({"api_key_sid": "SK" + "0" * 32}, "api_key_secret"),
        ({"api_key_secret": "x"}, "api_key_sid"),
        ({"api_key_sid": "AC", "api_key_secret": "x"}, "api_key_sid"),
        ({"region": "evil.example.org/", "edge": "dublin"}, "region"),
        ({"region": "ie1", "edge": "a.b"}, "edge"),
        ({"region": "ie1"}, "edge"),
        ({"max_segments": 11}, "max_segments"),
        ({"base_url": "https://example.org"}, "base_url"),
    ],
)
def test_what_is_refused_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(TwilioAccountError) as caught:
        parse_twilio_account(GOOD | changes)
    assert named in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", "null", '{"account_sid": 1}'])
def test_what_is_no_account_at_all(raw: bytes | str) -> None:
    with pytest.raises(TwilioAccountError):
        parse_twilio_account(raw)


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "http://127.0.0.1:1"},
        {"base_url": "https://example.org/path"},
        {"base_url": "ftp://example.org", "emulated": True},
        {"connections": 0},
        {"timeout_s": 0},
    ],
)
async def test_what_only_the_program_sets_is_checked_too(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        await open_twilio(msgspec.structs.replace(parse_twilio_account(GOOD), **changes))
