"""What sending by any SMS vendor has in common: one text message is one call, a form that is posted.

A vendor's own module says where to (`Vendor`), how a message becomes a form, and what the answer means.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from tidings.clock import now
from tidings.discreet import Discreet
from tidings.http import Answer, Client, Failure, open_client, request
from tidings.providers.contract import Message, Outcome
from tidings.providers.quoted import quotable
from tidings.providers.sms_account import SmsAccount
from tidings.providers.sms_message import Sms, build
from tidings.providers.sms_verdict import outcome_of_failure

_KEPT_HEADERS = ("retry-after",)
_CALLS = 128  # for each of the account's connections: a vendor without HTTP/2 takes one call at a time on each


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

    def __init__(self, account: SmsAccount, vendor: Vendor, client: Client) -> None:
        self._account = account
        self._vendor = vendor
        self._client = client
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if vendor.authorization:
            headers["authorization"] = vendor.authorization
        self._request = request("POST", vendor.url, headers)

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
        answer = await self._client.send(self._request, vendor.form(sms, message), keep=_KEPT_HEADERS)
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
        await self._client.close()


def open_sms(account: SmsAccount, vendor: Vendor) -> SmsProvider:
    """A provider for an account that was checked. No call is made yet.

    Raises ValueError when `ca_pem` holds no certificate. Close it in the end.
    """
    client = open_client(
        timeout_s=account.timeout_s,
        ca_pem=account.ca_pem,
        system_proxy=not account.emulated,
        connections=account.connections * _CALLS,
    )
    return SmsProvider(account, vendor, client)
