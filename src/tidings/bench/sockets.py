"""`sockets`: frames a second to many WebSockets and memory of each, against a bare protocol writing the same."""

from contextlib import AsyncExitStack

from tidings.bench import bare, usage
from tidings.bench.commands import (
    Broadcast,
    Broadcasted,
    Connect,
    Connected,
    Disconnect,
    Listening,
    Receive,
    Received,
)
from tidings.bench.figures import Figure, Leg, Meter, Options, compared, in_turn
from tidings.bench.processes import BenchError, Child, child
from tidings.bench.stage import Stage, load, stage

CONNECTIONS = 5_000
SPARE_FILES = 100
BAR = 0.80
GOAL = 100_000.0
MOST_BYTES = 16 * 1024
WARM_UP_S = 0.5
CONNECT_TIMEOUT_S = 120.0
RECEIVE_TIMEOUT_S = 30.0
WELCOMED = '"welcome"'


async def measure(options: Options) -> list[Figure]:
    """Both figures: speed and memory."""
    async with stage(options.folder) as here, AsyncExitStack() as stack:
        # One load process for each side: the readers of both stay connected while the sides take turns.
        ours, bares = await stack.enter_async_context(load()), await stack.enter_async_context(load())
        files = min(ours[1].open_files, bares[1].open_files)
        count = min(options.count(CONNECTIONS, 10), files - SPARE_FILES)
        gateway, gateway_bytes = await _open(stack, here, ours[0], "gateway", "tidings.bench.gateway", count, WELCOMED)
        protocol, bare_bytes = await _open(stack, here, bares[0], "bare", "tidings.bench.bare", count, bare.READY)
        sides = {"gateway": (gateway, ours[0]), "bare": (protocol, bares[0])}

        async def leg(name: str, seconds: float) -> Leg:
            writer, reader = sides[name]
            meter = Meter({"server": writer, "load": reader})
            return await meter.leg(lambda: _broadcast(writer, reader, seconds))

        for name in sides:
            await leg(name, min(WARM_UP_S, options.seconds))
        legs = await in_turn(
            options.pairs, lambda: leg("bare", options.seconds), lambda: leg("gateway", options.seconds)
        )
        for _, reader in sides.values():
            await reader.ask(Disconnect(), Connected, CONNECT_TIMEOUT_S)
    return [_speed(count, legs), _memory(count, gateway_bytes, bare_bytes)]


async def _open(
    stack: AsyncExitStack, here: Stage, reader: Child, name: str, module: str, count: int, ready: str
) -> tuple[Child, float]:
    """Start a writer and connect all sockets to it; the writer, and how many bytes it grew by for each."""
    writer = await stack.enter_async_context(child(name, module, [here.secret]))
    listening = await writer.hello(Listening)
    # What is loaded and allocated once, whoever connects, is not the price of a connection.
    await _connect(reader, listening.port, here.secret, min(count, 10), ready)
    await reader.ask(Disconnect(), Connected, CONNECT_TIMEOUT_S)
    before = usage.memory_bytes(writer.pid)
    await _connect(reader, listening.port, here.secret, count, ready)
    return writer, (usage.memory_bytes(writer.pid) - before) / count


async def _connect(reader: Child, port: int, secret: str, count: int, ready: str) -> None:
    await reader.ask(Connect(port, count, secret, ready, CONNECT_TIMEOUT_S), Connected, 2 * CONNECT_TIMEOUT_S)


async def _broadcast(writer: Child, reader: Child, seconds: float) -> tuple[float, float]:
    """Frames that arrived, and the seconds until the last of them had."""
    sent = await writer.ask(Broadcast(seconds), Broadcasted, seconds + 2 * RECEIVE_TIMEOUT_S)
    size = sent.size * sent.sockets
    received = await reader.ask(Receive(size, RECEIVE_TIMEOUT_S), Received, 2 * RECEIVE_TIMEOUT_S)
    if received.size != size:
        raise BenchError(f"{writer.name}: {received.size} bytes arrived, {size} were written")
    return sent.frames * sent.sockets, received.last_at - sent.started_at


def _speed(count: int, legs: list[tuple[Leg, Leg]]) -> Figure:
    return compared(
        "sockets",
        legs,
        what=f"frames a second to {count:,} connections, one broadcast after the other",
        unit="/s",
        ceiling_is="a bare asyncio protocol writing the same frames",
        bar=BAR,
        goal=GOAL,
    )


def _memory(count: int, gateway_bytes: float, bare_bytes: float) -> Figure:
    return Figure(
        name="sockets_memory",
        what=f"bytes of the gateway's memory a connection, {count:,} of them",
        unit="B",
        value=gateway_bytes,
        ceiling=float(MOST_BYTES),
        ceiling_is="the most it may be",
        ratio=gateway_bytes / MOST_BYTES,
        bar=1.0,
        goal=float(MOST_BYTES),
        at_most=True,
        pairs=[(float(MOST_BYTES), gateway_bytes)],
        details={"bare_protocol_bytes": bare_bytes},
    )
