"""Many WebSockets that only count the bytes they get: the cheapest client there can be."""

import asyncio
import base64
import secrets
import time
from typing import cast

from tidings import clock, signing
from tidings.bench.commands import PROJECT_ID, Connect, Connected, Receive, Received

HOST = "127.0.0.1"
AT_ONCE = 64  # handshakes
TOKEN_TTL_S = 86_400
_BUFFER_BYTES = 1 << 16


def handshake(port: int, token: str) -> bytes:
    """The request that opens a socket, with the user's token as a subprotocol."""
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    return (
        f"GET /ws HTTP/1.1\r\nHost: {HOST}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: tidings.v1, tidings.token.{token}\r\n\r\n"
    ).encode()


class Readers:
    """All sockets of the process, and what they got together."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._all: list[Reader] = []
        self._wanted = 0
        self._enough: asyncio.Future[None] | None = None
        self.size = 0
        self.last_at = 0.0
        # One buffer for all: nobody looks at what is in it.
        self.buffer = bytearray(_BUFFER_BYTES)

    async def connect(self, command: Connect) -> Connected:
        """See `commands.Connect`. Raises OSError or TimeoutError when not all are there in time."""
        key = signing.derive(command.secret.encode(), signing.USER_TOKENS)
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(user_id: int) -> Reader:
            token = signing.mint_user_token(key, PROJECT_ID, user_id, clock.now(), TOKEN_TTL_S)
            async with limit:
                reader = Reader(self, command.ready.encode(), handshake(command.port, token))
                await self._loop.create_connection(lambda: reader, HOST, command.port)
                await reader.ready
            return reader

        async with asyncio.timeout(command.timeout_s):
            self._all = list(await asyncio.gather(*(one(n + 1) for n in range(command.connections))))
        self.size = 0
        return Connected(len(self._all))

    def got(self, size: int) -> None:
        """So many bytes more."""
        self.size += size
        if self._enough is not None and self.size >= self._wanted:
            self.last_at = time.monotonic()
            self._enough.set_result(None)
            self._enough = None

    async def receive(self, command: Receive) -> Received:
        """See `commands.Receive`."""
        self._wanted = command.size
        self._enough = enough = self._loop.create_future()
        self.got(0)
        try:
            async with asyncio.timeout(command.timeout_s):
                await enough
        except TimeoutError:
            raise TimeoutError(f"{self.size} of {command.size} bytes came") from None
        finally:
            self._enough = None
        size, self.size = self.size, 0
        return Received(size, self.last_at)

    async def disconnect(self) -> None:
        """Close all."""
        for reader in self._all:
            reader.close()
        self._all = []
        await asyncio.sleep(0)


class Reader(asyncio.BufferedProtocol):
    """One socket."""

    _transport: asyncio.Transport

    def __init__(self, readers: Readers, wanted: bytes, greeting: bytes) -> None:
        self._readers = readers
        self._wanted = wanted
        self._greeting = greeting
        self._heard = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is none by inheritance
        self._transport.write(self._greeting)
        self._greeting = b""

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._readers.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._wanted:
            self._heard += bytes(self._readers.buffer[:nbytes])
            if self._wanted in self._heard:
                self._wanted = self._heard = b""
                self.ready.set_result(None)
        else:
            self._readers.got(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError(f"refused: {self._heard[:200]!r}"))

    def close(self) -> None:
        """Cut it."""
        self._transport.abort()
