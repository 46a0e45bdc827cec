"""Turns of the event loop: work in bulk comes in pieces, few of them while something critical is at hand."""

import asyncio
import contextlib

from tests.conftest import eventually
from tidings.turns import EXPECTED_S, LOOK_S, RECENTLY_URGENT, USUALLY, Turns


class Bulk:
    """Takes turns for ever, and counts them."""

    def __init__(self, turns: Turns, hands: int = 2 * USUALLY) -> None:
        self.taken = 0
        self._turns = turns
        self.hands = [asyncio.create_task(self._take()) for _ in range(hands)]

    async def _take(self) -> None:
        while True:
            await self._turns.take()
            self.taken += 1

    async def during(self, loops: int) -> int:
        """How many turns are taken while the loop makes so many."""
        before = self.taken
        for _ in range(loops):
            await asyncio.sleep(0)
        return self.taken - before

    async def stop(self) -> None:
        for hand in self.hands:
            hand.cancel()
        await asyncio.gather(*self.hands, return_exceptions=True)


async def test_a_few_pieces_in_each_turn_of_the_loop_and_fewer_after_something_critical() -> None:
    turns = Turns()
    bulk = Bulk(turns)
    try:
        await bulk.during(10)
        assert 0 < await bulk.during(10) <= 10 * USUALLY
        with turns.urgent():
            assert turns.recently_urgent
        before = bulk.taken

        async def goes_on() -> bool | None:
            return bulk.taken >= before + 5 or None

        await eventually(goes_on)
        assert await bulk.during(10) <= 10 * RECENTLY_URGENT
    finally:
        await bulk.stop()


async def test_while_something_critical_is_at_hand_bulk_goes_on_but_slowly() -> None:
    turns = Turns()
    bulk = Bulk(turns)
    try:
        await bulk.during(10)
        with turns.urgent(), turns.urgent():
            await bulk.during(2)
            assert await bulk.during(10) <= 1
            before = bulk.taken

            async def moved() -> bool | None:
                return bulk.taken >= before + 3 or None

            await eventually(moved)
        before = bulk.taken

        async def faster() -> bool | None:
            return bulk.taken >= before + 100 or None

        await eventually(faster)
    finally:
        await bulk.stop()


async def test_who_is_cancelled_takes_no_turn_from_others() -> None:
    turns = Turns()
    with turns.urgent():
        first, second = asyncio.create_task(turns.take()), asyncio.create_task(turns.take())
        await asyncio.sleep(0)
        first.cancel()
    async with asyncio.timeout(5):
        await second
        with contextlib.suppress(asyncio.CancelledError):
            await first


async def test_first_come_first_served() -> None:
    turns, order = Turns(), []

    async def one(n: int) -> None:
        await turns.take()
        order.append(n)

    with turns.urgent():
        ones = [asyncio.create_task(one(n)) for n in range(3 * USUALLY)]
        await asyncio.sleep(0)
    await asyncio.gather(*ones)
    assert order == sorted(order)


async def test_a_turn_comes_again_after_a_pause() -> None:
    turns = Turns()
    for _ in range(3):
        async with asyncio.timeout(5):
            await asyncio.gather(*(turns.take() for _ in range(2 * USUALLY)))
        await asyncio.sleep(0.01)
    with turns.urgent():
        pass
    async with asyncio.timeout(5):
        await asyncio.gather(*(turns.take() for _ in range(2 * USUALLY)))


async def test_what_is_on_its_way_slows_bulk_down_as_what_is_at_hand() -> None:
    turns = Turns()
    bulk = Bulk(turns)
    try:
        await bulk.during(10)
        turns.expect()
        assert turns.recently_urgent
        await bulk.during(2)
        assert await bulk.during(10) <= 1
        before = bulk.taken

        async def goes_on() -> bool | None:
            turns.expect()  # there is always something on its way
            return bulk.taken >= before + 3 or None

        await eventually(goes_on)
    finally:
        await bulk.stop()


async def test_large_statements_are_made_at_once_when_nothing_is_critical() -> None:
    turns = Turns()
    async with asyncio.timeout(5), turns.alone(), turns.alone():
        await turns.take()


async def test_a_large_statement_is_alone_after_something_critical() -> None:
    turns, running, most, ends = Turns(), 0, 0, []
    bulk = Bulk(turns)

    async def statement(n: int) -> None:
        nonlocal running, most
        async with turns.alone():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)  # what was dealt before goes on
            before = bulk.taken
            await asyncio.sleep(0.01)
            assert bulk.taken <= before + RECENTLY_URGENT
            running -= 1
        ends.append(n)

    try:
        with turns.urgent():
            pass
        async with asyncio.timeout(5):
            await asyncio.gather(*(statement(n) for n in range(5)))
        assert most == 1
        assert ends == sorted(ends)
    finally:
        await bulk.stop()


async def test_a_large_statement_waits_for_what_is_critical_but_not_for_ever() -> None:
    turns, began = Turns(), asyncio.Event()

    async def statement() -> None:
        async with turns.alone():
            began.set()

    with turns.urgent():
        making = asyncio.create_task(statement())
        await asyncio.sleep(2 * LOOK_S)
        assert not began.is_set()
        async with asyncio.timeout(5):
            await making
    assert began.is_set()


async def test_a_large_statement_that_fails_or_is_cancelled_leaves_the_way_free() -> None:
    turns = Turns()
    with turns.urgent():
        pass

    async def failing() -> None:
        async with turns.alone():
            raise RuntimeError

    async def hanging() -> None:
        async with turns.alone():
            await asyncio.Event().wait()

    hangs = asyncio.create_task(hanging())
    waits = asyncio.create_task(hanging())
    await asyncio.sleep(0.02)
    waits.cancel()
    hangs.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(hangs, waits, failing(), return_exceptions=True)
        async with turns.alone():
            pass
        await turns.take()


async def test_bulk_does_not_hold_its_breath_for_long_however_much_is_critical() -> None:
    turns = Turns()
    bulk = Bulk(turns)

    async def breathes() -> bool | None:
        turns.expect()
        return await bulk.during(10) > 2 or None

    try:
        with turns.urgent():
            await eventually(breathes)
            assert turns.recently_urgent
    finally:
        await bulk.stop()


async def test_bulk_breathes_also_when_critical_ones_come_a_little_apart() -> None:
    turns = Turns()
    bulk = Bulk(turns)

    taken = 0
    try:
        turns.expect()
        await bulk.during(10)  # what was dealt out before has been done
        async with asyncio.timeout(20):
            while taken <= 2:
                await asyncio.sleep(EXPECTED_S + 0.001)  # so that each is expected by itself
                turns.expect()
                taken = await bulk.during(10)
    finally:
        await bulk.stop()
