"""The connections to APNs of one bundle id: kept for hours, and each tried with one call before it gets many.

APNs takes one request at a time on a new connection until it has answered one with a valid token ("Sending
notification requests to APNs"; it says so by SETTINGS_MAX_CONCURRENT_STREAMS). And it treats connecting over
and over as an attack, so a connection is replaced only for a reason, and not too often.
"""

import asyncio
import time
from collections.abc import Callable

from tidings.http import Answer, Client, Failure, Request

WARM_S = 30.0
"""How long after its last answer a connection counts as tried. The pool may have opened another one since."""

LEAST_BETWEEN_S = 10.0
"""Between two replacements in one place: APNs takes rapid connecting and disconnecting for an attack."""

_KEPT_HEADERS = ("apns-id", "retry-after")


class Connection:
    """One client with one HTTP/2 connection, in one of the places of `Connections`."""

    def __init__(self, client: Client, place: int, monotonic: Callable[[], float]) -> None:
        self.client = client
        self.place = place
        self._monotonic = monotonic
        self._warm_until = float("-inf")
        self._breaks = 0
        self._probe: asyncio.Future[Answer | Failure | None] | None = None

    async def call(self, request: Request, payload: bytes) -> Answer | Failure:
        """Send once. On a connection that is not tried yet, one call goes ahead and the others wait for it.

        When that one finds nobody there, or is refused with a 403, the waiting ones get the same answer
        without being sent (`maybe_sent` is False for them).
        """
        while self._monotonic() >= self._warm_until:
            if self._probe is None:
                return await self._go_ahead(request, payload)
            # Shielded: a waiting call that is cancelled must not take the others' answer away.
            verdict = await asyncio.shield(self._probe)
            if verdict is not None:
                return verdict
        breaks = self._breaks
        answer = await self.client.send(request, payload, keep=_KEPT_HEADERS, plain=200)
        self._learn(answer, breaks)
        return answer

    async def _go_ahead(self, request: Request, payload: bytes) -> Answer | Failure:
        self._probe = probe = asyncio.get_running_loop().create_future()
        verdict: Answer | Failure | None = None
        try:
            breaks = self._breaks
            answer = await self.client.send(request, payload, keep=_KEPT_HEADERS, plain=200)
            self._learn(answer, breaks)
            if isinstance(answer, Failure):
                verdict = Failure(answer.timed_out, maybe_sent=False, detail=answer.detail)
            elif answer.status == 403:
                verdict = answer
            return answer
        finally:
            # None, also when this call was cancelled: whoever waits goes on, or goes ahead.
            self._probe = None
            probe.set_result(verdict)

    def _learn(self, answer: Answer | Failure, breaks: int) -> None:
        """`breaks`: how often the connection had broken when the call began."""
        if isinstance(answer, Failure):
            if not answer.timed_out:
                self._breaks += 1
                self._warm_until = float("-inf")
        elif answer.status != 403 and breaks == self._breaks:
            # A late answer over a connection that has broken since says nothing about the next one.
            self._warm_until = self._monotonic() + WARM_S


class Connections:
    """A fixed number of connections that take turns, each opened by `open_one` and by its first call."""

    def __init__(
        self, open_one: Callable[[], Client], count: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_one = open_one
        self._monotonic = monotonic
        self._all = [Connection(open_one(), place, monotonic) for place in range(count)]
        self._turn = 0
        self._replaced_at = [float("-inf")] * count
        self._leaving: list[Client] = []
        self._closed = False

    def next(self) -> Connection:
        """The connection whose turn it is."""
        self._turn = (self._turn + 1) % len(self._all)
        return self._all[self._turn]

    def replace(self, connection: Connection) -> Connection | None:
        """A fresh connection in this one's place, which closes once its calls must have ended.

        None when that was done moments ago (`LEAST_BETWEEN_S`). Who finds a connection bad that was replaced
        already gets the present one: a hundred calls cause one replacement.
        """
        place = connection.place
        if self._all[place] is not connection:
            return self._all[place]
        present = self._monotonic()
        if self._closed or present - self._replaced_at[place] < LEAST_BETWEEN_S:
            return None
        self._replaced_at[place] = present
        self._all[place] = Connection(self._open_one(), place, self._monotonic)
        connection.client.close_later()
        self._leaving = [*(client for client in self._leaving if not client.closed), connection.client]
        return self._all[place]

    async def close(self) -> None:
        """Close all; calls under way end as a Failure. Twice is safe."""
        self._closed = True
        for client in (*(connection.client for connection in self._all), *self._leaving):
            await client.close()
