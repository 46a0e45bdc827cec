"""Which Vonage accounts can be used: Vonage's own fields. What all SMS accounts have is in test_sms_account.py."""

from typing import Any

import pytest

from tests.providers.sms_vendors import VONAGE
from tidings.providers.vonage import VonageAccount, VonageAccountError, parse_vonage_account

SECRET = VONAGE.given["api_secret"]
GOOD: dict[str, Any] = {"api_key": "abcd1234", "api_secret": SECRET, "from": "Parcels"}


def test_the_least_that_an_account_needs() -> None:
    account = parse_vonage_account(GOOD)
    assert account == VonageAccount(api_key="abcd1234", api_secret=SECRET, from_="Parcels")
    assert account.base_url == "https://rest.nexmo.com"
    assert account != parse_vonage_account(GOOD | {"signature_secret": "signed-with-this"})


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"api_key": "a b"}, "api_key"), ({"api_key": 1}, "api_key"), ({"api_secret": " "}, "api_secret")],
)
def test_what_is_refused_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(VonageAccountError, match=named) as caught:
        parse_vonage_account(GOOD | changes)
    assert SECRET not in str(caught.value)
