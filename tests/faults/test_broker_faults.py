"""F5, F19 and the unreadable half of F20: what RabbitMQ may do and lose, and what may lie in its queues."""

import asyncio
import contextlib
import random
from collections.abc import Sequence

import aiormq
import httpx
import pytest

from tests.conftest import eventually
from tests.faults import balance
from tests.faults.caller import Caller, meanwhile
from tests.faults.plant import Plant
from tests.servers import RabbitServer
from tidings.queue import Lane, wire

COUNT = 2000
QUEUE = "tidings.normal"
DEAD = "tidings.dead"


async def open_channel(rabbitmq: RabbitServer) -> tuple[aiormq.Connection, aiormq.abc.AbstractChannel]:
    """A foreign connection to the broker, and a channel with publisher confirms."""
    address = rabbitmq.address
    url = f"amqp://{address.user}:{address.password}@127.0.0.1:{address.port}/"
    connection = await aiormq.connect(url)
    return connection, await connection.channel()


async def publish(made: Plant, bodies: Sequence[bytes]) -> None:
    """Put messages straight into the queue of the normal lane."""
    connection, channel = await open_channel(made.rabbitmq)
    try:
        for body in bodies:
            await channel.basic_publish(body, routing_key=QUEUE)
    finally:
        await connection.close()


@pytest.mark.parametrize("wiped", [pytest.param(False, marks=pytest.mark.faults), True], ids=["killed", "wiped"])
async def test_the_broker_dies_in_mid_flow(made: Plant, wiped: bool) -> None:
    pool = await made.pool()
    since = await balance.mark(pool, made.vendor)
    caller = Caller(made.api_url, COUNT, name=f"broker-{wiped}")
    await caller.prepare()
    sending = asyncio.create_task(caller.insist(8, pause_s=0.02))
    await meanwhile(sending, lambda: len(caller.ids) > COUNT // 10)
    await (made.rabbitmq.wipe() if wiped else made.rabbitmq.kill())
    told = len(caller.ids)
    await meanwhile(sending, lambda: len(caller.ids) > told + 100)
    await made.rabbitmq.start()
    await sending
    assert caller.answers == {202: COUNT}, "the API accepted all the time"
    assert caller.broken == []
    # What a worker holds is recorded without a broker, so nothing was in flight in the sense of I2.
    assert await balance.check(pool, since, caller, made.vendor, in_flight=set()) == 0
    await asyncio.gather(*(part.ready() for part in made.of("worker")))


async def test_in_a_memory_alarm_the_api_accepts_as_before(made: Plant) -> None:
    pool = await made.pool()
    since = await balance.mark(pool, made.vendor)
    caller = Caller(made.api_url, COUNT // 4, name="alarm")
    await caller.prepare()
    await made.rabbitmq.alarm(True)
    try:
        await caller.insist(8)
        assert (caller.answers, caller.broken) == ({202: caller.count}, [])
        taken, _ = balance.seen(made.vendor, since.vendor)
        assert len(taken) < caller.count, "the broker took nothing, or next to nothing"
    finally:
        await made.rabbitmq.alarm(False)
    assert await balance.check(pool, since, caller, made.vendor, in_flight=set()) == 0


async def test_every_role_starts_while_the_broker_is_away(made: Plant) -> None:
    since = await balance.mark(await made.pool(), made.vendor)
    roles = ("api", "gateway", "scheduler", "worker")
    assert set(await asyncio.gather(*(part.stop() for role in roles for part in made.of(role)))) == {0}
    await made.rabbitmq.kill()
    await made.start("api", "gateway")  # ready, as they are when the broker goes away later
    workers = [made.make("worker", 1), made.make("scheduler", 1)]
    for part in workers:
        await part.spawn()
    caller = Caller(made.api_url, 200, name="brokerless")
    await caller.prepare()
    await caller.insist(8)
    assert caller.answers == {202: 200}
    async with made.client() as client:
        health = await client.get("/api/healthcheck")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert health.json()["dependencies"] == {"database": "ok", "queue": "away", "bus": "ok"}

        async def waiting() -> bool | None:
            found = []
            for part in workers:
                with contextlib.suppress(httpx.TransportError):
                    answer = await client.get(f"http://127.0.0.1:{part.operations_port}/readyz")
                    found.append((answer.status_code, answer.json()["dependencies"]["queue"]))
            return found == [(503, "away")] * 2 or None

        await eventually(waiting, 60)
    await made.rabbitmq.start()
    await asyncio.gather(*(part.ready() for part in workers))
    assert await balance.check(await made.pool(), since, caller, made.vendor, in_flight=set()) == 0


async def test_a_wrong_password_stops_the_start_with_a_sentence(made: Plant) -> None:
    for role in ("api", "worker"):
        part = made.make(role, 1, RABBITMQ_PASSWORD="wrong", PORT="0")
        await part.spawn()
        assert part.process is not None
        assert await part.process.wait() == 2
        assert "refuses the user" in part.log.splitlines()[-1]
    gateway = await made.add("gateway", RABBITMQ_PASSWORD="wrong", GATEWAY_PORT="0")  # it asks RabbitMQ for nothing
    assert await gateway.stop() == 0


async def test_messages_that_come_up_to_three_times_in_any_order_have_one_effect(made: Plant) -> None:
    chance = random.Random(19)
    pool = await made.pool()
    since = await balance.mark(pool, made.vendor)
    caller = Caller(made.api_url, COUNT // 4, name="twice")
    await caller.prepare()
    await asyncio.gather(*(part.stop() for part in made.of("worker")))
    await caller.insist(8)
    rows = await pool.fetch("SELECT id, cardinality(subject_ids) AS size FROM tasks WHERE lane = 'normal'")
    assert len(rows) > 1
    bodies = [wire.encode(Lane.NORMAL, [(row["id"], row["size"])]) for row in rows]
    copies = [body for body in bodies for _ in range(chance.randint(1, 3))]
    chance.shuffle(copies)
    await publish(made, copies)
    await made.start("worker", "worker")
    late = copies[: len(copies) // 2]  # and some again, while they are worked on or done
    await publish(made, late)
    assert await balance.check(pool, since, caller, made.vendor, in_flight=set()) == 0


async def dead_reasons(made: Plant) -> list[str]:
    """Take all dead letters; why each is there."""
    connection, channel = await open_channel(made.rabbitmq)
    reasons = []
    try:
        while (found := await channel.basic_get(DEAD, no_ack=True)).delivery_tag:
            headers = found.header.properties.headers or {}
            reasons.append(str(headers["reason"]))
    finally:
        await connection.close()
    return reasons


async def test_unreadable_messages_are_set_aside_and_their_neighbours_arrive(made: Plant) -> None:
    pool = await made.pool()
    since = await balance.mark(pool, made.vendor)
    await dead_reasons(made)
    bad = [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"null",
        b"[" * 5000,
        b'{"version": 99, "lane": "normal", "tickets": [[1, 1]]}',
        b'{"version": 1, "lane": "bulk", "tickets": [[1, 1]]}',
        b'{"version": 1, "lane": "normal", "tickets": []}',
        b'{"version": 1, "lane": "normal", "tickets": [[-1, 1]]}',
        b'{"version": 1, "lane": "normal", "tickets": [["1", 1]], "more": 1}',
        b'{"version": 1, "lane": "normal", "tickets": [' + b"[1,1]," * 100_000 + b"[1,1]]}",
    ]
    caller = Caller(made.api_url, COUNT // 4, name="unreadable")
    await caller.prepare()
    await asyncio.gather(caller.insist(8), publish(made, bad * 3))
    assert await balance.check(pool, since, caller, made.vendor, in_flight=set()) == 0
    found: list[str] = []

    async def all_dead() -> bool | None:
        found.extend(await dead_reasons(made))
        return True if len(found) >= 3 * len(bad) else None

    await eventually(all_dead, 60)
    assert len(found) == 3 * len(bad)
    assert sum("version 99" in reason for reason in found) == 3
    assert sum("bytes are more than" in reason for reason in found) == 3
