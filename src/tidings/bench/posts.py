"""An HTTP/1.1 client that does as little as possible: its own cost must not be what is measured."""

import asyncio
import time
from collections.abc import Sequence
from typing import cast

from tidings.bench import bodies
from tidings.bench.commands import Post, Posted
from tidings.bench.figures import quantile

HOST = "127.0.0.1"
DIFFERENT_SINGLES = 2000
GRACE_S = 30.0
_LENGTH = b"content-length: "


def request(path: str, api_key: str, body: bytes) -> bytes:
    """A whole request, ready to be written."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nX-API-Key: {api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def whole_answer(data: bytes) -> int:
    """The length of the first answer in `data`, 0 when it is not all there yet. ValueError for what is none."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    at = data.find(_LENGTH, 0, end)
    if at < 0:
        raise ValueError(f"an answer without a length: {data[:200]!r}")
    at += len(_LENGTH)
    size = end + 4 + int(data[at : data.index(b"\r", at)])
    return size if len(data) >= size else 0


class Run:
    """Requests to be sent until the time is over, and what came of them."""

    def __init__(self, requests: Sequence[bytes], seconds: float, most: int) -> None:
        self._requests = requests
        self._most = most
        self._began = 0
        self._seconds = seconds
        self._started_at = self._last_at = time.monotonic()
        self._took_s: list[float] = []
        self._refused = 0
        self._first_refusal = ""
        self._open = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, connections: Sequence["Connection"]) -> None:
        """Begin on all connections at once."""
        self._started_at = self._last_at = time.monotonic()
        self._open = len(connections)
        for connection in connections:
            connection.begin(self)

    def next(self, now: float) -> bytes | None:
        """The next request, None when this was the last."""
        if now - self._started_at >= self._seconds or (self._most and self._began >= self._most):
            self._open -= 1
            if self._open == 0 and not self.over.done():
                self.over.set_result(None)
            return None
        self._began += 1
        return self._requests[self._began % len(self._requests)]

    def answered(self, answer: bytes, began_at: float) -> float:
        """Count an answer; when it was."""
        now = self._last_at = time.monotonic()
        if answer[9:12] == b"202":
            self._took_s.append(now - began_at)
        else:
            self._refused += 1
            self._first_refusal = self._first_refusal or answer.decode(errors="replace")[:300]
        return now

    def broke(self, error: BaseException) -> None:
        """A connection was lost: the run is worth nothing."""
        if not self.over.done():
            self.over.set_exception(error)

    def posted(self) -> Posted:
        """What came of it."""
        took = sorted(self._took_s)
        return Posted(
            requests=len(took),
            seconds=max(self._last_at - self._started_at, 1e-9),
            p50_ms=quantile(took, 0.5) * 1000,
            p99_ms=quantile(took, 0.99) * 1000,
            refused=self._refused,
            first_refusal=self._first_refusal,
        )


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._run: Run | None = None
        self._rest = b""
        self._began_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is none by inheritance

    def begin(self, run: Run) -> None:
        """Send the first request of a run."""
        self._run = run
        self._send(run, time.monotonic())

    def data_received(self, data: bytes) -> None:
        run = self._run
        if self._rest:
            data = self._rest + data
        try:
            size = whole_answer(data)
        except ValueError as error:
            self._break(error)
            return
        if size == 0 or run is None:
            self._rest = data
            return
        self._rest = data[size:]
        self._send(run, run.answered(data, self._began_at))

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(exc or ConnectionError("the service closed a connection"))

    def close(self) -> None:
        """Close it."""
        self._run = None
        self._transport.close()

    def _send(self, run: Run, now: float) -> None:
        following = run.next(now)
        if following is not None:
            self._began_at = now
            self._transport.write(following)

    def _break(self, error: Exception) -> None:
        if self._run is not None:
            self._run.broke(error)


async def post(command: Post) -> Posted:
    """See `commands.Post`. Raises OSError or TimeoutError when the service does not answer."""
    if command.batch:
        firsts = [1 + n * command.batch for n in range(command.different)]
        texts = [bodies.batch(first, command.batch, command.users, command.lane) for first in firsts]
    else:
        texts = [bodies.single(n % command.users + 1) for n in range(DIFFERENT_SINGLES)]
    requests = [request(command.path, command.api_key, text) for text in texts]
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    try:
        for _ in range(command.connections):
            connections.append((await loop.create_connection(Connection, HOST, command.port))[1])
        run = Run(requests, command.seconds, command.most)
        run.start(connections)
        async with asyncio.timeout(command.seconds + GRACE_S):
            await run.over
        return run.posted()
    finally:
        for connection in connections:
            connection.close()
