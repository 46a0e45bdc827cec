"""Notifications at a steady rate, each timed until its frame is on its user's socket."""

import asyncio
import re
import time
from collections import deque
from typing import cast

import msgspec

from tidings import clock, signing
from tidings.bench import bodies
from tidings.bench.commands import PROJECT_ID, Trickle, Trickled
from tidings.bench.figures import quantile
from tidings.bench.posts import HOST, request, whole_answer
from tidings.bench.readers import TOKEN_TTL_S, handshake

CALLERS = 16
CONNECT_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.01
LATE_S = 5.0  # what is not there so long after the last POST is missing
_AT = re.compile(rb'"at":(\d+)\}')


class Times:
    """What was seen. `at`: nanoseconds of the monotonic clock when a POST was to be sent."""

    def __init__(self) -> None:
        self.answers_ms: list[float] = []
        self.frames_ms: list[float] = []
        self.refused = b""


class Screen(asyncio.Protocol):
    """One user's socket."""

    def __init__(self, times: Times, greeting: bytes) -> None:
        self._times = times
        self._greeting = greeting
        self._heard = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own is none by inheritance
        self.transport.write(self._greeting)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._heard += data
        if not self.ready.done():
            if b'"welcome"' in self._heard:
                self.ready.set_result(None)
            return
        for found in _AT.finditer(self._heard):
            self._times.frames_ms.append((now - int(found[1])) / 1e6)
            self._heard = self._heard[found.end() :]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError(f"refused: {self._heard[:200]!r}"))


class Caller(asyncio.Protocol):
    """One connection of the calling server; takes its place in `idle` again after each answer."""

    def __init__(self, times: Times, idle: "deque[Caller]", waiting: deque[tuple[int, bytes]]) -> None:
        self._times = times
        self._idle = idle
        self._waiting = waiting
        self._rest = b""
        self._at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own is none by inheritance
        self._idle.append(self)

    def send(self, at: int, text: bytes) -> None:
        """Send a request that was due `at`."""
        self._at = at
        self.transport.write(text)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        size = whole_answer(self._rest)
        if size == 0:
            return
        if self._rest[9:12] != b"202":
            self._times.refused = self._times.refused or self._rest[:300]
        self._rest = self._rest[size:]
        self._times.answers_ms.append((time.monotonic_ns() - self._at) / 1e6)
        if self._waiting:
            self.send(*self._waiting.popleft())
        else:
            self._idle.append(self)


async def trickle(command: Trickle) -> Trickled:
    """See `commands.Trickle`. An open loop: a slow answer does not put off the next request, and counts in full."""
    times = Times()
    idle: deque[Caller] = deque()
    waiting: deque[tuple[int, bytes]] = deque()
    transports: list[asyncio.Transport] = []
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            for screen in [await _screen(command, times, n + 1, transports) for n in range(command.users)]:
                await screen.ready
            for _ in range(CALLERS):
                _, caller = await loop.create_connection(lambda: Caller(times, idle, waiting), HOST, command.api_port)
                transports.append(caller.transport)
        count = await _send_all(command, idle, waiting)
        for _ in range(round(LATE_S / LOOK_EVERY_S)):
            if len(times.frames_ms) >= count:
                break
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        for transport in transports:
            transport.abort()
    if times.refused:
        raise OSError(f"a notification was refused: {times.refused!r}")
    answers, frames = sorted(times.answers_ms), sorted(times.frames_ms)
    return Trickled(
        requests=count,
        frames=len(frames),
        answer_p50_ms=quantile(answers, 0.5),
        answer_p99_ms=quantile(answers, 0.99),
        frame_p50_ms=quantile(frames, 0.5),
        frame_p99_ms=quantile(frames, 0.99),
    )


async def _screen(command: Trickle, times: Times, user_id: int, transports: list[asyncio.Transport]) -> Screen:
    key = signing.derive(command.secret.encode(), signing.USER_TOKENS)
    token = signing.mint_user_token(key, PROJECT_ID, user_id, clock.now(), TOKEN_TTL_S)
    screen = Screen(times, handshake(command.gateway_port, token))
    await asyncio.get_running_loop().create_connection(lambda: screen, HOST, command.gateway_port)
    transports.append(screen.transport)
    return screen


async def _send_all(command: Trickle, idle: deque[Caller], waiting: deque[tuple[int, bytes]]) -> int:
    count = max(1, round(command.rate * command.seconds))
    began = time.monotonic_ns()
    for n in range(count):
        at = began + round(n / command.rate * 1e9)
        await asyncio.sleep(max(0.0, (at - time.monotonic_ns()) / 1e9))
        told = bodies.notification(n % command.users + 1) | {"data": {"at": at}}
        text = request("/api/notifications", command.api_key, msgspec.json.encode(told))
        if idle:
            idle.popleft().send(at, text)
        else:
            waiting.append((at, text))
    return count
