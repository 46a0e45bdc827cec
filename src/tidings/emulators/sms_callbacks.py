"""Webhooks of the emulated SMS vendors: posted a moment after the event, and again when they are not taken.

When the emulators are for this machine only, so are their webhooks: they can't be used to reach anything else.
"""

import asyncio
import logging
import random

from msgspec import Struct

from tidings.emulators.confirmations import is_loopback
from tidings.http import Answer, Client, open_client, request

log = logging.getLogger(__name__)

_DEADLINE_S = 10.0
_WORKERS = 32
_MAX_WAITING = 100_000
_TRIES = 4
_AGAIN_S = 0.25  # doubled each time; the vendors wait longer


class Post(Struct, frozen=True):
    """One webhook, signed. `delay_s`: after the event."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    delay_s: float = 0.02


class Callbacks:
    """At most 32 at a time and 100,000 waiting; what comes on top is dropped and counted."""

    def __init__(self, local_only: bool) -> None:
        self.taken = 0
        self.failed = 0
        self.dropped = 0
        self._local_only = local_only
        self._waiting = 0
        self._queue: asyncio.Queue[tuple[Post, int]] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._client: Client | None = None
        self._closed = False
        self._level = logging.WARNING

    def later(self, post: Post) -> None:
        """Post it after its delay, up to 4 times until the answer is 2xx or 4xx."""
        if self._closed or self._waiting >= _MAX_WAITING or (self._local_only and not is_loopback(post.url)):
            self.dropped += 1
            log.log(self._level, "webhook not posted: the address is not on this machine, or too many wait")
            return
        if self._client is None:
            self._client = open_client(timeout_s=_DEADLINE_S, system_proxy=False)
            self._workers = [asyncio.create_task(self._work(self._client)) for _ in range(_WORKERS)]
        self._waiting += 1
        self._in(post.delay_s + random.uniform(0, 0.02), post, 1)

    def stopping(self) -> None:
        """The service that is posted to stops, and we with it: what it does not take any more is no news. Twice is
        safe."""
        self._level = logging.DEBUG

    async def close(self) -> None:
        """Stop; what waits is forgotten. Twice is safe."""
        self.stopping()
        self._closed = True
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    def _in(self, delay_s: float, post: Post, number: int) -> None:
        asyncio.get_running_loop().call_later(delay_s, self._queue.put_nowait, (post, number))

    async def _work(self, client: Client) -> None:
        while True:
            post, number = await self._queue.get()
            status = await self._post(client, post)
            if (status == 0 or status >= 500) and number < _TRIES:
                self._in(_AGAIN_S * 2 ** (number - 1), post, number + 1)
                continue
            self._waiting -= 1
            good = 200 <= status < 300
            self.taken += good
            self.failed += not good
            if not good:
                log.log(self._level, "webhook failed: %s", status or "no answer")

    async def _post(self, client: Client, post: Post) -> int:
        try:
            asked = request("POST", post.url, dict(post.headers))
        except ValueError:  # not a URL
            return 0
        answer = await client.send(asked, post.body)
        return answer.status if isinstance(answer, Answer) else 0
