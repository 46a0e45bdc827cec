"""SIGTERM to a worker in the middle of a group, while the vendor is slow: what it took is not sent again."""

import asyncio

from tests.conftest import eventually
from tests.faults import balance
from tests.faults.caller import Caller
from tests.faults.plant import Plant

QUICK = 60
STRAGGLER_MS = 14_800  # longer than a worker waits when it is to end


async def test_stopped_while_one_call_is_slower_than_its_grace(made: Plant) -> None:
    pool = await made.pool()
    since = await balance.mark(pool, made.vendor)
    caller = Caller(made.api_url, QUICK + 1, users=QUICK, name="latency-2000")
    await caller.prepare()
    slow = f"latency-{STRAGGLER_MS}"
    async with made.client() as client:
        user = (await client.post("/api/users", json={"external_id": slow})).json()["id"]
        phone = {"device_token": slow, "device_type": "android"}
        assert (await client.post(f"/api/users/{user}/devices", json=phone)).status_code == 201
    caller.users.append(user)
    await asyncio.gather(*(worker.stop() for worker in made.of("worker")))
    await caller.insist(32)
    stopped = await made.add("worker", TIDINGS_LEASE_S="60")

    async def taken() -> bool | None:
        return True if len(balance.seen(made.vendor, since.vendor)[0]) == QUICK else None

    await eventually(taken, 60)
    assert await stopped.stop() == 0, stopped.log
    statuses = await pool.fetch("SELECT status FROM notifications WHERE id = ANY($1)", list(caller.ids.values()))
    assert sorted(row["status"] for row in statuses) == ["pending"] + ["sent"] * QUICK
    leases = await pool.fetchval("SELECT count(*) FROM tasks WHERE lease_until > now()")
    assert leases == 0, "the next worker would have to wait for the lease"
    await made.add("worker", TIDINGS_LEASE_S="60")
    assert await balance.check(pool, since, caller, made.vendor, in_flight=set()) == 0
