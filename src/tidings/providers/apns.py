"""Apple Push Notification service, HTTP/2 provider API: one message, one call.

`docs/providers/apns.md` says how to configure it and what each answer leads to.
"""

import time
from collections.abc import Callable
from functools import partial

from tidings.clock import now
from tidings.http import Answer, Failure, Request, extended, open_client, request
from tidings.providers.apns_account import ApnsAccount, ApnsAccountError, check, identity, parse_apns_account
from tidings.providers.apns_answers import Then, outcome_of, outcome_of_failure, read, row_for
from tidings.providers.apns_connections import Connection, Connections
from tidings.providers.apns_message import Push, build
from tidings.providers.apns_token import ProviderToken, ProviderTokens
from tidings.providers.contract import Message, Outcome, Sent
from tidings.providers.quoted import quotable

REPEATS_REST_S = 60.0
"""After a repeat met a 5xx too: no more of them for that long, so that an ailing APNs gets no double load."""

_PREPARED_AT_MOST = 64


class ApnsProvider:
    """See `contract.Provider`. Open it with `open_apns`; use it from one event loop."""

    def __init__(
        self,
        account: ApnsAccount,
        tokens: ProviderTokens | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tokens` None: the account has a certificate."""
        self._account = account
        self._tokens = tokens
        self._monotonic = monotonic
        self._prefix = f"{account.url}/3/device/"
        self._repeat_from = float("-inf")
        self._prepared: dict[tuple[str, str, str, str], Request] = {}
        open_one = partial(
            open_client,
            timeout_s=account.timeout_s,
            ca_pem=account.ca_pem,
            certificate_pem=identity(account),
            http2_only=True,
            system_proxy=not account.emulated,
            keep_idle=True,
        )
        self._connections = {
            bundle_id: Connections(open_one, account.connections, monotonic)
            for bundle_id in (account.topic, *account.more_topics)
        }

    @property
    def name(self) -> str:
        return "apns"

    @property
    def emulated(self) -> bool:
        return self._account.emulated

    async def send(self, message: Message) -> Outcome:
        """One call, and one repeat where its answer asks for it (see `Then`). Repeating is safe for the person who is
        notified: `apns-id`, collapse id and payload are the same."""
        push = build(message, self._account)
        if not isinstance(push, Push):
            return push
        connections = self._connections[push.bundle_id]
        token = self._tokens.current() if self._tokens is not None else None
        connection = connections.next()
        answer = await connection.call(self._request(push, token), push.payload)
        if isinstance(answer, Answer) and answer.status == 200:
            return Sent(push.apns_id)  # which its answer repeats
        if isinstance(answer, Answer):
            then = row_for(read(answer)).then
            if then is not Then.NOTHING:
                answer, token = await self._again(then, answer, push, connection, token)
        if isinstance(answer, Failure):
            return outcome_of_failure(answer)
        secrets: tuple[str, ...] = (push.token, token.value) if token is not None else (push.token,)
        if answer.status != 200:
            secrets += quotable(message)
        return outcome_of(answer, secrets, now(), self._account.unavailable_wait_s)

    async def close(self) -> None:
        """Close the connections; calls under way end as `Retry(CONNECTION)`. Twice is safe."""
        for connections in self._connections.values():
            await connections.close()

    async def _again(
        self, then: Then, answer: Answer, push: Push, connection: Connection, token: ProviderToken | None
    ) -> tuple[Answer | Failure, ProviderToken | None]:
        """What the first answer asks for: the answer that counts, and the token it was got with."""
        connections = self._connections[push.bundle_id]
        following: Connection | None = connection
        match then:
            case Then.SIGN_ANEW if token is not None and self._tokens is not None:
                renewed = self._tokens.replace(token)
                following, token = (None, token) if renewed is None else (connection, renewed)
            case Then.NEW_CONNECTION:
                following = connections.replace(connection)
            case Then.AGAIN:
                following = connections.next() if self._monotonic() >= self._repeat_from else None
            case _:
                connections.replace(connection)
                following = None
        if following is None:
            return answer, token
        second = await following.call(self._request(push, token), push.payload)
        if then is Then.AGAIN and isinstance(second, Answer) and second.status >= 500:
            self._repeat_from = self._monotonic() + REPEATS_REST_S
        return second, token

    def _request(self, push: Push, token: ProviderToken | None) -> Request:
        authorization = "" if token is None else token.value
        key = (authorization, push.topic, push.push_type, push.priority)
        prepared = self._prepared.get(key) or self._prepare(key)
        own = {"apns-id": push.apns_id, "apns-expiration": push.expiration}
        if push.collapse_id is not None:
            own["apns-collapse-id"] = push.collapse_id
        return extended(prepared, self._prefix + push.token, own)

    def _prepare(self, key: tuple[str, str, str, str]) -> Request:
        """The part of a request that is the same for many."""
        authorization, topic, push_type, priority = key
        if len(self._prepared) >= _PREPARED_AT_MOST:
            self._prepared.clear()
        headers = {"apns-topic": topic, "apns-push-type": push_type, "apns-priority": priority}
        if authorization:
            headers["authorization"] = f"bearer {authorization}"
        prepared = self._prepared[key] = request("POST", self._prefix, headers)
        return prepared


async def open_apns(account: ApnsAccount) -> ApnsProvider:
    """A provider for `account`. No connection is made yet: the first send does.

    Raises ApnsAccountError or ValueError: one sentence for who configures it. Close it in the end.
    """
    check(account)
    if account.expires_at is not None and account.expires_at <= now():
        raise ApnsAccountError(
            f"the certificate of the APNs account ended on {account.expires_at:%Y-%m-%d}: make a new one"
        )
    return ApnsProvider(account, ProviderTokens(account) if account.private_key else None)


__all__ = ["ApnsAccount", "ApnsAccountError", "ApnsProvider", "open_apns", "parse_apns_account"]
