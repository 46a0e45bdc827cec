"""From the first join to the last trace: subscribing, leaving, starting, and what must not stay behind."""

import asyncio
import gc
import socket
from collections.abc import Callable

import pytest

from tests.gateway.harness import KEY, raw, token, until, world
from tidings import clock, signing
from tidings.bus import BusUnavailable, Position, Recovery, Sink
from tidings.bus.memory import MemoryBus
from tidings.gateway.protocol import CloseCode
from tidings.gateway.sockets import Socket


class AwayBus(MemoryBus):
    """A bus that cannot be reached, or does not answer, when asked to join."""

    def __init__(self, hangs: bool) -> None:
        super().__init__()
        self.hangs = hangs
        self.asked = 0

    async def join(
        self,
        project_id: int,
        user_id: int,
        sink: Sink,
        notifications: Position | None,
        broadcasts: Position | None,
        *,
        lost: Callable[[], None] | None = None,
    ) -> tuple[Recovery, Recovery]:
        self.asked += 1
        answer = await super().join(project_id, user_id, sink, notifications, broadcasts, lost=lost)
        if self.hangs:
            await asyncio.sleep(3600)
            return answer
        raise BusUnavailable("the bus is away")


@pytest.mark.parametrize("hangs", [False, True])
async def test_without_a_bus_the_client_is_told_to_come_back(hangs: bool) -> None:
    bus = AwayBus(hangs)
    async with world(bus, bus_timeout_s=0.1) as here, raw(here.gateway.port) as client:
        client.say(command="authenticate", token=token())
        assert await client.close_code() == CloseCode.BUS_UNAVAILABLE
        await until(lambda: here.gateway.connections() == 0)
        assert not (await bus.presence(1, 7)).online


async def test_who_leaves_while_joining_is_not_left_on_the_bus() -> None:
    bus = AwayBus(hangs=True)
    async with world(bus, bus_timeout_s=0.1) as here:
        async with raw(here.gateway.port) as client:
            client.say(command="authenticate", token=token())
            await until(lambda: bus.asked)
        await until(lambda: here.gateway.connections() == 0)
        await until(lambda: not here.gateway._hub._tasks)
        assert not (await bus.presence(1, 7)).online
        assert not here.gateway._hub._sockets_of_user


class SlowBus(MemoryBus):
    """A bus on which a join arrives after the leave that was said later."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.asked = 0

    async def join(
        self,
        project_id: int,
        user_id: int,
        sink: Sink,
        notifications: Position | None,
        broadcasts: Position | None,
        *,
        lost: Callable[[], None] | None = None,
    ) -> tuple[Recovery, Recovery]:
        self.asked += 1
        await self.go_on.wait()
        return await super().join(project_id, user_id, sink, notifications, broadcasts, lost=lost)


async def test_a_join_that_comes_after_its_leave_is_taken_back() -> None:
    bus = SlowBus()
    async with world(bus) as here:
        async with raw(here.gateway.port) as client:
            client.say(command="authenticate", token=token())
            await until(lambda: bus.asked)
        await until(lambda: here.gateway.connections() == 0 and len(here.gateway._hub._tasks) == 1)
        bus.go_on.set()
        await until(lambda: not here.gateway._hub._tasks)
        assert not (await bus.presence(1, 7)).online


class LateBus(MemoryBus):
    """Frames come between the join and its answer, as they may with a bus on the network."""

    async def join(
        self,
        project_id: int,
        user_id: int,
        sink: Sink,
        notifications: Position | None,
        broadcasts: Position | None,
        *,
        lost: Callable[[], None] | None = None,
    ) -> tuple[Recovery, Recovery]:
        answer = await super().join(project_id, user_id, sink, notifications, broadcasts, lost=lost)
        await self.publish(project_id, user_id, 1, b'{"id":1}')
        await asyncio.sleep(0.01)
        await self.publish(project_id, user_id, 2, b'{"id":2}')
        return answer


async def test_frames_that_come_while_joining_wait_behind_the_welcome() -> None:
    async with world(LateBus()) as here, here.client() as client:  # the first frame is the welcome
        assert await client.hear_ids(2) == [1, 2]


async def test_a_closed_socket_leaves_nothing_behind() -> None:
    async with world() as here:
        for _ in range(3):
            async with here.client():
                pass
        await until(lambda: here.gateway.connections() == 0)
        hub = here.gateway._hub
        await until(lambda: not hub._tasks)
        assert not hub._sockets_of_user
        assert not any(hub._wheel._buckets)
        gc.collect()
        assert not [thing for thing in gc.get_objects() if type(thing) is Socket and thing._hub is hub]


async def test_the_port_that_is_taken_is_an_error_and_leaves_no_task() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        before = asyncio.all_tasks()
        with pytest.raises(OSError, match="in use"):
            async with world(port=taken.getsockname()[1]):
                raise AssertionError("it started")
        assert asyncio.all_tasks() == before


async def test_a_token_is_not_kept_in_memory_of_the_socket() -> None:
    async with world() as here, raw(here.gateway.port) as client:
        text = signing.mint_user_token(KEY, 1, 7, clock.now(), 600)
        client.say(command="authenticate", token=text)
        await client.hear()
        [one] = here.gateway._hub.sockets
        request = one._transport.request
        assert not request.headers
        assert not one._transport.response.headers
