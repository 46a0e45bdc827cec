"""The connections to APNs of one bundle id: kept for hours, and each tried with one call before it gets many.

APNs takes one request at a time on a new connection until it has answered one with a valid token ("Sending
notification requests to APNs"; it says so by SETTINGS_MAX_CONCURRENT_STREAMS). And it treats connecting over
and over as an attack, so a connection is replaced only for a reason, and not too often.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

from cryptography.x509 import load_pem_x509_certificates
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.request import StreamRequest

from tidings.http import CONNECT_TIMEOUT_S, PING_TIMEOUT_S, Answer, Failure, exchange
from tidings.providers.apns_account import ApnsAccount

PING_INTERVAL_S = 60.0
"""Also while nothing is sent: a connection that died unseen is found before the next push needs it."""

WARM_S = 30.0
"""How long after its last answer a connection counts as tried. The pool may have opened another one since."""

LEAST_BETWEEN_S = 10.0
"""Between two replacements in one place: APNs takes rapid connecting and disconnecting for an attack."""

# How the HTTP library words GOAWAY with NO_ERROR (RFC 9113 §6.8) and REFUSED_STREAM (§8.7); a test checks it.
_SENT_AWAY = ("not a result of an error", "refused stream")
_KEPT_HEADERS = ("apns-id", "retry-after")


class Connection:
    """One client with one HTTP/2 connection, in one of the places of `Connections`.

    `prepared`: what the provider keeps for it (see `apns.py`).
    """

    def __init__(self, client: Client, place: int, monotonic: Callable[[], float]) -> None:
        self.client = client
        self.place = place
        self.prepared: dict[tuple[str, ...], StreamRequest] = {}
        self._calls = 0
        self._drained: asyncio.Event | None = None
        self._monotonic = monotonic
        self._warm_until = float("-inf")
        self._breaks = 0
        self._probe: asyncio.Future[Answer | Failure | None] | None = None

    async def call(self, request: StreamRequest) -> Answer | Failure:
        """Send once. On a connection that is not tried yet, one call goes ahead and the others wait for it.

        When that one finds nobody there, or is refused with a 403, the waiting ones get the same answer
        without being sent (`maybe_sent` is False for them).
        """
        self._calls += 1
        try:
            while self._monotonic() >= self._warm_until:
                if self._probe is None:
                    return await self._go_ahead(request)
                # Shielded: a waiting call that is cancelled must not take the others' answer away.
                verdict = await asyncio.shield(self._probe)
                if verdict is not None:
                    return verdict
            breaks = self._breaks
            answer = await exchange(request, _KEPT_HEADERS, bodiless=200, plain=200)
            self._learn(answer, breaks)
            return answer
        finally:
            self._calls -= 1
            if self._drained is not None and not self._calls:
                self._drained.set()

    async def close_when_idle(self) -> None:
        """Close once no call is under way; all have their deadline. Cancelled, it closes at once."""
        self._drained = asyncio.Event()
        try:
            if self._calls:
                await self._drained.wait()
        finally:
            await self.client.close()

    async def _go_ahead(self, request: StreamRequest) -> Answer | Failure:
        self._probe = probe = asyncio.get_running_loop().create_future()
        verdict: Answer | Failure | None = None
        try:
            breaks = self._breaks
            answer = await exchange(request, _KEPT_HEADERS, bodiless=200, plain=200)
            self._learn(answer, breaks)
            if isinstance(answer, Failure):
                verdict = Failure(answer.timed_out, maybe_sent=False, detail=answer.detail)
            elif answer.status == 403:
                verdict = answer
            return answer
        finally:
            # None, also when this call was cancelled: whoever waits goes on, or goes ahead.
            self._probe = None
            probe.set_result(verdict)

    def _learn(self, answer: Answer | Failure, breaks: int) -> None:
        """`breaks`: how often the connection had broken when the call began."""
        if isinstance(answer, Failure):
            if not answer.timed_out:
                self._breaks += 1
                self._warm_until = float("-inf")
        elif answer.status != 403 and breaks == self._breaks:
            # A late answer over a connection that has broken since says nothing about the next one.
            self._warm_until = self._monotonic() + WARM_S


class Connections:
    """A fixed number of connections that take turns, each opened by `open_one` and by its first call."""

    def __init__(
        self, open_one: Callable[[], Client], count: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_one = open_one
        self._monotonic = monotonic
        self._all = [Connection(open_one(), place, monotonic) for place in range(count)]
        self._turn = 0
        self._replaced_at = [float("-inf")] * count
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def next(self) -> Connection:
        """The connection whose turn it is."""
        self._turn = (self._turn + 1) % len(self._all)
        return self._all[self._turn]

    def replace(self, connection: Connection) -> Connection | None:
        """A fresh connection in this one's place, which closes once its calls have ended.

        None when that was done moments ago (`LEAST_BETWEEN_S`). Who finds a connection bad that was replaced
        already gets the present one: a hundred calls cause one replacement.
        """
        place = connection.place
        if self._all[place] is not connection:
            return self._all[place]
        present = self._monotonic()
        if self._closed or present - self._replaced_at[place] < LEAST_BETWEEN_S:
            return None
        self._replaced_at[place] = present
        self._all[place] = Connection(self._open_one(), place, self._monotonic)
        closing = asyncio.create_task(connection.close_when_idle(), name="close an APNs connection")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return self._all[place]

    async def close(self) -> None:
        """Close all; calls under way end as a Failure. Twice is safe."""
        self._closed = True
        for connection in self._all:
            await connection.client.close()
        for closing in tuple(self._closing):
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)


def is_sent_away(failure: Failure) -> bool:
    """True when APNs asked for another connection instead of answering: GOAWAY, or too many streams.

    What came after the GOAWAY's last stream was not taken. A call before it, whose connection then closed too
    early, can't be told from that; so whoever repeats at once does it with the same `apns-id`.
    """
    return not failure.timed_out and any(words in failure.detail for words in _SENT_AWAY)


def open_client(account: ApnsAccount) -> Client:
    """One client for `account`: HTTP/2 only, one connection, a total deadline for each call, no redirects.

    Unlike other vendors' clients it keeps an idle connection, with pings, as Apple asks, and may show the
    account's certificate. ValueError when `ca_pem` holds no certificate.
    """
    builder = (
        ClientBuilder()
        .user_agent("tidings")
        .follow_redirects(False)
        .referer(False)
        .timeout(timedelta(seconds=account.timeout_s))
        .connect_timeout(timedelta(seconds=min(CONNECT_TIMEOUT_S, account.timeout_s)))
        .pool_idle_timeout(None)
        .tcp_nodelay(True)
        .tcp_keepalive(timedelta(seconds=60))
        .tcp_user_timeout(timedelta(seconds=account.timeout_s + PING_TIMEOUT_S))
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .http2(True)
        .http2_prior_knowledge()
        .http2_keep_alive_interval(timedelta(seconds=PING_INTERVAL_S))
        .http2_keep_alive_timeout(timedelta(seconds=PING_TIMEOUT_S))
        .http2_keep_alive_while_idle(True)
    )
    if account.emulated:
        builder = builder.no_proxy()
    if account.ca_pem is not None:
        # The builder takes bytes that hold no certificate without a word; this raises ValueError for them.
        load_pem_x509_certificates(account.ca_pem)
        builder = builder.add_root_certificate_pem(account.ca_pem)
    if account.certificate:
        builder = builder.identity_pem(account.certificate.encode())
    return builder.build()
