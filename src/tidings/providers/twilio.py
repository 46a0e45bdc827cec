"""SMS through Twilio's Messages API: one text message, one call.

`docs/providers/twilio.md` says how to configure it and what each answer leads to.
"""

from base64 import b64encode
from urllib.parse import quote, quote_plus, urlencode

from pyreqwest.client import Client
from pyreqwest.request import RequestBody

from tidings.clock import now
from tidings.http import Failure, exchange, open_client
from tidings.providers.contract import Message, Outcome
from tidings.providers.quoted import quotable
from tidings.providers.sms_message import Sms, build
from tidings.providers.sms_verdict import outcome_of_failure
from tidings.providers.twilio_account import TwilioAccount, TwilioAccountError, check, parse_twilio_account
from tidings.providers.twilio_answers import outcome_of

LONGEST_VALIDITY_S = 36_000
LEAST_VALIDITY_S = 5
"""Twilio, "Message resource": ValidityPeriod is 1 to 36,000 s, and under 5 it can't be kept."""

_KEPT_HEADERS = ("retry-after",)


class TwilioProvider:
    """See `contract.Provider`. Open it with `open_twilio`; use it from one event loop."""

    def __init__(self, account: TwilioAccount, clients: tuple[Client, ...]) -> None:
        self._account = account
        self._clients = clients
        url = f"{account.base_url.rstrip('/')}/2010-04-01/Accounts/{account.account_sid}/Messages.json"
        user = f"{account.api_key_sid or account.account_sid}:{account.api_key_secret or account.auth_token}"
        basic = b64encode(user.encode()).decode()
        authorization = f"Basic {basic}"
        # The cheapest way to a request is a copy of a prepared one.
        self._requests = tuple(
            client.post(url).header("authorization", authorization, is_sensitive=True).build_streamed()
            for client in clients
        )
        service = account.messaging_service_sid
        senders = [("MessagingServiceSid", service)] if service else []
        senders += [("From", account.from_)] if account.from_ else []
        self._sender = urlencode(senders)
        self._secrets = (account.auth_token, account.api_key_secret, basic)
        self._turn = 0

    @property
    def name(self) -> str:
        return "twilio"

    @property
    def emulated(self) -> bool:
        return self._account.emulated

    async def send(self, message: Message) -> Outcome:
        """One call. Repeating is NOT safe for the person who is notified: Twilio has no idempotency key, and a
        repeat of what was taken arrives twice. So an outcome says `maybe_taken` wherever that can be."""
        account = self._account
        present = now()
        sms = build(message, present, account.max_segments, account.smart)
        if not isinstance(sms, Sms):
            return sms
        self._turn = (self._turn + 1) % len(self._requests)
        request = self._requests[self._turn].copy()
        request.body = RequestBody.from_bytes(self._form(sms, message))
        answer = await exchange(request, _KEPT_HEADERS)
        if isinstance(answer, Failure):
            return outcome_of_failure(answer, account.retry_floor_s)
        secrets = self._secrets + quotable(message)
        return outcome_of(answer, secrets, present, own_sender=bool(sms.sender), floor_s=account.retry_floor_s)

    async def close(self) -> None:
        """Close the connections; calls under way end as `Retry(CONNECTION)`. Twice is safe."""
        for client in self._clients:
            await client.close()

    def _form(self, sms: Sms, message: Message) -> bytes:
        sender = f"From={quote_plus(sms.sender)}" if sms.sender else self._sender
        form = f"To=%2B{sms.number[1:]}&{sender}&Body={quote_plus(sms.text.value)}"
        if sms.left_s < LONGEST_VALIDITY_S:
            form += f"&ValidityPeriod={max(LEAST_VALIDITY_S, sms.left_s)}"
        if message.reports_url is not None:
            form += f"&StatusCallback={quote_plus(callback_url(message.reports_url, message.reference))}"
        return form.encode()


def callback_url(reports_url: str, reference: str) -> str:
    """Where Twilio reports about one message: the reference travels as `ref`, and Twilio's signature covers it."""
    if not reference:
        return reports_url
    return f"{reports_url}{'&' if '?' in reports_url else '?'}ref={quote(reference, safe='')}"


async def open_twilio(account: TwilioAccount) -> TwilioProvider:
    """A provider for `account`. No call is made yet.

    Raises TwilioAccountError or ValueError: one sentence for who configures it. Close it in the end.
    """
    check(account)
    clients = tuple(
        open_client(
            timeout_s=account.timeout_s,
            ca_pem=account.ca_pem,
            system_proxy=not account.emulated,
            default_headers={"content-type": "application/x-www-form-urlencoded"},
        )
        for _ in range(account.connections)
    )
    return TwilioProvider(account, clients)


__all__ = ["TwilioAccount", "TwilioAccountError", "TwilioProvider", "open_twilio", "parse_twilio_account"]
