"""Critical notifications at a steady rate, each of which tells when it was to be sent."""

import asyncio
import time
from collections import deque

import msgspec

from tidings.bench import bodies
from tidings.bench.commands import Probe, Probed
from tidings.bench.figures import quantile
from tidings.bench.posts import HOST, request
from tidings.bench.trickle import Caller, Times

AT_KEY = "bench_at"  # in a notification's data: nanoseconds of the wall clock, which emulators stamp with, too
CALLERS = 16
CONNECT_TIMEOUT_S = 30.0
LATE_S = 20.0  # what is not answered so long after the last was sent counts as lost
LOOK_EVERY_S = 0.01


async def probe(command: Probe) -> Probed:
    """See `commands.Probe`. An open loop: a slow answer does not put off the next request.

    Raises OSError when one is refused, TimeoutError when one is not answered.
    """
    times = Times()
    idle: deque[Caller] = deque()
    waiting: deque[tuple[int, bytes]] = deque()
    callers: list[Caller] = []
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            for _ in range(CALLERS):
                connecting = asyncio.get_running_loop().create_connection(
                    lambda: Caller(times, idle, waiting), HOST, command.port
                )
                callers.append((await connecting)[1])
        due = await _send_all(command, idle, waiting)
        async with asyncio.timeout(LATE_S):
            while len(times.answers_ms) < len(due):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_EVERY_S)
    finally:
        for caller in callers:
            caller.transport.abort()
    if times.refused:
        raise OSError(f"a notification was refused: {times.refused!r}")
    answers = sorted(times.answers_ms)
    return Probed(
        requests=len(due),
        first_at=due[0],
        last_at=due[-1],
        answer_p50_ms=quantile(answers, 0.5),
        answer_p99_ms=quantile(answers, 0.99),
    )


async def _send_all(command: Probe, idle: deque[Caller], waiting: deque[tuple[int, bytes]]) -> list[int]:
    """Send each at its time; when they were due."""
    due: list[int] = []
    wall_ahead = time.time_ns() - time.monotonic_ns()
    began = time.monotonic_ns()
    for n in range(max(1, round(command.rate * command.seconds))):
        at = began + round(n / command.rate * 1e9)
        await asyncio.sleep(max(0.0, (at - time.monotonic_ns()) / 1e9))
        due.append(at + wall_ahead)
        told = bodies.notification(command.first_user + n % command.users, "critical")
        text = request("/api/notifications", command.api_key, msgspec.json.encode(told | {"data": {AT_KEY: due[-1]}}))
        if idle:
            idle.popleft().send(at, text)
        else:
            waiting.append((at, text))
    return due
