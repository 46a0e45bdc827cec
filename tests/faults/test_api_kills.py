"""F1: the API is killed while it accepts. What it answered is kept; what it did not answer can be asked again."""

import asyncio
import random

import pytest

from tests.faults import balance
from tests.faults.caller import Caller
from tests.faults.plant import Plant

A_ROUND = 60  # notifications that are sent between two kills, about


@pytest.mark.parametrize("rounds", [10, pytest.param(50, marks=pytest.mark.faults)])
async def test_killed_while_accepting(made: Plant, rounds: int) -> None:
    chance = random.Random(rounds)
    pool = await made.pool()
    since = await balance.mark(pool, made.vendor)
    caller = Caller(made.api_url, rounds * A_ROUND, name=f"kill-{rounds}")
    await caller.prepare()
    (api,) = made.of("api")
    for _ in range(rounds):
        sending = asyncio.create_task(caller.run(A_ROUND + chance.randrange(40)))
        await asyncio.sleep(chance.uniform(0.05, 0.5))
        await api.kill()
        await sending
        await api.start()
    await caller.insist()
    await caller.repeat()  # the same key, the same id: also where the first answer was lost on the way
    assert await balance.check(pool, since, caller, made.vendor, in_flight=set()) == 0
