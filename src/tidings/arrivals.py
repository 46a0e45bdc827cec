"""What clients say over their sockets: this has arrived, this was read. Many sockets, one transaction."""

from collections.abc import Sequence

from tidings import deliveries, notifications
from tidings.coalesce import Coalescer
from tidings.db import Pool
from tidings.deliveries import Confirmation

_CHANNEL = "websocket"


class Arrivals:
    """Gathers acknowledgements of all sockets. Both calls return after the commit; twice is safe."""

    def __init__(self, db: Pool) -> None:
        self._db = db
        self._acknowledge: Coalescer[list[Confirmation], None] = Coalescer(self._confirm, most_batches=1)
        self._read: Coalescer[list[tuple[int, int, int]], None] = Coalescer(self._mark_read, most_batches=1)

    async def acknowledge(self, project_id: int, user_id: int, ids: list[int]) -> None:
        """The user's client has these. Ids that are not the user's are passed over."""
        await self._acknowledge([Confirmation(project_id, i, _CHANNEL, user_id=user_id) for i in ids])

    async def mark_read(self, project_id: int, user_id: int, ids: list[int]) -> None:
        """The user has read these, so they have arrived, too."""
        await self.acknowledge(project_id, user_id, ids)
        await self._read([(project_id, user_id, i) for i in ids])

    async def _confirm(self, groups: Sequence[list[Confirmation]]) -> list[None]:
        await deliveries.confirm(self._db, [one for group in groups for one in group])
        return [None] * len(groups)

    async def _mark_read(self, groups: Sequence[list[tuple[int, int, int]]]) -> list[None]:
        await notifications.mark_read(self._db, [one for group in groups for one in group])
        return [None] * len(groups)

    async def close(self) -> None:
        """Wait until everything is written."""
        await self._acknowledge.close()
        await self._read.close()
