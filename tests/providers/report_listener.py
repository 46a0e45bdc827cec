"""Listens where vendors post their reports, over real HTTP, and reads them as the API does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from tidings.emulators.exchange import Request, Response
from tidings.emulators.http_server import serve
from tidings.providers.contract import Report

Reader = Callable[[str, Mapping[str, str], bytes, str], list[Report]]


class ReportListener:
    """`url`: what a message carries as `reports_url`. `fail`: how many more posts are answered 503."""

    def __init__(self, read: Reader, secret: str) -> None:
        self.url = ""
        self.fail = 0
        self.posts = 0
        self.reports: list[Report] = []
        self._read = read
        self._secret = secret

    def take(self, request: Request) -> Response:
        self.posts += 1
        if self.fail:
            self.fail -= 1
            return Response(503)
        url = f"{self.url}?{request.query}" if request.query else self.url
        self.reports += self._read(url, request.headers, request.body, self._secret)
        return Response(204)

    async def wait(self, count: int) -> list[Report]:
        """The reports, once there are so many. Fails after ten seconds."""
        async with asyncio.timeout(10):
            while len(self.reports) < count:  # noqa: ASYNC110 (the server has no event for it)
                await asyncio.sleep(0.01)
        return self.reports

    async def wait_posts(self, count: int) -> None:
        """Until so many posts came, whatever they said. Fails after ten seconds."""
        async with asyncio.timeout(10):
            while self.posts < count:  # noqa: ASYNC110 (the server has no event for it)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(read: Reader, secret: str) -> AsyncIterator[ReportListener]:
    listener = ReportListener(read, secret)
    server = await serve(listener.take)
    listener.url = f"http://127.0.0.1:{server.port}/api/reports/vendor/0"
    try:
        yield listener
    finally:
        await server.close()
