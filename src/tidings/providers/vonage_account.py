"""What Vonage is called with: an API key, its secret and a sender, parsed and checked."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tidings.discreet import Discreet
from tidings.providers.sms_account import SmsAccount, check_sms_calls
from tidings.providers.sms_overrides import SENDER

URL = "https://rest.nexmo.com"

_KEY = re.compile(r"[0-9a-zA-Z]{1,32}")
_SENDER = re.compile(SENDER)


class VonageAccountError(ValueError):
    """The account can't be used; the text is one sentence for the person who configures it."""


class VonageAccount(SmsAccount, frozen=True, kw_only=True):
    """One API key at Vonage (SMS API). repr() shows no secret.

    `signature_secret`: of the dashboard's API settings; signed reports are checked with it, and without it
    reports are refused. `from_`: a number, short code or name. The rest: see `SmsAccount`.
    """

    api_key: str
    api_secret: str
    from_: str
    signature_secret: str = ""
    base_url: str = URL

    def __repr__(self) -> str:
        return f"VonageAccount({self.api_key!r}, sender={self.from_!r}, emulated={self.emulated})"


class _Given(Discreet, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """What an operator may write; the rest of an account is not theirs to choose."""

    api_key: str
    api_secret: str
    from_: str
    signature_secret: str = ""
    max_segments: int = 10
    smart: bool = True


def parse_vonage_account(raw: bytes | str | Mapping[str, Any]) -> VonageAccount:
    """The account from JSON text, or from the object it holds: `api_key`, `api_secret`, `from`, and if wanted
    `signature_secret`, `max_segments`, `smart`.

    VonageAccountError names the field that is missing, bad or unknown, and never quotes a value.
    """
    try:
        given = msgspec.convert(dict(raw) if isinstance(raw, Mapping) else msgspec.json.decode(raw), _Given)
    except msgspec.ValidationError as error:
        raise VonageAccountError(f"the Vonage account: {error}") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise VonageAccountError("the Vonage account is not valid JSON") from error
    account = VonageAccount(
        api_key=given.api_key.strip(),
        api_secret=given.api_secret.strip(),
        from_=given.from_.strip(),
        signature_secret=given.signature_secret.strip(),
        max_segments=given.max_segments,
        smart=given.smart,
    )
    check(account)
    return account


def check(account: VonageAccount) -> None:
    """Refuse an account that can't work, before any call. VonageAccountError or ValueError: one sentence."""
    if not _KEY.fullmatch(account.api_key):
        raise VonageAccountError("api_key of the Vonage account must be letters and digits, as the dashboard shows it")
    if not account.api_secret:
        raise VonageAccountError("api_secret of the Vonage account must not be empty")
    if not _SENDER.fullmatch(account.from_):
        raise VonageAccountError(
            "from of the Vonage account must be a number like +447700900000, a short code, "
            "or a name of at most 11 letters and digits"
        )
    if not 1 <= account.max_segments <= 10:
        raise VonageAccountError("max_segments of the Vonage account must be 1 to 10")
    check_sms_calls(account, URL, "the API secret travels over it")
