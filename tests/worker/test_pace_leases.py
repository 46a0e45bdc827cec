"""A quota that several processes share: the paces of two of them on one bus, in memory and Redis, and without it."""

import asyncio
import math
import secrets

import pytest

from tests.bus.conftest import bus
from tests.conftest import eventually
from tidings.bus import Bus, BusUnavailable
from tidings.providers.contract import Sent
from tidings.worker.leases import lease_of
from tidings.worker.limits import Limits
from tidings.worker.pace import Pace

__all__ = ["bus"]

SHARED = Limits(rate_per_s=100.0, burst=100, shared=True, processes=2, most_at_once=1000, start_at_once=1000)


def fill(pace: Pace, most: int = 10_000) -> int:
    """Calls that go at once."""
    made = 0
    while made < most and pace.ask(urgent=True) is None:
        pace.leave(Sent(), 0.0, retry=False)
        made += 1
    return made


async def test_two_processes_together_stay_within_the_quota(bus: Bus) -> None:
    account = f"test-{secrets.token_hex(4)}"
    lease = lease_of(bus, account, SHARED)
    assert lease is not None
    began = asyncio.get_running_loop().time()
    paces = [Pace(SHARED, lease=lease) for _ in range(2)]
    made = 0

    async def enough() -> bool | None:
        nonlocal made
        made += sum(fill(pace) for pace in paces)
        return made >= 250 or None

    await eventually(enough)
    passed_s = asyncio.get_running_loop().time() - began
    # each had half a burst of its own before the bus was asked, the bus gives one burst, then a hundred a second
    assert made <= 100 + 100 + 100 * passed_s + 2 * 5
    for pace in paces:
        pace.close()


async def test_a_lease_is_cut_to_what_is_left(bus: Bus) -> None:
    lease = lease_of(bus, f"test-{secrets.token_hex(4)}", Limits(rate_per_s=0.001, burst=10, shared=True))
    assert lease is not None
    assert [await lease(7), await lease(7), await lease(7)] == [7, 3, 0]
    assert lease_of(bus, "other", Limits(rate_per_s=1.0)) is None
    assert lease_of(bus, "other", Limits(shared=True)) is None


@pytest.mark.parametrize("trouble", [BusUnavailable("gone"), None])
async def test_without_the_bus_each_takes_its_part(trouble: Exception | None) -> None:
    asked = asyncio.Event()

    async def lease(_tokens: int) -> int:
        asked.set()
        if trouble is not None:
            raise trouble
        await asyncio.Event().wait()
        return 0

    now = [0.0]
    pace = Pace(SHARED, lease=lease, clock=lambda: now[0])
    assert fill(pace) == 50, "half the burst, for there are two"
    await asyncio.wait_for(asked.wait(), 5)
    await asyncio.sleep(0)
    for _ in range(10):
        now[0] += 0.1
        assert math.isclose(fill(pace), 5, abs_tol=1), "half the rate"
    pace.close()


async def test_a_pace_that_is_closed_asks_no_more() -> None:
    asked = 0

    async def lease(tokens: int) -> int:
        nonlocal asked
        asked += 1
        return tokens

    pace = Pace(SHARED, lease=lease)
    fill(pace, 40)
    pace.close()
    await asyncio.sleep(0.01)
    before = asked
    fill(pace, 40)
    await asyncio.sleep(0.01)
    assert asked == before
