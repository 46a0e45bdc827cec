"""The wheel: nothing too early, nothing forgotten, nothing asked after it was taken out."""

import asyncio

from tests.gateway.harness import until
from tidings.gateway.deadlines import BUCKETS, Wheel

TICK_S = 0.01


class Thing:
    due_tick = 0

    def __init__(self, again: list[float] | None = None) -> None:
        self.asked: list[float] = []
        self.again = again or []

    def on_due(self, now: float) -> float | None:
        self.asked.append(now)
        return now + self.again.pop(0) if self.again else None


class Broken(Thing):
    def on_due(self, now: float) -> float | None:
        super().on_due(now)
        raise RuntimeError("broken")


async def until_asked(*things: Thing, times: int = 1) -> None:
    await until(lambda: all(len(thing.asked) >= times for thing in things))


async def test_each_is_asked_once_and_not_before_its_time() -> None:
    wheel = Wheel(TICK_S)
    now = asyncio.get_running_loop().time()
    things = {delay: Thing() for delay in (0.0, 0.005, 0.02, 0.05, 0.1)}
    for delay, thing in things.items():
        wheel.put(thing, now + delay)
    await until_asked(*things.values())
    await asyncio.sleep(5 * TICK_S)
    for delay, thing in things.items():
        assert len(thing.asked) == 1
        assert thing.asked[0] >= now + delay
    wheel.close()


async def test_the_answer_is_when_to_ask_again() -> None:
    wheel = Wheel(TICK_S)
    thing = Thing(again=[0.03, 0.0])
    wheel.put(thing, 0.0)
    await until_asked(thing, times=3)
    assert thing.asked[1] >= thing.asked[0] + 0.03
    wheel.close()


async def test_putting_again_moves_in_both_directions() -> None:
    wheel = Wheel(TICK_S)
    now = asyncio.get_running_loop().time()
    sooner, later, mark = Thing(), Thing(), Thing()
    wheel.put(sooner, now + 3)
    wheel.put(sooner, now + 0.02)
    wheel.put(later, now + 0.02)
    wheel.put(later, now + 3)
    wheel.put(mark, now + 0.1)
    await until_asked(sooner, mark)
    assert len(sooner.asked) == 1
    assert later.asked == []
    wheel.close()


async def test_what_is_taken_out_is_not_asked() -> None:
    wheel = Wheel(TICK_S)
    thing, mark = Thing(), Thing()
    wheel.put(thing, 0.0)
    wheel.put(mark, asyncio.get_running_loop().time() + 0.05)
    wheel.remove(thing)
    wheel.remove(thing)
    await until_asked(mark)
    assert thing.asked == []
    wheel.close()


async def test_a_far_time_is_asked_early_rather_than_never() -> None:
    wheel = Wheel(0.001)
    thing = Thing()
    wheel.put(thing, asyncio.get_running_loop().time() + 3600)
    await until_asked(thing)
    assert BUCKETS * 0.001 < 3600
    wheel.close()


async def test_a_stall_of_the_loop_loses_nothing() -> None:
    loop = asyncio.get_running_loop()
    for tick_s, stall_s in ((TICK_S, 0.1), (0.0001, 0.2)):  # less than a turn of the wheel, and more
        wheel = Wheel(tick_s)
        now = loop.time()
        things = [Thing() for _ in range(100)]
        for n, thing in enumerate(things):
            wheel.put(thing, now + n * stall_s / 200)
        while loop.time() < now + stall_s:
            pass  # the loop gets no turn
        mark = Thing()
        wheel.put(mark, loop.time())
        await until_asked(mark)
        assert all(len(thing.asked) == 1 for thing in things)  # all before what is due after the stall
        wheel.close()


async def test_one_that_breaks_stops_no_other() -> None:
    wheel = Wheel(TICK_S)
    broken, well = Broken(), Thing()
    wheel.put(broken, 0.0)
    wheel.put(well, asyncio.get_running_loop().time() + 0.05)
    await until_asked(broken, well)
    wheel.close()


async def test_after_close_nobody_is_asked() -> None:
    wheel = Wheel(TICK_S)
    thing = Thing()
    wheel.put(thing, 0.0)
    wheel.close()
    wheel.close()
    await asyncio.sleep(5 * TICK_S)
    assert thing.asked == []
