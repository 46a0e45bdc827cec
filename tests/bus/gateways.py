"""Several gateways over one Redis, each a bus of its own, and clients that come back when told to."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from tests.bus.ear import PATIENCE_S, until
from tests.servers import Address
from tidings.bus import BusUnavailable, Position, read_position
from tidings.bus.address import open_connection, read_address
from tidings.bus.link import Patience
from tidings.bus.redis import RedisBounds, RedisBus, open_redis_bus
from tidings.bus.wire import Wire

QUICK = Patience(call_s=0.5, connect_s=0.5, beat_s=0.1)


def bounds(prefix: str = "", refresh_s: float = 0.2, patience: Patience = QUICK) -> RedisBounds:
    """Everything is noticed soon, so that a test need not wait."""
    return RedisBounds(prefix or secrets.token_hex(4), keep_s=30.0, refresh_s=refresh_s, patience=patience)


@asynccontextmanager
async def gateways(address: Address, count: int, given: RedisBounds | None = None) -> AsyncIterator[list[RedisBus]]:
    """So many buses over one Redis, connected."""
    shared = given or bounds()
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(await open_redis_bus(address.redis_url, shared))
            stack.push_async_callback(made[-1].close)
        assert all(bus.healthy for bus in made)
        yield made


@asynccontextmanager
async def admin(address: Address) -> AsyncIterator[Wire]:
    """A connection to say anything to Redis."""
    wire = await open_connection(read_address(address.redis_url), lambda: Wire(lambda _channel, _data: None))
    entry = ("AUTH", address.user or "default", address.password) if address.password else ()
    await wire.ask("HELLO", 3, *entry)
    await wire.ask("SELECT", address.path or 0)
    yield wire
    wire.abort("done")


class Client:
    """What a well-made client does: keeps its place, comes back with it, and knows when it must page the
    inbox. It fails as soon as a frame comes that is not the next one."""

    def __init__(self, bus: RedisBus, project_id: int, user_id: int) -> None:
        self.bus = bus
        self.keys: list[int] = []
        self.paged = 0
        self.must_return = False
        self.wrong: list[str] = []
        self._user = (project_id, user_id)
        self._place: dict[str, Position | None] = {"notification": None, "broadcast": None}
        self._welcomed = False
        self._early: list[bytes] = []

    async def connect(self, bus: RedisBus | None = None) -> None:
        """Come, or come back: to this gateway or to another."""
        if bus is not None:
            await self.bus.leave(*self._user, self.take)
            self.bus = bus
        self.must_return = self._welcomed = False
        self._early.clear()
        mine, everyone = await self.bus.join(
            *self._user, self.take, self._place["notification"], self._place["broadcast"], lost=self._lost
        )
        for event, recovery in (("notification", mine), ("broadcast", everyone)):
            if self._place[event] is not None and recovery.recovered:
                for frame in recovery.frames:
                    self._next(frame)
            elif self._place[event] is not None:
                self.paged += 1
            self._place[event] = recovery.position
        self._welcomed = True
        for frame in self._early:
            self._next(frame)
        self._early.clear()

    async def come_back(self) -> None:
        """Leave and connect again, as a socket that was closed."""
        await self.bus.leave(*self._user, self.take)
        await self.connect()

    def take(self, frame: bytes) -> bool:
        if self._welcomed:
            self._next(frame)
        else:
            self._early.append(frame)
        return True

    @property
    def place(self) -> Position | None:
        return self._place["notification"]

    def _lost(self) -> None:
        self.must_return = True

    def _next(self, frame: bytes) -> None:
        said = msgspec.json.decode(frame)
        position, before = read_position(said["position"]), self._place[said["event"]]
        assert position is not None
        assert before is not None
        if position != Position(before.epoch, before.offset + 1):
            self.wrong.append(f"{position} after {before}")
        self._place[said["event"]] = position
        self.keys.append(said["data"])


def check(bus: RedisBus, client: Client) -> None:
    assert bus.healthy
    assert client.wrong == []
    assert not client.must_return


async def settles(client: Client, keys: list[int]) -> None:
    """The client has just these, having come back if it was told to."""
    async with asyncio.timeout(PATIENCE_S):
        while client.keys != keys:
            if client.must_return:
                await client.come_back()
            await asyncio.sleep(0.002)


async def works(bus: RedisBus, client: Client, key: int) -> None:
    """A notification gets from the bus to the client."""
    assert await bus.publish(1, 7, key, b"%d" % key) == 1
    await until(lambda: client.keys and client.keys[-1] == key)
    check(bus, client)


async def until_published(bus: RedisBus, key: int) -> None:
    """As a worker that tries again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await bus.publish(1, 7, key, b"%d" % key)
                return
            except BusUnavailable:
                await asyncio.sleep(0.01)
