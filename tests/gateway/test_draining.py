"""Sockets are sent away in batches, at random moments and in random order."""

import asyncio
import itertools
import random

import pytest

from tests.gateway.harness import close_code, until, world
from tidings.gateway.draining import batches
from tidings.gateway.hub import DRAIN_STEPS
from tidings.gateway.protocol import CloseCode

LASTS_S = 8.0


@pytest.mark.parametrize("count", [0, 1, 2, 19, 20, 21, 1000, 1999])
def test_everyone_goes_once_in_batches_of_one_size(count: int) -> None:
    made = batches(range(count), LASTS_S, DRAIN_STEPS)
    assert sorted(one for _, batch in made for one in batch) == list(range(count))
    sizes = [len(batch) for _, batch in made]
    assert len(sizes) <= DRAIN_STEPS
    assert not sizes or max(sizes) == -(-count // DRAIN_STEPS)
    assert sizes[:-1] == sizes[:1] * (len(sizes) - 1)


def test_each_batch_has_a_moment_of_its_own() -> None:
    made = batches(range(1000), LASTS_S, DRAIN_STEPS, random.Random(1).random)
    moments = [at_s for at_s, _ in made]
    part_s = LASTS_S / DRAIN_STEPS
    assert len(made) == DRAIN_STEPS > 1
    assert [int(at_s / part_s) for at_s in moments] == list(range(DRAIN_STEPS)), "spread over all of the time"
    pauses = [after - before for before, after in itertools.pairwise(moments)]
    assert max(pauses) > 1.5 * min(pauses), "evenly spaced"


def test_two_gateways_are_not_in_step() -> None:
    one, other = (batches(range(1000), LASTS_S, DRAIN_STEPS, random.Random(seed).random) for seed in (1, 2))
    assert [at_s for at_s, _ in one] != [at_s for at_s, _ in other]
    assert [batch for _, batch in one] != [batch for _, batch in other]
    assert one[0][1] != sorted(one[0][1]), "in the order in which they came"


async def test_the_first_are_sent_away_while_the_last_stay() -> None:
    async with world() as here, here.client(7) as one, here.client(8) as two, here.client(9) as three:
        draining = asyncio.create_task(here.gateway.drain(120.0))  # some five seconds from one to the next
        codes = [asyncio.create_task(close_code(client.connection)) for client in (one, two, three)]
        done, staying = await asyncio.wait(codes, return_when=asyncio.FIRST_COMPLETED)
        assert [code.result() for code in done] == [CloseCode.SHUTTING_DOWN] * len(done)
        assert any(not socket.closing for socket in here.gateway._hub.sockets), "all were told at once"
        draining.cancel()
        await here.gateway.close()
        assert await asyncio.gather(*staying) == [CloseCode.SHUTTING_DOWN] * len(staying)
        await until(lambda: here.gateway.connections() == 0)


async def test_a_drain_of_nobody_is_done_at_once() -> None:
    async with world() as here, asyncio.timeout(20):
        await here.gateway.drain(600.0)
