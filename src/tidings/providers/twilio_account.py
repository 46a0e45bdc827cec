"""What Twilio is called with: an account, its secret and a sender, parsed and checked."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tidings.discreet import Discreet
from tidings.providers.sms_account import SmsAccount, check_sms_calls
from tidings.providers.sms_overrides import SENDER

URL = "https://api.twilio.com"

_ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}")
_KEY = re.compile(r"SK[0-9a-fA-F]{32}")
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_PLACE = re.compile(r"[a-z0-9-]{1,32}")
_SENDER = re.compile(SENDER)


class TwilioAccountError(ValueError):
    """The account can't be used; the text is one sentence for the person who configures it."""


class TwilioAccount(SmsAccount, frozen=True, kw_only=True):
    """One account at Twilio. repr() shows no secret.

    `auth_token`: the primary one; Twilio signs its reports with it. `api_key_sid`, `api_key_secret`: to send
    with instead of it. `from_`: a number, short code or name; or `messaging_service_sid`, which then chooses
    the sender. The rest: see `SmsAccount`.
    """

    account_sid: str
    auth_token: str
    from_: str = ""
    messaging_service_sid: str = ""
    api_key_sid: str = ""
    api_key_secret: str = ""
    base_url: str = URL

    def __repr__(self) -> str:
        sender = self.messaging_service_sid or self.from_
        return f"TwilioAccount({self.account_sid!r}, sender={sender!r}, emulated={self.emulated})"


class _Given(Discreet, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """What an operator may write; the rest of an account is not theirs to choose."""

    account_sid: str
    auth_token: str
    from_: str = ""
    messaging_service_sid: str = ""
    api_key_sid: str = ""
    api_key_secret: str = ""
    region: str = ""
    edge: str = ""
    max_segments: int = 10
    smart: bool = True


def parse_twilio_account(raw: bytes | str | Mapping[str, Any]) -> TwilioAccount:
    """The account from JSON text, or from the object it holds: `account_sid`, `auth_token`, `from` or
    `messaging_service_sid`, and if wanted `api_key_sid` with `api_key_secret`, `region` with `edge`,
    `max_segments`, `smart`.

    TwilioAccountError names the field that is missing, bad or unknown, and never quotes a value.
    """
    try:
        given = msgspec.convert(dict(raw) if isinstance(raw, Mapping) else msgspec.json.decode(raw), _Given)
    except msgspec.ValidationError as error:
        raise TwilioAccountError(f"the Twilio account: {error}") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise TwilioAccountError("the Twilio account is not valid JSON") from error
    account = TwilioAccount(
        account_sid=given.account_sid.strip(),
        auth_token=given.auth_token.strip(),
        from_=given.from_.strip(),
        messaging_service_sid=given.messaging_service_sid.strip(),
        api_key_sid=given.api_key_sid.strip(),
        api_key_secret=given.api_key_secret.strip(),
        base_url=_host(given.region.strip(), given.edge.strip()),
        max_segments=given.max_segments,
        smart=given.smart,
    )
    check(account)
    return account


def check(account: TwilioAccount) -> None:
    """Refuse an account that can't work, before any call. TwilioAccountError or ValueError: one sentence."""
    if not _ACCOUNT.fullmatch(account.account_sid):
        raise TwilioAccountError("account_sid of the Twilio account must be AC and 32 hexadecimal digits")
    if not account.auth_token:
        raise TwilioAccountError("auth_token is missing from the Twilio account; its reports are signed with it")
    if bool(account.api_key_sid) != bool(account.api_key_secret):
        raise TwilioAccountError("give both api_key_sid and api_key_secret of the Twilio account, or neither")
    if account.api_key_sid and not _KEY.fullmatch(account.api_key_sid):
        raise TwilioAccountError("api_key_sid of the Twilio account must be SK and 32 hexadecimal digits")
    if not account.from_ and not account.messaging_service_sid:
        raise TwilioAccountError("the Twilio account needs a sender: from or messaging_service_sid")
    if account.messaging_service_sid and not _SERVICE.fullmatch(account.messaging_service_sid):
        raise TwilioAccountError("messaging_service_sid of the Twilio account must be MG and 32 hexadecimal digits")
    if account.from_ and not _SENDER.fullmatch(account.from_):
        raise TwilioAccountError(
            "from of the Twilio account must be a number like +15005550006, a short code, "
            "or a name of at most 11 letters and digits"
        )
    if not 1 <= account.max_segments <= 10:
        raise TwilioAccountError("max_segments of the Twilio account must be 1 to 10")
    check_sms_calls(account, URL, "the auth token travels over it")


def _host(region: str, edge: str) -> str:
    """Twilio, "Global infrastructure": api.<edge>.<region>.twilio.com; us1 is the region of an edge alone."""
    if not region and not edge:
        return URL
    for name, value in (("region", region or "us1"), ("edge", edge)):
        if not _PLACE.fullmatch(value):
            raise TwilioAccountError(
                f"{name} of the Twilio account must be a name such as ie1 (region) or dublin (edge)"
            )
    return f"https://api.{edge}.{region or 'us1'}.twilio.com"
