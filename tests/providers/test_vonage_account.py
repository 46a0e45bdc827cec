"""Which Vonage accounts can be used, and that no word about them holds a secret."""

from typing import Any

import msgspec
import pytest

from tidings.providers.vonage import VonageAccount, VonageAccountError, open_vonage, parse_vonage_account

SECRET = "api-secret-" * 2
GOOD: dict[str, Any] = {"api_key": "abcd1234", "api_secret": SECRET, "from": "Parcels"}


def test_an_account_from_json_or_an_object() -> None:
    account = parse_vonage_account(msgspec.json.encode(GOOD))
    assert (
        account == parse_vonage_account(GOOD) == VonageAccount(api_key="abcd1234", api_secret=SECRET, from_="Parcels")
    )
    assert account.base_url == "https://rest.nexmo.com"
    signed = parse_vonage_account(GOOD | {"signature_secret": "signed-with-this"})
    assert signed != parse_vonage_account(GOOD)
    assert SECRET not in repr(signed)
    assert "signed-with-this" not in repr(signed)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"api_key": "a b"}, "api_key"),
        ({"api_key": 1}, "api_key"),
        ({"api_secret": " "}, "api_secret"),
        ({"from": ""}, "from"),
        ({"from": "a name too long"}, "from"),
        ({"max_segments": 0}, "max_segments"),
        ({"base_url": "https://example.org"}, "base_url"),
    ],
)
def test_what_is_refused_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(VonageAccountError) as caught:
        parse_vonage_account(GOOD | changes)
    assert named in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", "null", "{}"])
def test_what_is_no_account_at_all(raw: bytes | str) -> None:
    with pytest.raises(VonageAccountError):
        parse_vonage_account(raw)


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "http://127.0.0.1:1"},
        {"base_url": "https://example.org/path"},
        {"connections": 65},
        {"timeout_s": 121},
    ],
)
async def test_what_only_the_program_sets_is_checked_too(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        await open_vonage(msgspec.structs.replace(parse_vonage_account(GOOD), **changes))
