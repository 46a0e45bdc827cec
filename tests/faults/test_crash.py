"""Accepted means kept: the process is killed with SIGKILL again and again while it accepts and delivers."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.faults.balance import seen
from tests.faults.caller import Caller
from tests.faults.service import Service
from tidings import db, embedded, emulators, ledger
from tidings.emulators.faults import Plan

A_ROUND = 100  # notifications for each kill
FINAL = ("sent", "delivered")


async def unrecorded(data_dir: Path) -> set[int]:
    """The notifications that are not final in the database that the killed process left behind."""
    server = embedded.start(data_dir)
    try:
        pool = await db.open_pool(
            host=str(server.socket_dir),
            port=embedded.SOCKET_PORT,
            database="postgres",
            user=embedded.SUPERUSER,
            password=None,
            size=2,
        )
        try:
            rows = await pool.fetch("SELECT id FROM notifications WHERE status <> ALL($1::text[])", list(FINAL))
            assert (await ledger.read(pool)).lost == []
        finally:
            await pool.close()
    finally:
        await server.stop()
    return {row["id"] for row in rows}


@pytest.mark.parametrize("rounds", [20])
async def test_kills_lose_nothing_and_repeat_no_more_than_was_in_flight(folder: Path, rounds: int) -> None:
    count = rounds * A_ROUND
    chance = random.Random(2026)
    vendor = await emulators.start()
    vendor.faults.set({"fcm": Plan(latency_ms=30, jitter_ms=60)})
    service = Service(folder, vendor, TIDINGS_LEASE_S="6", TIDINGS_RESCUE_S="1")
    caller = Caller(service.url, count)
    in_flight, position = 0, 0
    try:
        await service.start()
        await caller.prepare()
        for _ in range(rounds):
            sending = asyncio.create_task(caller.run(A_ROUND + chance.randrange(40)))
            await asyncio.sleep(chance.uniform(0.05, 0.5))
            await service.kill()
            await sending
            lately, position = seen(vendor, position)
            in_flight += len(await unrecorded(folder) & set(lately))
            await service.start()
        while caller.waiting:
            await caller.run(len(caller.waiting))
        await all_final(folder, count)
        everything, _ = seen(vendor)
        repeats = sum(n - 1 for n in everything.values())
        assert set(everything) == set(caller.ids.values()), "every accepted notification was seen, and no other"
        assert len(set(caller.ids.values())) == count, "a repeated request made no second notification"
        assert repeats <= in_flight, f"{repeats} repeats, {in_flight} were in flight"
        print(f"{rounds} kills, {count} notifications, {in_flight} in flight at a kill, {repeats} repeats")
        assert await service.stop() == 0
    finally:
        if service.process is not None and service.process.returncode is None:
            await service.kill()
        await vendor.close()


async def all_final(data_dir: Path, count: int) -> None:
    """Wait until the ledger says so: all sent, no task left, nothing lost."""
    server = embedded.start(data_dir)  # joins the service's
    assert server.process is None
    pool = await db.open_pool(
        host=str(server.socket_dir),
        port=embedded.SOCKET_PORT,
        database="postgres",
        user=embedded.SUPERUSER,
        password=None,
        size=2,
    )

    async def settled() -> ledger.Ledger | None:
        found = await ledger.read(pool)
        return found if found.in_progress == 0 and not found.tasks else None

    try:
        found = await eventually(settled, 60)
        assert found.lost == []
        assert sum(found.statuses.get(status, 0) for status in FINAL) == count, found
    finally:
        await pool.close()
