"""SMS through Vonage's SMS API: one text message, one call.

`docs/providers/vonage.md` says how to configure it and what each answer leads to.
"""

from collections.abc import Callable
from urllib.parse import quote_plus, urlencode

from tidings.providers.contract import Message
from tidings.providers.sms_calls import SmsProvider, Vendor, open_sms
from tidings.providers.sms_message import Sms
from tidings.providers.vonage_account import VonageAccount, VonageAccountError, check, parse_vonage_account
from tidings.providers.vonage_answers import outcome_of

USUAL_TTL_S = 259_200
LEAST_TTL_S = 20
"""Vonage, "SMS API reference": `ttl` is 20,000 ms at least, and three days unless it is given."""

MAX_CALLBACK = 100
MAX_CLIENT_REF = 100
"""Longer ones are refused, or cut, by Vonage. Without them the reports go where the dashboard says."""


async def open_vonage(account: VonageAccount) -> SmsProvider:
    """A provider for `account`. No call is made yet.

    Raises VonageAccountError or ValueError: one sentence for who configures it. Close it in the end.
    """
    check(account)
    vendor = Vendor(
        name="vonage",
        url=f"{account.base_url.rstrip('/')}/sms/json",
        form=_form_of(account),
        outcome_of=outcome_of,
        secrets=(account.api_secret, account.signature_secret),
    )
    return open_sms(account, vendor)


def _form_of(account: VonageAccount) -> Callable[[Sms, Message], bytes]:
    """How a message becomes a form, with what is the same in all of them worked out once."""
    credentials = urlencode({"api_key": account.api_key, "api_secret": account.api_secret})
    usual = _sender(account.from_)

    def form(sms: Sms, message: Message) -> bytes:
        sender = _sender(sms.sender) if sms.sender else usual
        text = f"{credentials}&from={sender}&to={sms.number[1:]}&text={quote_plus(sms.text.value)}"
        if sms.text.unicode:
            text += "&type=unicode"
        if sms.left_s < USUAL_TTL_S:
            text += f"&ttl={max(LEAST_TTL_S, sms.left_s) * 1000}"
        if message.reports_url is not None and 0 < len(message.reference) <= MAX_CLIENT_REF:
            text += f"&status-report-req=1&client-ref={quote_plus(message.reference)}"
            if len(message.reports_url) <= MAX_CALLBACK:
                text += f"&callback={quote_plus(message.reports_url)}"
        return text.encode()

    return form


def _sender(text: str) -> str:
    return quote_plus(text.removeprefix("+"))  # Vonage writes numbers without the plus


__all__ = ["VonageAccount", "VonageAccountError", "open_vonage", "parse_vonage_account"]
