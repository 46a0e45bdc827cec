"""Something critical in one process is heard in all, and nobody waits for that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.conftest import eventually
from tests.servers import Address
from tidings.bus import BusUnavailable
from tidings.bus.memory import MemoryBus
from tidings.bus.redis import RedisBounds, open_redis_bus
from tidings.turns import Turns
from tidings.urgency import Urgency


class Away(MemoryBus):
    """A bus that can't be reached."""

    asked = 0

    async def announce(self, topic: str, value: str) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        raise BusUnavailable


@pytest.fixture
async def here_and_there(redis_address: Address) -> AsyncIterator[list[tuple[Turns, Urgency]]]:
    """Two processes, as far as Redis can tell."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            bus = await open_redis_bus(redis_address.redis_url, RedisBounds(prefix="urgency"))
            stack.push_async_callback(bus.close)
            turns = Turns()
            urgency = Urgency(bus, turns)
            stack.push_async_callback(urgency.close)
            made.append((turns, urgency))
        yield made


async def test_another_process_hears_of_it(here_and_there: list[tuple[Turns, Urgency]]) -> None:
    (_, urgency), (there, _) = here_and_there
    assert not there.recently_urgent
    urgency.tell()

    async def heard() -> bool | None:
        return there.recently_urgent or None

    await eventually(heard)


async def test_what_may_have_been_missed_is_nothing_critical() -> None:
    bus, turns = MemoryBus(), Turns()
    Urgency(bus, turns)
    await bus.announce("urgent", "")
    assert not turns.recently_urgent


async def test_nobody_minds_a_bus_that_is_away() -> None:
    bus, turns = Away(), Turns()
    urgency = Urgency(bus, turns)
    for _ in range(5):
        urgency.tell()
    assert turns.recently_urgent  # here it is known without the bus
    await urgency.close()
    assert bus.asked == 1  # one stands for all that came meanwhile
    urgency.tell()
    await urgency.close()
    await urgency.close()
    assert bus.asked == 2
