"""One HTTP/1.1 connection, server side (RFC 9112), parsed by `httptools`: keep-alive and pipelining.

Pipelined requests are worked on one after the other and answered in their order.
"""

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Any, cast

import httptools

from tidings.emulators.exchange import ANSWERS, Answer, Drop, GoAway, Request, Reset, Response
from tidings.emulators.listener import Listener

_JSON = (("content-type", "application/json"),)
_TOO_LARGE = Response(413, b'{"error":"body too large"}', _JSON)
_HEADERS_TOO_LARGE = Response(431, b'{"error":"headers too large"}', _JSON)
_MALFORMED = Response(400, b'{"error":"malformed request"}', _JSON)
_MAX_QUEUED = 64


class Http1Session(asyncio.Protocol):
    """The protocol object of one connection: called by asyncio and the parser, and by `answer` when late."""

    http2 = False

    def __init__(self, listener: Listener) -> None:
        self.memory: dict[str, Any] = {}
        self.last_active = 0.0
        self._listener = listener
        self._limits = listener.limits
        self._parser = httptools.HttpRequestParser(self)
        # What waits for its turn: requests with their keep-alive wish, and at most one refusal at the end.
        self._queue: deque[tuple[Request | Response, bool]] = deque()
        self._task: asyncio.Future[Answer] | None = None
        self._keep_alive = True
        self._current: Request | None = None
        self._refused = False
        self._leaving = False
        self._dead = False
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    # Transport events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self.last_active = self._loop.time()
        self._listener.join(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._dead = True
        self._listener.leave(self)
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._dead and len(self._queue) < _MAX_QUEUED:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.last_active = self._loop.time()
        if self._refused or self._dead:
            return  # The refusal is on its way; what comes after it is read only to be thrown away.
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # We change to no other protocol: it counts as an ordinary request, the connection's last.
            self.goaway()
        except httptools.HttpParserError:
            self._refuse(_MALFORMED)
        self._work()

    # Parser events

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value) + 32)
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        length = self._headers.get("content-length", "")
        if length.isdigit() and int(length) > self._limits.max_body:
            self._refuse(_TOO_LARGE)
        elif self._headers.get("expect", "").lower() == "100-continue" and not self._queue and self._task is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.max_body:
            self._refuse(_TOO_LARGE)
        elif not self._refused:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, path, query, self._headers, b"".join(self._body), self)
        self._queue.append((request, self._parser.should_keep_alive()))
        if len(self._queue) >= _MAX_QUEUED:
            self._transport.pause_reading()

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.max_header_bytes:
            self._refuse(_HEADERS_TOO_LARGE)

    def _refuse(self, response: Response) -> None:
        if not self._refused:
            self._refused = True
            self._body.clear()
            self._queue.append((response, False))

    # Answers

    def _work(self) -> None:
        while self._queue and self._task is None and not self._dead:
            item, self._keep_alive = self._queue.popleft()
            if isinstance(item, Response):
                self._respond(item)
                continue
            self._current = item
            answer = self._listener.ask(item)
            if isinstance(answer, ANSWERS):
                self._answer(answer)
            else:
                self._task = self._listener.spawn(answer, self, 0)
        if not self._dead and len(self._queue) < _MAX_QUEUED and not self._transport.is_reading():
            self._transport.resume_reading()

    def answer(self, key: int, answer: Answer) -> None:
        """A late answer to the current request; those behind it get their turn."""
        self._task = None
        if not self._dead:
            self._answer(answer)
            self._work()

    def _answer(self, answer: Answer) -> None:
        match answer:
            case Response():
                self._respond(answer)
            case GoAway(response):
                self._leaving = True
                self._respond(response)
            case Reset() | Drop():
                self.drop()

    def _respond(self, response: Response) -> None:
        keep = self._keep_alive and not self._leaving
        head = [f"HTTP/1.1 {response.status} {_phrase(response.status)}\r\n"]
        head += [f"{name}: {value}\r\n" for name, value in response.headers]
        head.append(f"content-length: {len(response.body)}\r\n")
        head.append("\r\n" if keep else "connection: close\r\n\r\n")
        body = b"" if self._current is not None and self._current.method == "HEAD" else response.body
        self._current = None
        self._transport.write("".join(head).encode("latin-1") + body)
        if not keep:
            self._finish()

    def _finish(self) -> None:
        """Close after the last answer. A refused peer may still be sending, and closing at once would destroy
        the refusal before it is read: it is listened to a little longer (RFC 9112 §9.6)."""
        self._queue.clear()
        if self._refused:
            self._loop.call_later(self._limits.linger_s, self._transport.close)
        else:
            self._dead = True
            self._transport.close()

    @property
    def waiting(self) -> bool:
        """See `listener.Session`."""
        return self._task is not None

    def goaway(self, code: int = 0, debug: bytes = b"") -> None:
        """Close after the current answer; at once when there is none."""
        self._leaving = True
        if self._task is None and not self._queue and self._current is None and not self._dead:
            self._finish()

    def limit_streams(self, count: int) -> None:
        """Nothing to do: there is one request at a time."""

    def drop(self) -> None:
        """Cut the connection. Twice is safe."""
        self._dead = True
        self._transport.abort()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
