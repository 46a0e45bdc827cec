"""`python -m tidings.bench.bare`: the ceiling of `sockets`, a protocol that writes frames and does nothing else."""

import asyncio
from typing import cast

import uvloop

from tidings.bench import frames
from tidings.bench.child import allow_many_files, obey
from tidings.bench.commands import Broadcast, Broadcasted, Listening
from tidings.bus import Position, encode_frame
from tidings.gateway.sockets import encode_websocket_frame

HOST = "127.0.0.1"
BACKLOG = 4096
READY = "bare-ready"
_ANSWER = f"HTTP/1.1 101 Switching Protocols\r\nServer: {READY}\r\n\r\n".encode()


class Bare(asyncio.Protocol):
    """Says yes to whatever comes first, and listens no more."""

    _transport: asyncio.Transport

    def __init__(self, transports: set[asyncio.Transport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is none by inheritance

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            self._transports.add(self._transport)
            self._transport.write(_ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transports.discard(self._transport)


async def serve() -> None:
    """Obey until standard input closes."""
    allow_many_files()
    transports: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Bare(transports), HOST, 0, backlog=BACKLOG)

    async def write(number: int) -> int:
        frame = encode_websocket_frame(encode_frame("broadcast", Position("bench-epoch0", number), frames.DATA))
        for transport in transports:
            transport.write(frame)
        # The loop writes at the end of its turn: wait for the next one.
        await asyncio.sleep(0)
        return len(frame)

    async def carry_out(command: Broadcast) -> Broadcasted:
        return await frames.repeat(command, lambda: len(transports), write)

    await obey(Listening(server.sockets[0].getsockname()[1]), Broadcast, carry_out)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
