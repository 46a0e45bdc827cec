"""`python -m tidings.bench.gateway`: the gateway with the bus of one process, as `tidings serve` has it.

Without the database, which neither a broadcast nor an idle socket touches. It is told to ping rarely: a ping is
two bytes that the readers would have to tell apart from frames.
"""

import asyncio
import itertools

import uvloop

from tidings import signing
from tidings.bench import frames
from tidings.bench.child import allow_many_files, obey
from tidings.bench.commands import PROJECT_ID, Broadcast, Broadcasted, Listening
from tidings.bus.memory import MemoryBus
from tidings.gateway.hub import GatewayConfig
from tidings.gateway.server import start_gateway
from tidings.gateway.sockets import encode_websocket_frame

NOBODY = 2**62  # a user of our own, who listens to how large the frames are


class Watch:
    """Counts the frames that have left, so that the next broadcast waits for the one before."""

    def __init__(self) -> None:
        self._left = 0
        self._wanted = 0
        self._all_left: asyncio.Future[None] | None = None
        self.size = 0

    def count(self, name: str, label: str, n: int) -> None:
        """What the gateway calls."""
        if name == "frames":
            self._left += n
            if self._all_left is not None and self._left >= self._wanted:
                self._all_left.set_result(None)
                self._all_left = None

    def push(self, text: bytes) -> bool:
        """What the bus calls: a sink like that of a socket."""
        self.size += len(encode_websocket_frame(text))
        return True

    def expect(self, n: int) -> asyncio.Future[None]:
        """Done when `n` frames more have left."""
        self._wanted = self._left + n
        self._all_left = future = asyncio.get_running_loop().create_future()
        return future


async def serve(secret: bytes) -> None:
    """Obey until standard input closes."""
    allow_many_files()
    bus, watch = MemoryBus(), Watch()
    config = GatewayConfig(ping_interval_s=3600.0)
    gateway = await start_gateway(
        config,
        bus,
        token_key=signing.derive(secret, signing.USER_TOKENS),
        acknowledge=_nothing,
        mark_read=_nothing,
        on_count=watch.count,
    )
    await bus.join(PROJECT_ID, NOBODY, watch.push, None, None)
    keys = itertools.count(1)

    async def write(number: int) -> int:
        before, left = watch.size, watch.expect(gateway.connections())
        await bus.broadcast(PROJECT_ID, next(keys), frames.DATA)
        await left
        return watch.size - before

    async def carry_out(command: Broadcast) -> Broadcasted:
        return await frames.repeat(command, gateway.connections, write)

    try:
        await obey(Listening(gateway.port), Broadcast, carry_out)
    finally:
        await gateway.close()


async def _nothing(project_id: int, user_id: int, ids: list[int]) -> None:
    """No client of the bench confirms anything."""


if __name__ == "__main__":
    # The emulated clients' tokens are signed with what stands on the command line: a secret of this run alone.
    import sys

    uvloop.run(serve(sys.argv[1].encode()))
