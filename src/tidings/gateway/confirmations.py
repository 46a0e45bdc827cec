"""Acknowledgements and reads on their way from many sockets to the core, in bounded batches.

While a call for one user runs, what else that user's sockets confirm is gathered for the next call. So a
flood of small messages becomes few calls, and at most `workers` calls run at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

# Project, user, notification ids: record that these have arrived (or were read). Twice must be safe.
Record = Callable[[int, int, list[int]], Awaitable[None]]

log = logging.getLogger(__name__)


class Confirmer(Protocol):
    """The socket that confirmed, so that it can be told when the core could not record it."""

    def not_recorded(self, ids: list[int]) -> None: ...


Batch = dict[Confirmer, dict[int, None]]


class Confirmations:
    """One of these for each kind of confirmation. `record` may raise anything: that is logged, and told.

    workers: calls at once. max_ids: ids waiting at most, more are refused. max_call: ids in one call.
    deadline_s: for one call.
    """

    def __init__(
        self,
        name: str,
        record: Record,
        *,
        workers: int = 16,
        max_ids: int = 100_000,
        max_call: int = 1000,
        deadline_s: float = 10.0,
    ) -> None:
        self._name = name
        self._record = record
        self._max_ids = max_ids
        self._max_call = max_call
        self._deadline_s = deadline_s
        self._waiting: dict[tuple[int, int], Batch] = {}
        self._waiting_ids = 0
        self._running: set[tuple[int, int]] = set()
        self._users: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self._workers = [asyncio.create_task(self._work(), name=f"gateway {name}") for _ in range(workers)]

    def add(self, socket: Confirmer, project_id: int, user_id: int, ids: list[int]) -> bool:
        """Take ids to record soon. False: too many wait already, nothing was taken."""
        if self._waiting_ids + len(ids) > self._max_ids:
            return False
        user = (project_id, user_id)
        batch = self._waiting.get(user)
        if batch is None:
            batch = self._waiting[user] = {}
            if user not in self._running:
                self._users.put_nowait(user)
        mine = batch.setdefault(socket, {})
        before = len(mine)
        mine.update(dict.fromkeys(ids))
        self._waiting_ids += len(mine) - before
        return True

    async def close(self, grace_s: float) -> None:
        """Record what waits, for at most `grace_s` seconds, then stop. What is left will be confirmed again
        by the clients, or never: the log says how much."""
        try:
            async with asyncio.timeout(grace_s):
                await self._users.join()
        except TimeoutError:
            log.warning("%s: %d ids were not recorded before the stop", self._name, self._waiting_ids)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            user = await self._users.get()
            batch = self._waiting.pop(user)
            self._waiting_ids -= sum(map(len, batch.values()))
            self._running.add(user)
            try:
                await self._call(user, batch)
            finally:
                self._running.discard(user)
                if user in self._waiting:
                    self._users.put_nowait(user)
                self._users.task_done()

    async def _call(self, user: tuple[int, int], batch: Batch) -> None:
        ids = list(dict.fromkeys(one for mine in batch.values() for one in mine))
        for start in range(0, len(ids), self._max_call):
            part = ids[start : start + self._max_call]
            try:
                async with asyncio.timeout(self._deadline_s):
                    await self._record(*user, part)
            except Exception:
                # Whatever the core raised, this worker must go on,
                # and the client must not believe it was recorded.
                log.warning("%s: %d ids of user %d were not recorded", self._name, len(part), user[1], exc_info=True)
                self._tell(batch, set(part))

    @staticmethod
    def _tell(batch: Batch, failed: set[int]) -> None:
        for socket, mine in batch.items():
            if again := [one for one in mine if one in failed]:
                socket.not_recorded(again)
