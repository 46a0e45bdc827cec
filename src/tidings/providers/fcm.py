"""Firebase Cloud Messaging, HTTP v1 (`projects.messages.send`): one message, one call, over HTTP/2.

`docs/providers/fcm.md` says how to configure it and what each answer leads to.
"""

from urllib.parse import quote

from msgspec import Struct

from tidings.clock import now
from tidings.discreet import Discreet
from tidings.http import Answer, Client, Failure, Request, open_client, request
from tidings.providers.account_checks import check_base_url, check_calls
from tidings.providers.contract import Message, Outcome, Paused, Reason, Rejected
from tidings.providers.fcm_account import ServiceAccount, ServiceAccountError, check_token_uri
from tidings.providers.fcm_answers import (
    RETRY_FLOOR_S,
    is_access_refused,
    outcome_of,
    outcome_of_failure,
)
from tidings.providers.fcm_message import MAX_PAYLOAD_BYTES, build, payload_size
from tidings.providers.fcm_oauth import Token, TokenSource
from tidings.providers.quoted import quotable

URL = "https://fcm.googleapis.com"
TOKEN_TIMEOUT_S = 10.0
_KEPT_HEADERS = ("retry-after",)


class FcmAccount(Struct, frozen=True):
    """One Firebase project to send with.

    `base_url`: without a path; http only for the emulator. `ca_pem`: more roots to trust, PEM.
    `timeout_s`: for one call; FCM's own calls take up to 10 s, so less loses answers.
    `retry_floor_s`: the least wait before a repeat when FCM names none (it asks for 10 s).
    `connections`: how many HTTP/2 connections share the calls. A peer allows so many calls at once on each
    (FCM about 100); more calls wait their turn within `timeout_s`.
    """

    service_account: ServiceAccount
    base_url: str = URL
    ca_pem: bytes | None = None
    emulated: bool = False
    timeout_s: float = 15.0
    retry_floor_s: float = RETRY_FLOOR_S
    connections: int = 2


class _Prepared(Discreet, frozen=True):
    """The request without its body, for one token."""

    token: Token
    request: Request


class FcmProvider:
    """See `contract.Provider`. Open it with `open_fcm`; use it from one event loop."""

    def __init__(
        self, account: FcmAccount, clients: tuple[Client, ...], token_client: Client, tokens: TokenSource
    ) -> None:
        project = quote(account.service_account.project_id, safe=":")
        self._url = f"{account.base_url.rstrip('/')}/v1/projects/{project}/messages:send"
        self._account = account
        self._clients = clients
        self._token_client = token_client
        self._tokens = tokens
        self._prepared: _Prepared | None = None
        self._turn = 0

    @property
    def name(self) -> str:
        return "fcm"

    @property
    def emulated(self) -> bool:
        return self._account.emulated

    async def send(self, message: Message) -> Outcome:
        """One call (two when the access token was refused). Repeating is safe for the person who is notified:
        the tag, collapse key and data are the same; FCM itself has no idempotency key."""
        body = build(message)
        if len(body) > MAX_PAYLOAD_BYTES and (size := payload_size(body)) > MAX_PAYLOAD_BYTES:
            return Rejected(Reason.MESSAGE_TOO_BIG, f"{size} bytes of payload, FCM takes {MAX_PAYLOAD_BYTES}")
        token = self._tokens.ready() or await self._tokens.token()
        if not isinstance(token, Token):
            return token
        answer = await self._post(token, body)
        if isinstance(answer, Answer) and answer.status == 401 and is_access_refused(answer):
            token = await self._tokens.replace(token)
            if not isinstance(token, Token):
                return token
            answer = await self._post(token, body)
            if isinstance(answer, Answer) and is_access_refused(answer):
                self._tokens.refuse(token, Paused(Reason.CREDENTIALS, "FCM refuses access tokens just issued"))
        if isinstance(answer, Failure):
            return outcome_of_failure(answer, self._account.retry_floor_s)
        hidden: tuple[str, ...] = (message.address, token.value)
        if answer.status != 200:  # FCM quotes what it does not like
            hidden += quotable(message)
        return outcome_of(answer, hidden, now(), self._account.retry_floor_s)

    async def close(self) -> None:
        """Close the connections; calls under way end as `Retry(CONNECTION)`. Twice is safe."""
        for client in (*self._clients, self._token_client):
            await client.close()
        await self._tokens.close()

    async def _post(self, token: Token, body: bytes) -> Answer | Failure:
        prepared = self._prepared
        if prepared is None or prepared.token is not token:
            headers = {"authorization": f"Bearer {token.value}", "content-type": "application/json"}
            prepared = self._prepared = _Prepared(token, request("POST", self._url, headers))
        self._turn = (self._turn + 1) % len(self._clients)
        return await self._clients[self._turn].send(prepared.request, body, keep=_KEPT_HEADERS, plain=200)


async def open_fcm(account: FcmAccount) -> FcmProvider:
    """A provider for `account`. No call is made yet: the first send fetches the access token.

    Raises ServiceAccountError or ValueError: one sentence for who configures it. Close it in the end.
    """
    _check(account)
    proxied = not account.emulated
    clients = tuple(
        open_client(timeout_s=account.timeout_s, ca_pem=account.ca_pem, http2_only=True, system_proxy=proxied)
        for _ in range(account.connections)
    )
    token_client = open_client(timeout_s=TOKEN_TIMEOUT_S, ca_pem=account.ca_pem, system_proxy=proxied)
    return FcmProvider(account, clients, token_client, TokenSource(account.service_account, token_client))


def _check(account: FcmAccount) -> None:
    because = "access tokens and device tokens travel over it"
    check_base_url(account.base_url, URL, emulated=account.emulated, because=because)
    if not account.emulated:
        check_token_uri(account.service_account)
    check_calls(timeout_s=account.timeout_s, connections=account.connections)


__all__ = ["FcmAccount", "FcmProvider", "ServiceAccount", "ServiceAccountError", "open_fcm"]
