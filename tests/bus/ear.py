"""What listens in these tests: a sink that keeps what it hears."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from tidings.bus import Position, read_position

PATIENCE_S = 20.0  # for a busy machine at its worst; nothing is asserted about time


async def until(condition: Callable[[], object]) -> None:
    """Come back when it holds; TimeoutError when it never does."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is inside the thing under test
            await asyncio.sleep(0.002)


class Ear:
    """Keeps frames until told to be deaf, and counts how often it was told that it missed something."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.deaf = False
        self.losses = 0

    def take(self, frame: bytes) -> bool:
        if self.deaf:
            return False
        self.heard.append(msgspec.json.decode(frame))
        return True

    def lost(self) -> None:
        self.losses += 1

    async def hears(self, frames: int) -> None:
        """Come back when it has heard so many; they may be on their way still."""
        await until(lambda: len(self.heard) >= frames)
        assert len(self.heard) == frames

    @property
    def data(self) -> list[Any]:
        return [frame["data"] for frame in self.heard]

    def position(self, event: str) -> Position:
        found = read_position(next(f["position"] for f in reversed(self.heard) if f["event"] == event))
        assert found is not None
        return found
