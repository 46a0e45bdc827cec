"""Group commit: what gathers goes together, and each caller gets its own result."""

import asyncio
from collections.abc import Sequence

import pytest

from tidings.coalesce import Coalescer
from tidings.errors import NotFound, Unavailable


async def test_calls_during_a_write_go_together_in_the_next() -> None:
    batches: list[list[int]] = []
    gate = asyncio.Event()

    async def write(items: Sequence[int]) -> list[int | BaseException]:
        batches.append(list(items))
        await gate.wait()
        return [item * 10 for item in items]

    coalescer: Coalescer[int, int] = Coalescer(write, most_items=5, most_batches=1)
    calls = [asyncio.create_task(coalescer(n)) for n in range(8)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*calls) == [n * 10 for n in range(8)]
    assert [len(batch) for batch in batches] == [5, 3]
    assert sorted(item for batch in batches for item in batch) == list(range(8))


async def test_one_bad_item_fails_alone() -> None:
    async def write(items: Sequence[int]) -> list[int | BaseException]:
        return [NotFound() if item == 1 else item for item in items]

    coalescer: Coalescer[int, int] = Coalescer(write)
    results = await asyncio.gather(*(coalescer(n) for n in range(3)), return_exceptions=True)
    assert isinstance(results[1], NotFound)
    assert (results[0], results[2]) == (0, 2)


async def test_a_failed_write_reaches_every_caller_and_the_next_one_works() -> None:
    fail = [True]

    async def write(items: Sequence[int]) -> list[int | BaseException]:
        if fail.pop():
            fail.append(False)
            raise ConnectionError("away")
        fail.append(False)
        return list(items)

    coalescer: Coalescer[int, int] = Coalescer(write)
    results = await asyncio.gather(coalescer(1), coalescer(2), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError, ConnectionError]
    assert await coalescer(3) == 3


async def test_a_caller_that_goes_away_does_not_stop_the_others() -> None:
    gate = asyncio.Event()
    written: list[int] = []

    async def write(items: Sequence[int]) -> list[int | BaseException]:
        await gate.wait()
        written.extend(items)
        return list(items)

    coalescer: Coalescer[int, int] = Coalescer(write)
    gone, stays = asyncio.create_task(coalescer(1)), asyncio.create_task(coalescer(2))
    await asyncio.sleep(0)
    gone.cancel()
    gate.set()
    assert await stays == 2
    await coalescer.close()
    assert sorted(written) == [1, 2]


async def test_beyond_the_bound_nothing_is_taken() -> None:
    gate = asyncio.Event()

    async def write(items: Sequence[int]) -> list[int | BaseException]:
        await gate.wait()
        return list(items)

    coalescer: Coalescer[int, int] = Coalescer(write, most_items=1, most_batches=1, most_waiting=2)
    calls = [asyncio.create_task(coalescer(n)) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await coalescer(99)
    gate.set()
    assert await asyncio.gather(*calls) == [0, 1]


async def test_a_caller_that_comes_again_at_once_is_not_forgotten() -> None:
    async def write(items: Sequence[int]) -> list[int | BaseException]:
        return list(items)

    coalescer: Coalescer[int, int] = Coalescer(write, most_batches=1)
    async with asyncio.timeout(10):
        assert [await coalescer(n) for n in range(50)] == list(range(50))
