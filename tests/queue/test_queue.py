"""What every queue keeps. An implementation joins by adding itself to the fixture `queue`."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.conftest import eventually
from tests.queue.conftest import ALL, config_of
from tests.servers import Servers, private_or_named_rabbitmq
from tidings.queue import Lane, Queue, Ticket
from tidings.queue.memory import MemoryQueue
from tidings.queue.rabbitmq import open_rabbitmq


@pytest.fixture(params=["memory", "rabbitmq"])
async def queue(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[Queue]:
    made: Queue
    if request.param == "memory":
        made = MemoryQueue()
    else:
        made = await open_rabbitmq(config_of(await private_or_named_rabbitmq(servers)), consume=ALL)
    yield made
    await made.close()


async def taken_until(queue: Queue, lane: Lane, count: int, most: int = 500) -> list[Ticket]:
    """Take until so many tickets have come. Each is done at once."""
    taken: list[Ticket] = []
    async with asyncio.timeout(20):
        while len(taken) < count:
            tickets = await queue.take(lane, most)
            await queue.done(tickets)
            taken += tickets
    return taken


async def test_what_is_published_is_taken_in_order(queue: Queue) -> None:
    await queue.publish([Ticket(n, Lane.NORMAL) for n in range(300)])
    taken = await taken_until(queue, Lane.NORMAL, 300)
    assert [ticket.task_id for ticket in taken] == list(range(300))


async def test_a_ticket_arrives_as_it_was(queue: Queue) -> None:
    await queue.publish([Ticket(2**62, Lane.WEBHOOK, 321)])
    async with asyncio.timeout(20):
        (ticket,) = await queue.take(Lane.WEBHOOK, 500)
    assert (ticket.task_id, ticket.lane, ticket.size, ticket.suspect) == (2**62, Lane.WEBHOOK, 321, False)


async def test_lanes_do_not_mix(queue: Queue) -> None:
    await queue.publish([Ticket(n, lane) for n, lane in enumerate(Lane)])
    for n, lane in reversed(list(enumerate(Lane))):
        assert [t.task_id for t in await taken_until(queue, lane, 1)] == [n]


async def test_a_group_is_no_larger_than_asked_for_but_at_least_one_ticket(queue: Queue) -> None:
    sizes = [400, 200, 900, 100, 100]
    await queue.publish([Ticket(n, Lane.NORMAL, size) for n, size in enumerate(sizes)])
    groups: list[list[Ticket]] = []
    async with asyncio.timeout(20):
        while sum(len(group) for group in groups) < len(sizes):
            groups.append(await queue.take(Lane.NORMAL, 500))
    assert all(len(group) == 1 or sum([t.size for t in group]) <= 500 for group in groups)
    assert [t.size for group in groups for t in group] == sizes
    assert len(groups) >= 4


async def test_who_waits_is_woken_and_nobody_gets_what_another_got(queue: Queue) -> None:
    takers = [asyncio.create_task(queue.take(Lane.NORMAL, 1)) for _ in range(3)]
    await asyncio.sleep(0)
    await queue.publish([Ticket(n, Lane.NORMAL) for n in range(3)])
    taken = await asyncio.wait_for(asyncio.gather(*takers), 20)
    assert sorted(t.task_id for tickets in taken for t in tickets) == [0, 1, 2]


async def test_a_taker_that_is_cancelled_loses_nothing(queue: Queue) -> None:
    gone = asyncio.create_task(queue.take(Lane.NORMAL, 10))
    stays = asyncio.create_task(queue.take(Lane.NORMAL, 10))
    await asyncio.sleep(0)
    await queue.publish([Ticket(7, Lane.NORMAL)])
    gone.cancel()
    (ticket,) = await asyncio.wait_for(stays, 20)
    assert ticket.task_id == 7


async def test_a_task_may_be_published_again(queue: Queue) -> None:
    for _ in range(2):
        await queue.publish([Ticket(5, Lane.CRITICAL)])
        assert [t.task_id for t in await taken_until(queue, Lane.CRITICAL, 1)] == [5]


async def test_done_and_reject_twice_and_of_strangers_are_safe(queue: Queue) -> None:
    await queue.publish([Ticket(1, Lane.NORMAL), Ticket(2, Lane.NORMAL)])
    tickets: list[Ticket] = []
    async with asyncio.timeout(20):
        while len(tickets) < 2:
            tickets += await queue.take(Lane.NORMAL, 500)
    stranger = Ticket(99, Lane.NORMAL, 1, tag=10**9)
    for _ in range(2):
        await queue.done([tickets[0], stranger])
        await queue.reject([tickets[1]], "poison")
    await queue.publish([Ticket(3, Lane.NORMAL)])
    assert [t.task_id for t in await taken_until(queue, Lane.NORMAL, 1)] == [3]


async def test_depths_tell_what_was_rejected_and_what_waits(queue: Queue) -> None:
    await queue.publish([Ticket(1, Lane.NORMAL)])
    async with asyncio.timeout(20):
        tickets = await queue.take(Lane.NORMAL, 500)
    await queue.reject(tickets, "poison")

    async def counted() -> bool | None:
        depths = await queue.depths()
        assert set(depths) == {lane.value for lane in Lane} | {"dead"}
        return True if depths["dead"] == 1 and depths["normal"] == 0 else None

    assert await eventually(counted)


async def test_it_is_healthy_and_closes_twice(queue: Queue) -> None:
    assert queue.healthy
    await queue.close()
    await queue.close()
