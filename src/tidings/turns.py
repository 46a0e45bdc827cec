"""Whose turn it is on the event loop: a broadcast must not make a critical notification wait.

Work in bulk comes in hundreds of pieces that could all be done at once: requests to begin, plans to make, items to
check. Done in one go they hold the loop for tens of milliseconds, again and again, and each of the twenty or so turns
that the loop makes for one critical notification would wait for them, as would the database and the vendor behind it.

So everything but the critical lane asks for a turn before each piece of about 0.1 ms, and before a statement for many
rows. Some are dealt out in each turn of the loop. When something critical came lately there are fewer, each followed by
a pause for as long as it took, so that half of a core stays free; and while something critical is at hand or on its way
(`urgency.py`), only 200 a second, but for half of the time at most, however much is critical. It is the processor that
is shared out, not the calls under way: vendors that answer slowly take no part in it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter

USUALLY = 32  # pieces in one turn of the loop
RECENTLY_URGENT = 1  # the same, when something critical was at hand within the last second
WHILE_URGENT_S = 0.005  # between two pieces
RECENTLY_S = 1.0
EXPECTED_S = 0.01  # how long something critical that is on its way is waited for
AFTERWARDS_S = 0.002  # what was done for something critical is on its way to a socket
SHORTEST_PAUSE_S = 0.001  # the loop knows no shorter one
LONGEST_PAUSE_S = 0.1
LOOK_S = 0.002  # whether something critical is at hand, before a statement for many rows
BREATH_S = 0.05  # how long bulk holds its breath at most, and then breathes, however much is critical


class Turns:
    """Deals out the turns of one event loop, first come, first served."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._left = USUALLY
        self._urgent = 0
        self._expected_until = 0.0
        self._air_s = BREATH_S  # spent while bulk holds its breath, won back while it breathes
        self._breathless = False
        self._counted_at = self._loop.time()
        self._urgent_at = -RECENTLY_S
        self._dealt_at = 0.0
        self._owed_s = 0.0  # of pauses
        self._paused_until = 0.0
        self._next: asyncio.Handle | None = None
        self._alone = asyncio.Lock()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Something critical is at hand for as long as this block lasts. Any number of times at once."""
        self._press(0.0)
        self._urgent += 1
        self._left = 0
        try:
            yield
        finally:
            self._press(AFTERWARDS_S)  # while it still counts as at hand
            self._urgent -= 1
            self._put_off()

    def expect(self) -> None:
        """Something critical is on its way, perhaps here. Any number of times."""
        self._press(EXPECTED_S)
        self._put_off()

    @property
    def recently_urgent(self) -> bool:
        """Whether something critical is at hand, or was within the last second."""
        return self._urgent > 0 or self._loop.time() - self._urgent_at < RECENTLY_S

    async def take(self) -> None:
        """Wait for the turn to do a piece of work. Cancelling it takes nothing from others."""
        if self._next is None:
            self._deal_later()
        if self._left > 0 and not self._waiting:
            self._left -= 1
            return
        mine: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(mine)
        await mine

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Wait for the turn to have the database work for many rows, for as long as this block lasts.

        When something critical came lately: in a moment without anything critical, if there is one soon; without any
        other turn of this process meanwhile, so that one core is enough for both; and with a pause afterwards.
        """
        if not self.recently_urgent:
            await self.take()
            yield
            return
        async with self._alone:
            await self._calm()
            await self.take()
            began_at = perf_counter()
            self._pause_for(LONGEST_PAUSE_S)
            try:
                yield
            finally:
                self._pause_for(min(perf_counter() - began_at, LONGEST_PAUSE_S))

    async def _calm(self) -> None:
        for _ in range(round(BREATH_S / LOOK_S)):
            if not self._pressing:
                return
            await asyncio.sleep(LOOK_S)

    @property
    def _pressing(self) -> bool:
        """Whether bulk holds its breath."""
        self._count()
        return not self._breathless and (self._urgent > 0 or self._counted_at < self._expected_until)

    def _press(self, seconds: float) -> None:
        self._count()
        self._urgent_at = self._counted_at
        self._expected_until = max(self._expected_until, self._urgent_at + seconds)

    def _count(self) -> None:
        """Bring the account of the breath forward. What is critical may come in any rhythm: bulk never has less than
        half of the time."""
        now = self._loop.time()
        passed = now - self._counted_at
        held = 0.0
        if not self._breathless:
            held = passed if self._urgent else min(max(self._expected_until - self._counted_at, 0.0), passed)
        self._air_s = min(max(self._air_s - held, 0.0) + passed - held, BREATH_S)
        self._breathless = self._air_s < BREATH_S if self._breathless else self._air_s <= 0
        self._counted_at = now

    def _pause_for(self, seconds: float) -> None:
        self._paused_until = self._loop.time() + seconds
        self._put_off()

    def _put_off(self) -> None:
        self._left = 0
        if self._next is not None:
            self._next.cancel()
            self._deal_later()

    def _deal_later(self) -> None:
        if not self.recently_urgent:
            self._next = self._loop.call_soon(self._deal)
            return
        at = now = self._loop.time()
        if self._pressing:
            at = now + WHILE_URGENT_S if self._urgent else min(now + WHILE_URGENT_S, self._expected_until)
        self._next = self._loop.call_at(max(at, self._paused_until), self._deal)

    def _deal(self) -> None:
        self._dealt_at = perf_counter()
        self._left = 1 if self._pressing else RECENTLY_URGENT if self.recently_urgent else USUALLY
        waited = bool(self._waiting)
        while self._waiting and self._left > 0:
            mine = self._waiting.popleft()
            if not mine.done():  # done: it was cancelled meanwhile
                mine.set_result(None)
                self._left -= 1
        self._next = None
        if self._pressing:
            self._left = 0
        if waited:
            self._next = self._loop.call_soon(self._dealt)

    def _dealt(self) -> None:
        """The pieces that were dealt last have been done: as long as they took, the loop is free for what may come."""
        if self.recently_urgent:
            self._owed_s += perf_counter() - self._dealt_at
            if self._owed_s >= SHORTEST_PAUSE_S:
                self._paused_until = self._loop.time() + min(self._owed_s, LONGEST_PAUSE_S)
                self._owed_s = 0.0
        self._deal_later()
