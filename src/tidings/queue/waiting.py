"""Tickets of one lane that wait in this process, and those who wait for tickets."""

import asyncio
from collections import deque

from tidings.queue import Ticket


class Waiting:
    """First in, first out. One event loop owns it."""

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque()
        self._takers: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._tickets)

    def put(self, ticket: Ticket) -> None:
        """Add one and wake a taker."""
        self._tickets.append(ticket)
        self._wake()

    async def take(self, most: int) -> list[Ticket]:
        """At least one ticket, then as many as fit into `most` notifications. A suspect comes alone."""
        waiting = self._tickets
        while not waiting:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers.append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._wake()  # the wake-up was ours; pass it on
                raise
        taken = [waiting.popleft()]
        size = taken[0].size
        while waiting and not (taken[0].suspect or waiting[0].suspect) and size + waiting[0].size <= most:
            taken.append(waiting.popleft())
            size += taken[-1].size
        if waiting:
            self._wake()
        return taken

    def forget(self) -> None:
        """Drop the tickets; the takers go on waiting."""
        self._tickets.clear()

    def _wake(self) -> None:
        while self._takers:
            future = self._takers.popleft()
            if not future.done():
                future.set_result(None)
                return
