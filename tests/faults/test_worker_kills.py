"""F2 and the poisonous half of F20: workers that are killed or paused over their work."""

import asyncio
import signal

from tests.conftest import eventually
from tests.faults import balance
from tests.faults.balance import ARRIVED
from tests.faults.caller import Caller
from tests.faults.conftest import LEASE_S
from tests.faults.plant import Part, Plant
from tidings import ledger
from tidings.db import Pool
from tidings.emulators.faults import Plan
from tidings.worker import poison

IN_FLIGHT = 200
COUNT = 500


async def only_worker(made: Plant) -> Part:
    """End all workers but one, so that the test knows who has a task."""
    worker, *others = made.of("worker")
    await asyncio.gather(*(other.stop() for other in others))
    return worker


async def claimed(pool: Pool, since: balance.Mark) -> int:
    """How many notifications are under a lease and not final."""
    count: int = await pool.fetchval(
        """SELECT count(*) FROM (SELECT unnest(subject_ids) AS id FROM tasks WHERE lease_until > now()) AS t
        JOIN notifications n USING (id) WHERE n.id > $1 AND n.status <> ALL($2::text[])""",
        since.notification,
        list(ARRIVED),
    )
    return count


async def mid_batch(pool: Pool, since: balance.Mark, made: Plant) -> None:
    """Wait until 200 or more of a batch are open, and the vendor has answered some of these."""

    async def underway() -> bool | None:
        answered = await balance.unrecorded(pool, since, made.vendor)
        return True if len(answered) >= 10 and await claimed(pool, since) >= IN_FLIGHT else None

    await eventually(underway, 60)


async def test_killed_with_two_hundred_in_flight(made: Plant) -> None:
    pool = await made.pool()
    since = await balance.mark(pool, made.vendor)
    caller = Caller(made.api_url, COUNT, name="worker-kill")
    await caller.prepare()
    made.vendor.faults.set({"fcm": Plan(latency_ms=150, jitter_ms=1500)})
    worker = await only_worker(made)
    await worker.stop()
    await caller.insist(64)
    await worker.start()
    await mid_batch(pool, since, made)
    await worker.kill()
    in_flight = await balance.unrecorded(pool, since, made.vendor)
    assert in_flight, "nothing was between the vendor's answer and the record"
    made.vendor.faults.clear()
    await worker.start()
    repeats = await balance.check(pool, since, caller, made.vendor, in_flight)
    print(f"{len(in_flight)} in flight at the kill, {repeats} repeated")


async def test_a_worker_that_slept_through_its_lease_records_nothing(made: Plant) -> None:
    pool = await made.pool()
    since = await balance.mark(pool, made.vendor)
    caller = Caller(made.api_url, COUNT, name="worker-pause")
    await caller.prepare()
    made.vendor.faults.set({"fcm": Plan(latency_ms=150, jitter_ms=1500)})
    sleeper = await only_worker(made)
    await sleeper.stop()
    await caller.insist(64)
    await sleeper.start()
    await mid_batch(pool, since, made)
    sleeper.signal(signal.SIGSTOP)
    paused_at = asyncio.get_running_loop().time()
    in_flight = await balance.unrecorded(pool, since, made.vendor)
    made.vendor.faults.clear()
    await made.add("worker")
    await balance.settle(pool)
    await asyncio.sleep(max(0.0, paused_at + 2 * LEASE_S - asyncio.get_running_loop().time()))
    before = await shown(pool, since)
    sleeper.signal(signal.SIGCONT)

    async def gave_up() -> bool | None:
        return True if "claim_lost" in sleeper.log else None

    await eventually(gave_up, 60)
    assert await shown(pool, since) == before, "what the sleeper recorded changed something"
    # The calls that were open when it fell asleep may have reached the vendor meanwhile.
    in_flight |= {i for i, times in balance.seen(made.vendor, since.vendor)[0].items() if times > 1} & set(before)
    await balance.check(pool, since, caller, made.vendor, in_flight)


async def shown(pool: Pool, since: balance.Mark) -> dict[int, tuple[object, ...]]:
    """Every delivery as it is recorded."""
    rows = await pool.fetch(
        """SELECT notification_id, status, attempts, sent_at, updated_at, provider_message_id FROM deliveries
        WHERE notification_id > $1 AND channel = 'push'""",
        since.notification,
    )
    return {row["notification_id"]: tuple(row) for row in rows}


async def test_what_workers_die_over_is_set_aside_and_its_neighbours_arrive(made: Plant) -> None:
    pool = await made.pool()
    since = await balance.mark(pool, made.vendor)
    caller = Caller(made.api_url, 20, users=20, name="poison")
    await caller.prepare()
    worker = await only_worker(made)
    await worker.stop()
    await caller.insist(20)
    culprit = caller.ids[7]
    made.vendor.faults.set({"fcm": Plan(latency_ms=400)})  # so that the kill comes before the answer
    await worker.start()
    deaths, fence = 0, 0

    async def state() -> tuple[str, int]:
        row = await pool.fetchrow(
            """SELECT n.status, t.id IS NOT NULL AND t.lease_until > now() AS leased, coalesce(t.fence, 0) AS fence
            FROM notifications n LEFT JOIN tasks t ON n.id = ANY(t.subject_ids) WHERE n.id = $1""",
            culprit,
        )
        assert row is not None
        return row["status"], row["fence"] if row["leased"] else 0

    async with asyncio.timeout(240):
        while (found := await state())[0] != "failed":
            assert found[0] not in ARRIVED, "the culprit got through"
            # A claim beyond the last try is not delivered but set aside, so there is nothing to die over.
            if 0 < found[1] <= poison.MOST_CLAIMS and found[1] != fence:
                fence = found[1]
                await worker.kill()
                deaths += 1
                await worker.start()
            await asyncio.sleep(0.005)
    made.vendor.faults.clear()
    await balance.settle(pool)
    rows = await pool.fetch("SELECT id, status FROM notifications WHERE id > $1", since.notification)
    assert {row["id"] for row in rows if row["status"] not in ARRIVED} == {culprit}, "its neighbours arrived"
    assert culprit not in balance.seen(made.vendor, since.vendor)[0]
    reason = await pool.fetchval(
        "SELECT reason FROM deliveries WHERE notification_id = $1 AND status = 'failed'", culprit
    )
    assert reason == "poison"
    assert 5 <= deaths <= 10, f"set aside after {deaths} deaths"
    assert (await ledger.read(pool)).lost == []
    async with made.client() as client:
        letters = (await client.get("/api/dead-letters?reason=poison")).json()
        assert [letter["notification_id"] for letter in letters] == [culprit]
        redriven = await client.post("/api/dead-letters/redrive", json={"notification_ids": [culprit]})
        assert redriven.status_code == 202, redriven.text
    await balance.settle(pool)  # whatever becomes of it, it does not lie about for ever
    await balance.check_conservation(pool)
