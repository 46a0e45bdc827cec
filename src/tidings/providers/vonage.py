"""SMS through Vonage's SMS API: one text message, one call.

`docs/providers/vonage.md` says how to configure it and what each answer leads to.
"""

from urllib.parse import quote_plus, urlencode

from pyreqwest.client import Client
from pyreqwest.request import RequestBody

from tidings.clock import now
from tidings.http import Failure, exchange, open_client
from tidings.providers.contract import Message, Outcome
from tidings.providers.quoted import quotable
from tidings.providers.sms_message import Sms, build
from tidings.providers.sms_verdict import outcome_of_failure
from tidings.providers.vonage_account import VonageAccount, VonageAccountError, check, parse_vonage_account
from tidings.providers.vonage_answers import outcome_of

USUAL_TTL_S = 259_200
LEAST_TTL_S = 20
"""Vonage, "SMS API reference": `ttl` is 20,000 ms at least, and three days unless it is given."""

MAX_CALLBACK = 100
MAX_CLIENT_REF = 100
"""Longer ones are refused, or cut, by Vonage. Without them the reports go where the dashboard says."""

_KEPT_HEADERS = ("retry-after",)


class VonageProvider:
    """See `contract.Provider`. Open it with `open_vonage`; use it from one event loop."""

    def __init__(self, account: VonageAccount, clients: tuple[Client, ...]) -> None:
        self._account = account
        self._clients = clients
        url = f"{account.base_url.rstrip('/')}/sms/json"
        self._requests = tuple(client.post(url).build_streamed() for client in clients)
        self._credentials = urlencode({"api_key": account.api_key, "api_secret": account.api_secret})
        self._sender = _sender(account.from_)
        self._secrets = (account.api_secret, account.signature_secret)
        self._turn = 0

    @property
    def name(self) -> str:
        return "vonage"

    @property
    def emulated(self) -> bool:
        return self._account.emulated

    async def send(self, message: Message) -> Outcome:
        """One call. Repeating is NOT safe for the person who is notified: Vonage has no idempotency key, and a
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
        sender = _sender(sms.sender) if sms.sender else self._sender
        form = f"{self._credentials}&from={sender}&to={sms.number[1:]}&text={quote_plus(sms.text.value)}"
        if sms.text.unicode:
            form += "&type=unicode"
        if sms.left_s < USUAL_TTL_S:
            form += f"&ttl={max(LEAST_TTL_S, sms.left_s) * 1000}"
        if message.reports_url is not None and 0 < len(message.reference) <= MAX_CLIENT_REF:
            form += f"&status-report-req=1&client-ref={quote_plus(message.reference)}"
            if len(message.reports_url) <= MAX_CALLBACK:
                form += f"&callback={quote_plus(message.reports_url)}"
        return form.encode()


async def open_vonage(account: VonageAccount) -> VonageProvider:
    """A provider for `account`. No call is made yet.

    Raises VonageAccountError or ValueError: one sentence for who configures it. Close it in the end.
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
    return VonageProvider(account, clients)


def _sender(text: str) -> str:
    return quote_plus(text.removeprefix("+"))  # Vonage writes numbers without the plus


__all__ = ["VonageAccount", "VonageAccountError", "VonageProvider", "open_vonage", "parse_vonage_account"]
