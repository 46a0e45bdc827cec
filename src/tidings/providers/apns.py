"""Apple Push Notification service, HTTP/2 provider API: one message, one call.

`docs/providers/apns.md` says how to configure it and what each answer leads to.
"""

import time
from collections.abc import Callable
from functools import partial

from pyreqwest.request import RequestBody, StreamRequest

from tidings.clock import now
from tidings.http import Answer, Failure
from tidings.providers.apns_account import ApnsAccount, ApnsAccountError, check, parse_apns_account
from tidings.providers.apns_answers import Then, outcome_of, outcome_of_failure, read, row_for
from tidings.providers.apns_connections import Connection, Connections, is_sent_away, open_client
from tidings.providers.apns_message import Push, build
from tidings.providers.apns_token import ProviderToken, ProviderTokens
from tidings.providers.contract import Message, Outcome, Sent
from tidings.providers.quoted import quotable

REPEATS_REST_S = 60.0
"""After a repeat met a 5xx too: no more of them for that long, so that an ailing APNs gets no double load."""

SENT_AWAY_AT_MOST = 2
"""How often one message follows APNs to another connection before it is left to the worker."""

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
        open_one = partial(open_client, account)
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
        """One call, and one repeat where APNs sends it to another connection or its answer asks for it (see
        `Then`). Repeating is safe for the person who is notified: `apns-id`, collapse id and payload are the
        same."""
        push = build(message, self._account)
        if not isinstance(push, Push):
            return push
        connections = self._connections[push.bundle_id]
        token = self._tokens.current() if self._tokens is not None else None
        connection = connections.next()
        answer = await connection.call(self._request(connection, push, token))
        for _ in range(SENT_AWAY_AT_MOST):
            if not (isinstance(answer, Failure) and is_sent_away(answer)):
                break
            answer = await connection.call(self._request(connection, push, token))
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
        second = await following.call(self._request(following, push, token))
        if then is Then.AGAIN and isinstance(second, Answer) and second.status >= 500:
            self._repeat_from = self._monotonic() + REPEATS_REST_S
        return second, token

    def _request(self, connection: Connection, push: Push, token: ProviderToken | None) -> StreamRequest:
        authorization = "" if token is None else token.value
        key = (authorization, push.topic, push.push_type, push.priority)
        prepared = connection.prepared.get(key)
        if prepared is None:
            prepared = self._prepare(connection, key)
        request = prepared.copy()
        request.url = self._prefix + push.token
        # Marked so, a value never enters the connection's compression table: each is used once, and Apple
        # asks to keep the path and the token out of it.
        insert = request.headers.insert
        insert("apns-id", push.apns_id, is_sensitive=True)
        insert("apns-expiration", push.expiration, is_sensitive=True)
        if push.collapse_id is not None:
            insert("apns-collapse-id", push.collapse_id, is_sensitive=True)
        request.body = RequestBody.from_bytes(push.payload)
        return request

    def _prepare(self, connection: Connection, key: tuple[str, str, str, str]) -> StreamRequest:
        """The part of a request that is the same for many: the cheapest way to one is then a copy."""
        authorization, topic, push_type, priority = key
        if len(connection.prepared) >= _PREPARED_AT_MOST:
            connection.prepared.clear()
        builder = connection.client.post(self._prefix)
        if authorization:
            builder = builder.header("authorization", f"bearer {authorization}", is_sensitive=True)
        prepared = (
            builder.header("apns-topic", topic)
            .header("apns-push-type", push_type)
            .header("apns-priority", priority)
            .build_streamed()
        )
        connection.prepared[key] = prepared
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
