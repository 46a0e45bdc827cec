"""Whose turn it is on the event loop: a broadcast must not make a critical notification wait.

A group of the bulk lane has hundreds of calls that may begin at once. Begun in one go they would hold the loop for
tens of milliseconds, again and again, and each of the twenty or so turns of the loop that a critical notification needs
would wait for them. So all other lanes begin a few calls in each turn, and fewer while something critical is at hand.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

USUALLY = 8  # calls that begin in one turn of the loop; each takes about 0.1 ms of it
WHILE_URGENT = 1


class Turns:
    """Deals out the turns of one event loop. Nobody is shut out: at least one call begins in each turn."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._left = USUALLY
        self._urgent = 0
        self._dealing = False

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Something critical is at hand for as long as this block lasts. May be nested, and be entered many times."""
        self._urgent += 1
        self._left = min(self._left, WHILE_URGENT)
        try:
            yield
        finally:
            self._urgent -= 1

    async def take(self) -> None:
        """Wait for the turn to do about 0.1 ms of work. First come, first served. Cancelling it loses no turn."""
        if not self._dealing:
            self._dealing = True
            asyncio.get_running_loop().call_soon(self._deal)
        if self._left > 0 and not self._waiting:
            self._left -= 1
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        await mine

    def _deal(self) -> None:
        """Called once in each turn of the loop while somebody takes or waits."""
        self._left = WHILE_URGENT if self._urgent else USUALLY
        while self._waiting and self._left > 0:
            mine = self._waiting.popleft()
            if not mine.done():  # done: it was cancelled meanwhile
                mine.set_result(None)
                self._left -= 1
        self._dealing = bool(self._waiting)
        if self._dealing:
            asyncio.get_running_loop().call_soon(self._deal)
