"""Something critical is on its way: every process hears of it, so that bulk work holds its breath everywhere.

A critical notification passes through several processes within milliseconds. Each would only notice when it gets there,
while the bulk work of another keeps the cores that the database and the broker need for it. So the API tells all over
the bus as soon as it knows the lane. It is a courtesy: nothing depends on it, and a lost one costs milliseconds.
"""

import asyncio
from contextlib import suppress

from tidings.bus import Bus, BusUnavailable
from tidings.turns import Turns

TOPIC = "urgent"  # the bus's topic on which something critical is announced
_VALUE = "critical"


class Urgency:
    """Tells other processes, and hears them. To be closed."""

    def __init__(self, bus: Bus, turns: Turns) -> None:
        self._bus = bus
        self._turns = turns
        self._telling: asyncio.Task[None] | None = None
        bus.listen(TOPIC, self._heard)

    def tell(self) -> None:
        """Something critical is here. Never waits; one announcement at a time stands for all that come meanwhile."""
        self._turns.expect()  # also while the bus is away
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def close(self) -> None:
        """Let an announcement that is under way end. Twice is safe."""
        if self._telling is not None:
            await asyncio.wait((self._telling,))

    async def _tell(self) -> None:
        with suppress(BusUnavailable):
            await self._bus.announce(TOPIC, _VALUE)

    def _heard(self, value: str) -> None:
        if value:  # not: something may have been missed
            self._turns.expect()
