"""A client that speaks HTTP/2 frame by frame."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hpack import Encoder

from tidings.emulators import frames
from tidings.emulators.frames import PREFACE
from tidings.emulators.http_server import RunningServer

HEAD = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/echo")]


ENDS = frames.END_STREAM
WHOLE = frames.END_HEADERS


class Wire:
    """A connection that speaks frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = Encoder()

    def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    def block(self, *extra: tuple[str, str], path: str = "/echo") -> bytes:
        head = [(name, path if name == ":path" else value) for name, value in HEAD]
        return self.encoder.encode([*head, *extra])

    async def frame(self) -> tuple[int, int, int, bytes]:
        """The next frame: type, flags, stream, payload."""
        head = await asyncio.wait_for(self.reader.readexactly(9), 10)
        size = int.from_bytes(head[:3], "big")
        stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
        return head[3], head[4], stream, await asyncio.wait_for(self.reader.readexactly(size), 10)

    async def until(self, kind: int) -> tuple[int, int, bytes]:
        """Skip to the next frame of a type: flags, stream, payload."""
        while True:
            got, flags, stream, payload = await self.frame()
            if got == kind:
                return flags, stream, payload
            assert got != frames.GOAWAY, payload

    async def body(self, stream: int) -> bytes:
        """The DATA of a stream up to its end."""
        whole = b""
        while True:
            flags, got, payload = await self.until(frames.DATA)
            if got == stream:
                whole += payload
                if flags & frames.END_STREAM:
                    return whole

    async def error(self) -> int:
        """The code of the GOAWAY that must come, after which the connection must close."""
        while True:
            kind, _, _, payload = await self.frame()
            if kind == frames.GOAWAY:
                assert await asyncio.wait_for(self.reader.read(-1), 10) == b""
                return int(struct.unpack(">L", payload[4:8])[0])


@asynccontextmanager
async def wire(server: RunningServer, settings: dict[int, int] | None = None) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connected = Wire(reader, writer)
    connected.send(PREFACE, frames.settings(settings or {}))
    try:
        yield connected
    finally:
        writer.close()
