"""Vendors that misbehave below HTTP and SMTP: sockets that refuse, cut, babble, flood or say nothing."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

from msgspec import Struct

FLOOD_BYTES = 32 * 1024 * 1024
_RESET = struct.pack("ii", 1, 0)


class Trouble(StrEnum):
    """What a vendor does instead of its work."""

    REFUSED = "refused"  # nobody listens
    CLOSED = "closed"  # the connection is closed as soon as it is made
    CUT = "cut"  # it is reset once something was said
    GARBAGE = "garbage"  # an answer of no protocol
    FLOOD = "flood"  # far more than any answer may hold
    SILENT = "silent"  # no answer at all
    STRANGER = "stranger"  # TLS with a certificate that nobody trusts


class At(Struct, frozen=True):
    """Where a vendor is. `ca_pem`: what its clients trust."""

    port: int
    tls: bool
    ca_pem: bytes
    timeout_s: float = 10.0

    @property
    def url(self) -> str:
        """Without a path."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"


class BadVendor:
    """A listening socket. `open`: connections that it has now; `made`: those it ever had."""

    def __init__(self) -> None:
        self.open = 0
        self.made = 0
        self.port = 0


Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def _close(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    return


async def _cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65536)
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff\x13 what is this \r\n\r\n" * 4)
    await writer.drain()


async def _flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    line = b"220-" + b"x" * 996 + b"\r\n"
    for _ in range(FLOOD_BYTES // len(line)):
        writer.write(line)
        await writer.drain()


async def _say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


_PLAYS: dict[Trouble, Play] = {
    Trouble.CLOSED: _close,
    Trouble.CUT: _cut,
    Trouble.GARBAGE: _babble,
    Trouble.FLOOD: _flood,
    Trouble.SILENT: _say_nothing,
    Trouble.STRANGER: _say_nothing,
}


@asynccontextmanager
async def bad_vendor(trouble: Trouble, tls: ssl.SSLContext | None = None) -> AsyncIterator[BadVendor]:
    """One that listens for as long as the block lasts. `tls`: what it shows."""
    vendor = BadVendor()
    if trouble is Trouble.REFUSED:
        with socket.socket() as bound:  # bound, and never listening: nobody else gets the port meanwhile
            bound.bind(("127.0.0.1", 0))
            vendor.port = bound.getsockname()[1]
            yield vendor
        return

    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        vendor.open += 1
        vendor.made += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await _PLAYS[trouble](reader, writer)
        finally:
            vendor.open -= 1
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    vendor.port = server.sockets[0].getsockname()[1]
    try:
        yield vendor
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
