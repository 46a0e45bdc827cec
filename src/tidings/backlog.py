"""How much due work waits; beyond a bound nothing more is accepted, so that the database can't fill up unnoticed."""

import asyncio

import structlog

from tidings import tasks
from tidings.db import AWAY, Pool
from tidings.errors import Unavailable

log = structlog.get_logger("tidings.backlog")

LOOK_EVERY_S = 2.0
RETRY_AFTER_S = 5


class Backlog:
    """Counts due tasks every two seconds. Single critical notifications are never refused, nor are batches of nothing
    else: they don't ask here. A batch that is critical only in part asks, and is refused as a whole."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._full = False

    def check(self) -> None:
        """Raises `Unavailable`, with a Retry-After, while too much waits."""
        if self._full:
            raise Unavailable(
                f"More than {self._most:,} due tasks wait for workers. Nothing was stored; try again soon.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )

    async def watch(self, db: Pool) -> None:
        """Runs until cancelled."""
        while True:
            try:
                full = await tasks.waiting(db, self._most + 1) > self._most
                if full != self._full:
                    log.warning("backlog_full" if full else "backlog_has_room", most=self._most)
                self._full = full
            except AWAY as error:
                log.warning("backlog_unknown", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(LOOK_EVERY_S)
