"""What sending by any SMS vendor has in common: one text message is one call, a form that is posted.

A vendor's own module says where to (`Vendor`), how a message becomes a form, and what the answer means.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from pyreqwest.client import Client
from pyreqwest.request import RequestBody, StreamRequest

from tidings.clock import now
from tidings.discreet import Discreet
from tidings.http import Answer, Failure, exchange, open_client
from tidings.providers.contract import Message, Outcome
from tidings.providers.quoted import quotable
from tidings.providers.sms_account import SmsAccount
from tidings.providers.sms_message import Sms, build
from tidings.providers.sms_verdict import outcome_of_failure

_KEPT_HEADERS = ("retry-after",)


class OutcomeOf(Protocol):
    """What an answer means. `secrets` are masked in what the outcome quotes, and only then asked for.

    `own_sender`: the notification named its sender itself. `floor_s`: see `sms_verdict.outcome`.
    """

    def __call__(
        self,
        answer: Answer,
        secrets: Callable[[], tuple[str, ...]],
        now: datetime,
        *,
        own_sender: bool,
        floor_s: float,
    ) -> Outcome: ...


class Vendor(Discreet, frozen=True):
    """What is one vendor's own. `url`: where messages are posted. `authorization`: the header, "" when the form holds
    the credentials. `form`: the body for one message. `secrets`: of the account, which nothing may quote."""

    name: str
    url: str
    form: Callable[[Sms, Message], bytes]
    outcome_of: OutcomeOf
    secrets: tuple[str, ...]
    authorization: str = ""


class SmsProvider:
    """See `contract.Provider`. Open it with `open_sms`; use it from one event loop."""

    def __init__(self, account: SmsAccount, vendor: Vendor, clients: tuple[Client, ...]) -> None:
        self._account = account
        self._vendor = vendor
        self._clients = clients
        # The cheapest way to a request is a copy of a prepared one.
        self._requests = tuple(_prepared(client, vendor) for client in clients)
        self._turn = 0

    @property
    def name(self) -> str:
        return self._vendor.name

    @property
    def emulated(self) -> bool:
        return self._account.emulated

    async def send(self, message: Message) -> Outcome:
        """One call. Repeating is NOT safe for the person who is notified: no SMS vendor has an idempotency key, and a
        repeat of what was taken arrives twice. So an outcome says `maybe_taken` wherever that can be."""
        account, vendor = self._account, self._vendor
        present = now()
        sms = build(message, present, account.max_segments, account.smart)
        if not isinstance(sms, Sms):
            return sms
        self._turn = (self._turn + 1) % len(self._requests)
        request = self._requests[self._turn].copy()
        request.body = RequestBody.from_bytes(vendor.form(sms, message))
        answer = await exchange(request, _KEPT_HEADERS)
        if isinstance(answer, Failure):
            return outcome_of_failure(answer, account.retry_floor_s)
        return vendor.outcome_of(
            answer,
            lambda: vendor.secrets + quotable(message),
            present,
            own_sender=bool(sms.sender),
            floor_s=account.retry_floor_s,
        )

    async def close(self) -> None:
        """Close the connections; calls under way end as `Retry(CONNECTION)`. Twice is safe."""
        for client in self._clients:
            await client.close()


def open_sms(account: SmsAccount, vendor: Vendor) -> SmsProvider:
    """A provider for an account that was checked. No call is made yet.

    Raises ValueError when `ca_pem` holds no certificate. Close it in the end.
    """
    clients = tuple(
        open_client(
            timeout_s=account.timeout_s,
            ca_pem=account.ca_pem,
            system_proxy=not account.emulated,
            default_headers={"content-type": "application/x-www-form-urlencoded"},
        )
        for _ in range(account.connections)
    )
    return SmsProvider(account, vendor, clients)


def _prepared(client: Client, vendor: Vendor) -> StreamRequest:
    request = client.post(vendor.url)
    if vendor.authorization:
        request = request.header("authorization", vendor.authorization, is_sensitive=True)
    return request.build_streamed()
