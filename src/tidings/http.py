"""Outgoing HTTP to vendors: clients with deadlines and bounds, and failures as values.

A `Request` is prepared once and sent many times, each time with its own body. What comes back is an `Answer`, read up
to a bound; whatever the network does instead is a `Failure`. Nothing here raises for the other side's behaviour.

The calls are libcurl's, on the event loop and without a thread; docs/decisions/0012 says why, and `curl.py` how.
"""

import asyncio
import base64
import contextlib
import re
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Self

import pycurl

from tidings.curl import MAX_ANSWER_BYTES, Answer, Connecting, Failure, Handle, Request
from tidings.multi import Multi

LEAST_WAIT_S = 1.0
MOST_WAIT_S = 3600.0

MOST_CONNECTIONS = 128

_MOST_IDLE = 1024  # handles that wait for the next call; one takes about 10 KB
_AGAIN_AT_MOST = 16  # a peer that says GOAWAY over and over; in each round the calls share one new connection
_LATER_S = 1.0
_FIRST_S = 0.5  # then it is the answer that takes its time
_SCHEMES = ("https://", "http://")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_CLOSED = "the client is closed"


def request(method: str, url: str, headers: Mapping[str, str]) -> Request:
    """A request without its body. ValueError for what can't be said in HTTP, such as a line break in a header.

    `url`: http or https, ASCII. `headers`: by name; values in printable ASCII.
    """
    for name in headers:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} can't be the name of a header")
    named = {name.lower() for name in headers}
    # libcurl adds these by itself; a name without a value takes one away.
    unsaid = tuple(f"{name}:" for name in ("accept", "content-type") if name not in named)
    return extended(Request(method, "", unsaid), url, headers)


def extended(base: Request, url: str, headers: Mapping[str, str]) -> Request:
    """`base` with another URL and more headers, of names that it does not have yet. ValueError as `request`."""
    if not (url.startswith(_SCHEMES) and url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        raise ValueError("the URL can't be called: it must begin with https:// and hold no blanks or backslashes")
    lines = [*base.lines]
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"the header {name!r} can't be sent: its value must be printable ASCII")
        lines.append(f"{name}: {value}")
    return Request(base.method, url, tuple(lines))


class _Call(NamedTuple):
    request: Request
    body: bytes
    keep: Collection[str]
    limit: int
    plain: int | None


class Client:
    """Connections that are kept, and calls over them. Made by `open_client`; use it from one event loop."""

    def __init__(self, connecting: Connecting) -> None:
        self._connecting = connecting
        self._multi = Multi(connecting.of_all())
        self._idle: list[Handle] = []
        self._closed = False
        self._cold = connecting.http2_only
        self._first: asyncio.Event | None = None

    @property
    def closed(self) -> bool:
        """Whether it can't be used any more."""
        return self._closed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(
        self,
        request: Request,
        body: bytes = b"",
        *,
        keep: Collection[str] = (),
        limit: int = MAX_ANSWER_BYTES,
        plain: int | None = None,
    ) -> Answer | Failure:
        """Send once and read the answer up to `limit` bytes. Twice is as safe as the request itself is.

        What the peer surely did not take, because the connection was gone before, or by its word (RFC 9113 §8.7), is
        sent again at once. `keep`: the answer's headers that are wanted, lower case. `plain`: a status whose headers
        are not needed.
        """
        if self._closed:
            return Failure(False, False, _CLOSED)
        call = _Call(request, body, keep, limit, plain)
        ends_at = time.monotonic() + self._connecting.timeout_s
        handle = self._idle.pop() if self._idle else Handle(self._connecting)
        answer = await (self._first_alone(handle, call) if self._cold else self._once(handle, call))
        if self._closed or len(self._idle) >= _MOST_IDLE:
            handle.curl.close()
        else:
            self._idle.append(handle)
        return answer if not handle.untaken else await self._again(call, answer, ends_at)

    async def close(self) -> None:
        """Close the connections; calls under way end as a Failure. Twice is safe."""
        self.close_now()

    def close_later(self) -> None:
        """Close when all calls that are under way must have ended."""
        asyncio.get_running_loop().call_later(self._connecting.timeout_s + _LATER_S, self.close_now)

    def close_now(self) -> None:
        """`close`, for who can't wait."""
        if self._closed:
            return
        self._closed = True
        self._multi.close(pycurl.error(pycurl.E_ABORTED_BY_CALLBACK, _CLOSED))
        while self._idle:
            self._idle.pop().curl.close()

    async def _once(self, handle: Handle, call: _Call) -> Answer | Failure:
        try:
            handle.prepare(call.request, call.body, call.limit)
            await self._multi.perform(handle.curl)
        except pycurl.error as error:
            return handle.ended(error, call.keep)
        self._cold = False
        return handle.answer(call.keep, call.plain)

    async def _first_alone(self, handle: Handle, call: _Call) -> Answer | Failure:
        """Over a new HTTP/2 connection: with the first answer comes how many calls the peer takes at once."""
        if self._first is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_S):
                    await self._first.wait()
            return await self._once(handle, call)
        self._first = first = asyncio.Event()
        try:
            return await self._once(handle, call)
        finally:
            self._first = None
            first.set()

    async def _again(self, call: _Call, answer: Answer | Failure, ends_at: float) -> Answer | Failure:
        """What was not taken, over another connection, until `ends_at`."""
        for _ in range(_AGAIN_AT_MOST):
            left_s = ends_at - time.monotonic()
            if self._closed or left_s <= 0:
                break
            self._cold = self._connecting.http2_only
            handle = Handle(self._connecting, left_s)
            answer = await self._first_alone(handle, call)
            handle.curl.close()
            if not handle.untaken:
                break
        return answer


def open_client(
    *,
    timeout_s: float,
    ca_pem: bytes | None = None,
    certificate_pem: bytes | None = None,
    http2_only: bool = False,
    system_proxy: bool = True,
    connections: int = MOST_CONNECTIONS,
    pinned_to: str = "",
    keep_idle: bool = False,
) -> Client:
    """One client: its own connections, a total deadline for each call, no redirects, no decompression.

    `timeout_s` counts from the call until the body's end, waiting for a connection or a free HTTP/2 stream included.
    `ca_pem`: PEM certificates to trust beside the usual roots; ValueError if none of it can be read. `certificate_pem`:
    a certificate and its key to show. `http2_only`: speak HTTP/2 (over TLS by ALPN, on plain HTTP by prior knowledge,
    RFC 9113 §3.3), over one connection. `system_proxy` False: HTTPS_PROXY is ignored. `connections`: at most so many;
    over HTTP/1.1 each carries one call at a time, over HTTP/2 as many as the peer allows. `pinned_to`: an IP address
    that every connection goes to, whatever the URL says; the URL's host stays in Host and SNI. `keep_idle`: a
    connection is kept however long nothing is sent.

    A burst on a cold client shares one handshake: the calls wait to see whether it speaks HTTP/2.
    """
    return Client(
        Connecting.of(
            timeout_s=timeout_s,
            ca_pem=ca_pem,
            certificate_pem=certificate_pem,
            http2_only=http2_only,
            system_proxy=system_proxy,
            connections=1 if http2_only else connections,
            pinned_to=pinned_to,
            keep_idle=keep_idle,
        )
    )


def basic_auth(user: str, secret: str) -> str:
    """The value of an `Authorization` header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


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


__all__ = [
    "MAX_ANSWER_BYTES",
    "Answer",
    "Client",
    "Failure",
    "Request",
    "basic_auth",
    "clamp_wait_s",
    "extended",
    "open_client",
    "request",
    "retry_after_s",
]
