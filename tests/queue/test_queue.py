"""What every queue keeps."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tidings.queue import Lane, Queue, Ticket
from tidings.queue.memory import MemoryQueue


@pytest.fixture
async def queue() -> AsyncIterator[Queue]:
    made = MemoryQueue()
    yield made
    await made.close()


async def test_what_is_published_is_taken_in_order(queue: Queue) -> None:
    await queue.publish([Ticket(n, Lane.NORMAL) for n in range(3)])
    taken = await queue.take(Lane.NORMAL, 100)
    assert [ticket.task_id for ticket in taken] == [0, 1, 2]
    await queue.done(taken)


async def test_lanes_do_not_mix(queue: Queue) -> None:
    await queue.publish([Ticket(1, Lane.BULK), Ticket(2, Lane.CRITICAL)])
    assert [t.task_id for t in await queue.take(Lane.CRITICAL, 100)] == [2]
    assert [t.task_id for t in await queue.take(Lane.BULK, 100)] == [1]


async def test_a_group_is_no_larger_than_asked_for_but_at_least_one_ticket(queue: Queue) -> None:
    await queue.publish(
        [Ticket(1, Lane.NORMAL, 400), Ticket(2, Lane.NORMAL, 200), Ticket(3, Lane.NORMAL, 900)]
    )
    assert [t.task_id for t in await queue.take(Lane.NORMAL, 500)] == [1]
    assert [t.task_id for t in await queue.take(Lane.NORMAL, 500)] == [2]
    assert [t.task_id for t in await queue.take(Lane.NORMAL, 500)] == [3]


async def test_who_waits_is_woken_and_nobody_gets_what_another_got(queue: Queue) -> None:
    takers = [asyncio.create_task(queue.take(Lane.NORMAL, 1)) for _ in range(3)]
    await asyncio.sleep(0)
    await queue.publish([Ticket(n, Lane.NORMAL) for n in range(3)])
    taken = await asyncio.wait_for(asyncio.gather(*takers), 10)
    assert sorted(t.task_id for tickets in taken for t in tickets) == [0, 1, 2]


async def test_a_taker_that_is_cancelled_loses_nothing(queue: Queue) -> None:
    gone = asyncio.create_task(queue.take(Lane.NORMAL, 10))
    stays = asyncio.create_task(queue.take(Lane.NORMAL, 10))
    await asyncio.sleep(0)
    await queue.publish([Ticket(7, Lane.NORMAL)])
    gone.cancel()
    (ticket,) = await asyncio.wait_for(stays, 10)
    assert ticket.task_id == 7
