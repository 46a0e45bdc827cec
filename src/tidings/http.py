"""Outgoing HTTP to vendors: clients with deadlines and bounds, and failures as values.

A call is made from a prepared `StreamRequest` (see `exchange`). Its answer is an `Answer`, read up to a
bound; whatever the network does instead is a `Failure`. Nothing here raises for the other side's behaviour.
"""

import asyncio
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from cryptography.x509 import load_pem_x509_certificates
from msgspec import Struct
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import DetailedPyreqwestError, RequestError, RequestTimeoutError
from pyreqwest.request import StreamRequest

from tidings.discreet import Discreet

MAX_ANSWER_BYTES = 64 * 1024
"""No vendor answer that we understand comes near this; what is longer is cut here and the rest never read."""

CONNECT_TIMEOUT_S = 5.0
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 300.0
LEAST_WAIT_S = 1.0
MOST_WAIT_S = 3600.0

_URL = re.compile(r"[\s:(]*https?://\S*")


class Answer(Discreet, frozen=True):
    """What came back. `headers` holds only those that were asked for and present, by lower-case name.

    `cut`: the body was longer than the bound and `body` is its beginning.
    """

    status: int
    body: bytes
    headers: dict[str, str]
    cut: bool = False


class Failure(Struct, frozen=True):
    """No whole answer came. `detail` is a short sentence without the URL (a URL can be a secret).

    `timed_out`: the deadline passed, else the connection failed.
    `maybe_sent`: the other side may have taken the request. False only when no connection was ever made.
    """

    timed_out: bool
    maybe_sent: bool
    detail: str


def open_client(
    *,
    timeout_s: float,
    ca_pem: bytes | None = None,
    http2_only: bool = False,
    system_proxy: bool = True,
    default_headers: dict[str, str] | None = None,
) -> Client:
    """One client: its own connection pool, a total deadline for each call, no redirects, no decompression.

    `timeout_s` counts from the call until the body's end, waiting for a free HTTP/2 stream included.
    `ca_pem`: PEM certificates to trust beside the built-in roots; ValueError if none of it can be read.
    `http2_only`: speak HTTP/2 at once (over TLS by ALPN, on plain HTTP by prior knowledge, RFC 9113 §3.3).
    A burst on a cold client then shares one handshake; with negotiation each waiting call opens a connection
    of its own (63 were counted for 500 calls). `system_proxy` False: HTTPS_PROXY is ignored.

    `close` ends the calls. An HTTP/2 connection goes only with the last reference to its client, and one with a call
    whose sender was cancelled at that call's deadline: who closes a client lets go of it, too.
    """
    builder = (
        ClientBuilder()
        .user_agent("tidings")
        .follow_redirects(False)
        .referer(False)
        .timeout(timedelta(seconds=timeout_s))
        .connect_timeout(timedelta(seconds=min(CONNECT_TIMEOUT_S, timeout_s)))
        .pool_idle_timeout(timedelta(seconds=IDLE_TIMEOUT_S))
        .tcp_nodelay(True)
        .tcp_keepalive(timedelta(seconds=60))
        .tcp_user_timeout(timedelta(seconds=timeout_s + PING_TIMEOUT_S))
        # A compressed answer could unfold to any size, and vendors' answers are a few hundred bytes.
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .http2(True)
        # Pings only while calls wait for an answer: a peer may take idle pings for abuse (ENHANCE_YOUR_CALM).
        .http2_keep_alive_interval(timedelta(seconds=PING_INTERVAL_S))
        .http2_keep_alive_timeout(timedelta(seconds=PING_TIMEOUT_S))
        .http2_keep_alive_while_idle(False)
    )
    if http2_only:
        builder = builder.http2_prior_knowledge()
    if not system_proxy:
        builder = builder.no_proxy()
    if default_headers:
        builder = builder.default_headers(default_headers)
    if ca_pem is not None:
        # The builder takes bytes that hold no certificate without a word; this raises ValueError for them.
        load_pem_x509_certificates(ca_pem)
        builder = builder.add_root_certificate_pem(ca_pem)
    return builder.build()


async def exchange(
    request: StreamRequest,
    header_names: Iterable[str] = (),
    limit: int = MAX_ANSWER_BYTES,
    *,
    bodiless: int | None = None,
    plain: int | None = None,
) -> Answer | Failure:
    """Send `request` once and read its answer up to `limit` bytes. The deadline is the client's.

    `header_names`: the answer's headers to keep, lower case. `bodiless`: a status whose answers have no body; none is
    waited for, which saves a tenth of a call. `plain`: a status whose headers are not needed. Twice is as safe as the
    request itself is.
    """
    task = asyncio.current_task()
    cancelled_before = 0 if task is None else task.cancelling()
    answer: Answer | Failure
    try:
        async with request as response:
            status = response.status
            headers = {}
            if status != plain:
                for name in header_names:
                    value = response.get_header(name)
                    if value is not None:
                        headers[name] = value
            # One byte more than wanted tells a whole body from a cut one. None: there is no body.
            read = None if status == bodiless else await response.body_reader.read(limit + 1)
        body = b"" if read is None else read.to_bytes()
        answer = Answer(status, body[:limit], headers, cut=True) if len(body) > limit else Answer(status, body, headers)
    except RequestError as error:
        answer = _failure(error)
    if task is not None and task.cancelling() > cancelled_before:
        # A call that ends in the moment in which it is cancelled tells only how it ended, and its task would go on.
        raise asyncio.CancelledError
    return answer


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """The wait that a `Retry-After` header asks for, in seconds, clamped to 1 s … 1 h; None if it asks none.

    RFC 9110 §10.2.3: whole seconds or an HTTP-date. What is neither (negative, fractional, text) counts as
    absent, so that a broken header can't make us hurry. A date in the past gives the least wait.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        # Past ten digits it is over an hour anyway, and int() refuses thousands of digits.
        return MOST_WAIT_S if len(text) > 10 else clamp_wait_s(float(text))
    try:
        at = parsedate_to_datetime(text[:64])
    except (ValueError, OverflowError, TypeError, IndexError):
        # What the parser raises for texts that only look like a date; hostile ones reach all four.
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return clamp_wait_s((at - now).total_seconds())


def clamp_wait_s(seconds: float) -> float:
    """`seconds` within what we are ready to wait at a vendor's word: 1 s to 1 h."""
    return min(MOST_WAIT_S, max(LEAST_WAIT_S, seconds))


def _failure(error: RequestError) -> Failure:
    causes = _causes(error)
    # The exception's class does not tell: ConnectError and ConnectTimeoutError are also raised when a made
    # connection breaks or stays silent. Only this cause means that no request can have left.
    maybe_sent = "client error (Connect)" not in causes
    if isinstance(error, RequestTimeoutError):
        return Failure(True, maybe_sent, "no answer in time" if maybe_sent else "no connection in time")
    what = "the connection broke" if maybe_sent else "could not connect"
    # The first cause quotes the URL; the last one is the operating system's or the TLS library's own reason,
    # which may end in a link to its manual.
    reason = _URL.sub("", causes[-1] if len(causes) > 1 else error.message)
    return Failure(False, maybe_sent, f"{what}: {reason}"[:200])


def _causes(error: DetailedPyreqwestError) -> list[str]:
    return [cause["message"] for cause in error.details.get("causes") or ()]
