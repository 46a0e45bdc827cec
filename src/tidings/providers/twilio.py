"""SMS through Twilio's Messages API: one text message, one call.

`docs/providers/twilio.md` says how to configure it and what each answer leads to.
"""

from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlencode

from tidings.http import basic_auth
from tidings.providers.contract import Message
from tidings.providers.sms_calls import SmsProvider, Vendor, open_sms
from tidings.providers.sms_message import Sms
from tidings.providers.twilio_account import TwilioAccount, TwilioAccountError, check, parse_twilio_account
from tidings.providers.twilio_answers import outcome_of

LONGEST_VALIDITY_S = 36_000
LEAST_VALIDITY_S = 5
"""Twilio, "Message resource": ValidityPeriod is 1 to 36,000 s, and under 5 it can't be kept."""


def callback_url(reports_url: str, reference: str) -> str:
    """Where Twilio reports about one message: the reference travels as `ref`, and Twilio's signature covers it."""
    if not reference:
        return reports_url
    return f"{reports_url}{'&' if '?' in reports_url else '?'}ref={quote(reference, safe='')}"


async def open_twilio(account: TwilioAccount) -> SmsProvider:
    """A provider for `account`. No call is made yet.

    Raises TwilioAccountError or ValueError: one sentence for who configures it. Close it in the end.
    """
    check(account)
    basic = basic_auth(account.api_key_sid or account.account_sid, account.api_key_secret or account.auth_token)
    vendor = Vendor(
        name="twilio",
        url=f"{account.base_url.rstrip('/')}/2010-04-01/Accounts/{account.account_sid}/Messages.json",
        form=_form_of(account),
        outcome_of=outcome_of,
        secrets=(account.auth_token, account.api_key_secret, basic.removeprefix("Basic ")),
        authorization=basic,
    )
    return open_sms(account, vendor)


def _form_of(account: TwilioAccount) -> Callable[[Sms, Message], bytes]:
    """How a message becomes a form, with what is the same in all of them worked out once."""
    service = account.messaging_service_sid
    senders = [("MessagingServiceSid", service)] if service else []
    senders += [("From", account.from_)] if account.from_ else []
    usual = urlencode(senders)

    def form(sms: Sms, message: Message) -> bytes:
        sender = f"From={quote_plus(sms.sender)}" if sms.sender else usual
        text = f"To=%2B{sms.number[1:]}&{sender}&Body={quote_plus(sms.text.value)}"
        if sms.left_s < LONGEST_VALIDITY_S:
            text += f"&ValidityPeriod={max(LEAST_VALIDITY_S, sms.left_s)}"
        if message.reports_url is not None:
            text += f"&StatusCallback={quote_plus(callback_url(message.reports_url, message.reference))}"
        return text.encode()

    return form


__all__ = ["TwilioAccount", "TwilioAccountError", "open_twilio", "parse_twilio_account"]
