"""The frames that `sockets` writes, and the common side of those who write them."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from tidings.bench import bodies
from tidings.bench.commands import Broadcast, Broadcasted

DATA = msgspec.json.encode(
    {
        "id": 1_000_000,
        "title": bodies.TITLE,
        "body": bodies.BODY,
        "data": {"order": 1_000},
        "created_at": "2026-01-31T09:00:00.123456Z",
    }
)
MOST_FRAMES = 10_000
LEAVE_TIMEOUT_S = 30.0


async def repeat(command: Broadcast, sockets: Callable[[], int], write: Callable[[int], Awaitable[int]]) -> Broadcasted:
    """Call `write(number)` (→ bytes to each socket) again and again until the time is over."""
    began = time.monotonic()
    frames = size = 0
    async with asyncio.timeout(command.seconds + LEAVE_TIMEOUT_S):
        while time.monotonic() - began < command.seconds and frames < MOST_FRAMES:
            frames += 1
            size += await write(frames)
    return Broadcasted(frames, size, sockets(), began)
