"""F8: PostgreSQL is killed and comes back. The API says 503 meanwhile, and never a 202 that is not true."""

import asyncio

import httpx
import pytest

from tests.faults import balance
from tests.faults.caller import Caller, meanwhile
from tests.faults.plant import Plant
from tidings.emulators.faults import Plan

COUNT = 2000


@pytest.mark.parametrize("rounds", [2, pytest.param(8, marks=pytest.mark.faults)])
async def test_killed_under_load(made: Plant, rounds: int) -> None:
    since = await balance.mark(await made.pool(), made.vendor)
    caller = Caller(made.api_url, COUNT, name=f"database-{rounds}")
    await caller.prepare()
    made.vendor.faults.set({"fcm": Plan(latency_ms=20, jitter_ms=200)})
    sending = asyncio.create_task(caller.insist(8, pause_s=0.01 * rounds))
    in_flight: set[int] = set()
    for number in range(rounds):
        wanted = (number + 1) * COUNT // (rounds + 2)
        await meanwhile(sending, lambda wanted=wanted: len(caller.ids) > wanted)  # type: ignore[misc]
        refused = caller.answers[503]
        await made.kill_database()
        await meanwhile(sending, lambda refused=refused: caller.answers[503] > refused)  # type: ignore[misc]
        async with httpx.AsyncClient(trust_env=False) as client:
            health = await client.get(f"{made.api_url}/api/healthcheck", timeout=30)
            assert health.status_code == 503
            assert health.json()["dependencies"]["database"] != "ok"
        await balance.quiet(made.vendor)
        taken = set(balance.seen(made.vendor, since.vendor)[0])
        await made.start_database()
        pool = await made.pool()
        restarted_at = await pool.fetchval("SELECT pg_postmaster_start_time()")
        in_flight |= taken - await balance.recorded(pool, since, restarted_at)
    await sending
    await asyncio.gather(*(part.ready() for part in made.of("worker")))
    await balance.check(await made.pool(), since, caller, made.vendor, in_flight)
    assert caller.broken == [], "every request had an answer"
    print(f"{caller.answers}, {len(in_flight)} in flight")
