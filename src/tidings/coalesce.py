"""Gathers concurrent calls into one batch: group commit.

There is no timer. While a batch is being written, new calls gather; when it is done, they go together. So a lone
call is written at once, and under load a batch is as large as what arrived meanwhile.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from tidings.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Calls `write(items)` with all items that gathered, and gives each caller its own result.

    `write` answers one result or exception per item, in order. If it raises, every caller of that batch gets the
    exception. `most_items` bounds a batch, `most_batches` how many are written at once, `most_waiting` the queue:
    beyond it `Unavailable` is raised and nothing is kept.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result | BaseException]]],
        *,
        most_items: int = 256,
        most_batches: int = 2,
        most_waiting: int = 20_000,
    ) -> None:
        self._write = write
        self._most_items = most_items
        self._most_batches = most_batches
        self._most_waiting = most_waiting
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._writers: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item) -> Result:
        """Write the item with whatever else is there; return when it is committed."""
        if len(self._waiting) >= self._most_waiting:
            raise Unavailable("More is being written than the database takes. Try again in a second.")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._writers) < self._most_batches:
            # In a context of its own: it writes for many callers, and its lines must not name the first of them.
            self._writers.add(asyncio.create_task(self._drain(), context=Context()))
        return await future

    async def _drain(self) -> None:
        try:
            await self._write_all()
        finally:
            # At once, not by a callback: whoever is woken by the last result must find room for a writer of its own.
            self._writers.discard(asyncio.current_task())

    async def _write_all(self) -> None:
        while self._waiting:
            size = min(len(self._waiting), self._most_items)
            batch = [self._waiting.popleft() for _ in range(size)]
            try:
                results = await self._write([item for item, _ in batch])
            except Exception as error:  # each caller gets it, and decides
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():  # the caller went away; its item is written all the same
                    continue
                if isinstance(result, BaseException):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    async def close(self) -> None:
        """Wait until all that was taken is written."""
        while self._writers:
            await asyncio.gather(*self._writers)
