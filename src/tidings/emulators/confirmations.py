"""Phones that confirm: they call the receipt address of a message a moment after it arrived.

Only loopback addresses are called, so an emulator can't be used to reach anything else.
"""

import asyncio
import ipaddress
import logging
import random
from urllib.parse import urlsplit

from tidings.http import Answer, Client, open_client, request

log = logging.getLogger(__name__)

_DEADLINE_S = 5.0
_WORKERS = 32
_MAX_WAITING = 100_000
_DELAY_S = (0.02, 0.05)


class Confirmations:
    """At most 32 calls at a time and 100,000 waiting; what comes on top is dropped and counted."""

    def __init__(self) -> None:
        self.confirmed = 0
        self.failed = 0
        self.dropped = 0
        self._waiting = 0
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._client: Client | None = None
        self._closed = False
        self._level = logging.WARNING

    def later(self, url: str) -> None:
        """Call `url` (POST, empty body) in 20 to 50 ms."""
        if self._closed or self._waiting >= _MAX_WAITING or not is_loopback(url):
            self.dropped += 1
            log.log(self._level, "receipt not called: the address is not on this machine, or too many wait")
            return
        if self._client is None:
            self._client = open_client(timeout_s=_DEADLINE_S, system_proxy=False)
            self._workers = [asyncio.create_task(self._work(self._client)) for _ in range(_WORKERS)]
        self._waiting += 1
        asyncio.get_running_loop().call_later(random.uniform(*_DELAY_S), self._queue.put_nowait, url)

    async def _work(self, client: Client) -> None:
        while True:
            url = await self._queue.get()
            try:
                answer = await client.send(request("POST", url, {}))
            finally:
                self._waiting -= 1
            good = isinstance(answer, Answer) and answer.status < 300
            self.confirmed += good
            self.failed += not good
            if not good:
                said = answer.status if isinstance(answer, Answer) else answer.detail
                log.log(self._level, "receipt failed: %s", said)

    def stopping(self) -> None:
        """The service that is called stops, and we with it: what it does not take any more is no news. Twice is
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


def is_loopback(url: str) -> bool:
    """True for an http or https URL whose host is this machine, by number or as `localhost`."""
    try:
        parts = urlsplit(request("POST", url, {}).url)  # which refuses what two readers could understand differently
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https"):
            return False
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
