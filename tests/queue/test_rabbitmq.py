"""RabbitMQ as the queue: sharing, redelivery, poison, refusals. Every test runs on a real broker."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import aiormq
import msgspec
import pytest
from pamqp import commands

from tests.conftest import eventually
from tests.queue.conftest import Opening, config_of
from tests.servers import Address
from tidings import metrics
from tidings.errors import SetupError
from tidings.queue import Lane, QueueUnavailable, Ticket, wire
from tidings.queue.config import RabbitConfig
from tidings.queue.rabbitmq import RabbitQueue, open_rabbitmq
from tidings.queue.topology import dead_queue, lane_queue


async def holds(check: Callable[[], bool]) -> None:
    """Wait until it is true."""

    async def asked() -> bool | None:
        return True if check() else None

    await eventually(asked)


async def take_all(queue: RabbitQueue, lane: Lane, count: int) -> list[Ticket]:
    """Take until so many different tasks have come, without giving any back."""
    taken: dict[int, Ticket] = {}
    async with asyncio.timeout(20):
        while len(taken) < count:
            taken |= {ticket.task_id: ticket for ticket in await queue.take(lane, 500)}
    return list(taken.values())


async def depth(queue: RabbitQueue, key: str, wanted: int) -> None:
    """Wait until so many messages are ready."""

    async def asked() -> bool | None:
        try:
            return True if (await queue.depths())[key] == wanted else None
        except QueueUnavailable:
            return None

    await eventually(asked)


class Stranger:
    """A plain client beside the queue, which puts in and gets out what it likes."""

    def __init__(self, config: RabbitConfig) -> None:
        self._config = config

    async def _with_channel(self, work: Callable[[aiormq.abc.AbstractChannel], Awaitable[None]]) -> None:
        entry = f"{quote(self._config.user, safe='')}:{quote(self._config.password, safe='')}"
        vhost = quote(self._config.vhost, safe="")
        url = f"amqp://{entry}@{self._config.host}:{self._config.port}/{vhost}"
        async with asyncio.timeout(20):
            connection = await aiormq.connect(url)
            try:
                await work(await connection.channel())
            finally:
                await connection.close()

    async def put(self, queue: str, *bodies: bytes) -> None:
        """Publish these bodies and see them confirmed."""

        async def work(channel: aiormq.abc.AbstractChannel) -> None:
            for body in bodies:
                properties = commands.Basic.Properties(delivery_mode=2)
                await channel.basic_publish(body, routing_key=queue, properties=properties, mandatory=True)

        await self._with_channel(work)

    async def get_all(self, queue: str) -> list[tuple[bytes, dict[str, object]]]:
        """Take out all messages: body and headers."""
        found: list[tuple[bytes, dict[str, object]]] = []

        async def work(channel: aiormq.abc.AbstractChannel) -> None:
            while isinstance((message := await channel.basic_get(queue, no_ack=True)).delivery, commands.Basic.GetOk):
                found.append((message.body, dict(message.header.properties.headers or {})))

        await self._with_channel(work)
        return found


async def test_what_the_queue_did_is_in_the_metrics(rabbitmq_address: Address, opening: Opening) -> None:
    def told(what: str) -> float:
        value = metrics.REGISTRY.get_sample_value("tidings_queue_events_total", {"what": what})
        assert value is not None, "it is there before anything happened"
        return value

    queue = await opening(config_of(rabbitmq_address), None)
    before = {what: told(what) for what in ("published", "confirmed", "merged", "dead_lettered", "reconnects")}
    await queue.publish([Ticket(1, Lane.BULK, 1), Ticket(1, Lane.BULK, 1), Ticket(2, Lane.BULK, 1)])
    await holds(lambda: queue.counts.confirmed == 2)
    grown = {what: told(what) - value for what, value in before.items()}
    assert grown == {"published": 3, "confirmed": 2, "merged": 1, "dead_lettered": 0, "reconnects": 0}


async def test_tickets_that_wait_share_messages_but_not_more_than_one_worker_wants(
    rabbitmq_address: Address, opening: Opening
) -> None:
    config = config_of(rabbitmq_address)
    queue = await opening(config, None)
    await queue.publish([Ticket(n, Lane.BULK, 1) for n in range(100)])
    await queue.publish([Ticket(n, Lane.NORMAL, 400) for n in range(3)])
    await holds(lambda: queue.counts.confirmed == 103)
    stranger = Stranger(config)
    bulk = [len(wire.decode(Lane.BULK, body)) for body, _ in await stranger.get_all(lane_queue(config, Lane.BULK))]
    normal = await stranger.get_all(lane_queue(config, Lane.NORMAL))
    assert bulk == [50, 50]
    assert len(normal) == 3
    with pytest.raises(ValueError, match="not consumed here"):
        await queue.take(Lane.BULK, 1)


async def test_two_processes_share_the_work(rabbitmq_address: Address, opening: Opening) -> None:
    config = config_of(rabbitmq_address)
    queues = [await opening(config), await opening(config)]
    shares: list[list[int]] = [[], []]

    async def work(queue: RabbitQueue, share: list[int]) -> None:
        while True:
            tickets = await queue.take(Lane.BULK, 500)
            share += [ticket.task_id for ticket in tickets]
            await asyncio.sleep(0.005)
            await queue.done(tickets)

    workers = [asyncio.create_task(work(*pair)) for pair in zip(queues, shares, strict=True)]
    await queues[0].publish([Ticket(n, Lane.BULK, 500) for n in range(200)])
    await holds(lambda: len(shares[0]) + len(shares[1]) >= 200)
    for worker in workers:
        worker.cancel()
    assert sorted(shares[0] + shares[1]) == list(range(200))
    assert all(len(share) > 40 for share in shares)


async def test_what_is_done_does_not_come_again_and_what_is_not_does(
    rabbitmq_address: Address, opening: Opening
) -> None:
    config = config_of(rabbitmq_address)
    first = await opening(config)
    await first.publish([Ticket(n, Lane.NORMAL, 300) for n in range(6)])
    tickets = await take_all(first, Lane.NORMAL, 6)
    await first.done([tickets[0], tickets[1], tickets[4]])
    await first.close()
    second = await opening(config)
    again = await take_all(second, Lane.NORMAL, 3)
    assert sorted(ticket.task_id for ticket in again) == [2, 3, 5]
    await holds(lambda: second.counts.redelivered == 3)


WORKER = """
import asyncio, sys, msgspec
from tidings.queue import Lane
from tidings.queue.config import RabbitConfig
from tidings.queue.rabbitmq import open_rabbitmq

async def main():
    config = msgspec.json.decode(sys.argv[1], type=RabbitConfig)
    queue = await open_rabbitmq(config, consume=frozenset({Lane.NORMAL}))
    print(len(await queue.take(Lane.NORMAL, 500)), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_what_a_killed_worker_held_comes_to_another(rabbitmq_address: Address, opening: Opening) -> None:
    config = config_of(rabbitmq_address)
    publisher = await opening(config, None)
    await publisher.publish([Ticket(n, Lane.NORMAL, 10) for n in range(40)])
    await holds(lambda: publisher.counts.confirmed == 40)
    command = [sys.executable, "-c", WORKER, msgspec.json.encode(config).decode()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    assert worker.stdout is not None
    try:
        line = await asyncio.wait_for(worker.stdout.readline(), 20)
        assert int(line) > 0
    finally:
        with suppress(ProcessLookupError):
            worker.send_signal(signal.SIGKILL)
        await worker.wait()
    other = await opening(config)
    taken = await take_all(other, Lane.NORMAL, 40)
    assert sorted(ticket.task_id for ticket in taken) == list(range(40))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not a list"),
        (b"\xff\xfe garbage", "not a list"),
        (msgspec.json.encode({"version": 9, "lane": "normal"}), "version 9"),
        (wire.encode(Lane.CRITICAL, [(1, 1)]), "another lane"),
        (b"[" * 300_000, "300000 bytes"),
    ],
)
async def test_poison_goes_to_the_dead_letters_and_its_neighbours_arrive(
    rabbitmq_address: Address, opening: Opening, body: bytes, reason: str
) -> None:
    config = config_of(rabbitmq_address)
    queue = await opening(config)
    good = [wire.encode(Lane.NORMAL, [(n, 1)]) for n in range(4)]
    stranger = Stranger(config)
    await stranger.put(lane_queue(config, Lane.NORMAL), good[0], good[1], body, good[2], good[3])
    taken = await take_all(queue, Lane.NORMAL, 4)
    assert [ticket.task_id for ticket in taken] == [0, 1, 2, 3]
    await queue.done(taken)
    await depth(queue, "dead", 1)
    await queue.close()
    ((kept, headers),) = await stranger.get_all(dead_queue(config))
    assert kept == body[:65_536]
    assert reason in str(headers["reason"])
    assert headers["lane"] == "normal"
    assert headers["bytes"] == len(body)
    assert await stranger.get_all(lane_queue(config, Lane.NORMAL)) == []


async def test_a_rejected_ticket_is_a_dead_letter_and_the_others_of_its_message_are_not(
    rabbitmq_address: Address, opening: Opening
) -> None:
    config = config_of(rabbitmq_address)
    queue = await opening(config)
    await queue.publish([Ticket(n, Lane.NORMAL, 7) for n in range(5)])
    taken = await take_all(queue, Lane.NORMAL, 5)
    await queue.reject([taken[2]], "claimed 6 times and never finished")
    await queue.done([ticket for ticket in taken if ticket is not taken[2]])
    await depth(queue, "dead", 1)
    await queue.close()
    stranger = Stranger(config)
    ((kept, headers),) = await stranger.get_all(dead_queue(config))
    assert wire.decode(Lane.NORMAL, kept) == [(taken[2].task_id, 7)]
    assert headers["reason"] == "claimed 6 times and never finished"
    assert await stranger.get_all(lane_queue(config, Lane.NORMAL)) == []


async def work_until_killed(queue: RabbitQueue, guilty: int, done: set[int], expected: int) -> bool:
    """Do tickets until the guilty one comes (False), or all others are done and nothing is left (True)."""
    while True:
        try:
            async with asyncio.timeout(0.5 if len(done) >= expected else 20):
                tickets = await queue.take(Lane.NORMAL, 500)
        except TimeoutError:
            assert len(done) >= expected, "tickets were lost"
            return True
        if any(ticket.task_id == guilty for ticket in tickets):
            return False
        done |= {ticket.task_id for ticket in tickets}
        await queue.done(tickets)


async def test_a_ticket_that_kills_workers_is_found_and_no_innocent_with_it(
    rabbitmq_address: Address, opening: Opening
) -> None:
    config = config_of(rabbitmq_address)
    publisher = await opening(config, None)
    guilty, done, deaths = 3, set[int](), 0
    await publisher.publish([Ticket(n, Lane.NORMAL, 100) for n in range(20)])
    while True:
        worker = await open_rabbitmq(config, consume=frozenset({Lane.NORMAL}))
        try:
            if await work_until_killed(worker, guilty, done, 19):
                break
        finally:
            await worker.close()
        deaths += 1
        assert deaths <= 2 * config.tries, "it was handed out too often"
    assert done == set(range(20)) - {guilty}
    assert deaths == 2 * config.tries
    await depth(publisher, "dead", 1)
    ((kept, headers),) = await Stranger(config).get_all(dead_queue(config))
    assert wire.decode(Lane.NORMAL, kept) == [(guilty, 100)]
    assert headers["tries"] == config.tries


async def refused(config: RabbitConfig) -> str:
    """The sentence with which opening fails."""
    with pytest.raises(SetupError) as error:
        await open_rabbitmq(config, consume=frozenset({Lane.NORMAL}))
    return str(error.value)


async def test_wrong_credentials_stop_the_start_with_a_sentence(rabbitmq_address: Address) -> None:
    config = config_of(rabbitmq_address, password="wrong")
    assert "refuses the user" in await refused(config)


@pytest.mark.parametrize("change", [{"vhost": "nowhere"}, {"port": 1}])
async def test_what_may_come_up_yet_is_no_reason_not_to_start(
    rabbitmq_address: Address, opening: Opening, change: dict[str, Any]
) -> None:
    queue = await opening(config_of(rabbitmq_address, **change))
    await holds(lambda: queue.counts.reconnects > 2)
    await queue.publish([Ticket(1, Lane.BULK)])
    assert not queue.healthy


async def test_a_queue_of_another_kind_stops_the_start_with_a_sentence(rabbitmq_address: Address) -> None:
    config = config_of(rabbitmq_address)

    async def declare(channel: aiormq.abc.AbstractChannel) -> None:
        await channel.queue_declare(lane_queue(config, Lane.BULK), durable=True)

    await Stranger(config)._with_channel(declare)
    assert f"a queue {lane_queue(config, Lane.BULK)}" in await refused(config)


async def test_a_broker_that_never_answers_does_not_hold_up_the_start(opening: Opening) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(30):
        queue = await opening(config_of(Address("127.0.0.1", port), connect_timeout_s=0.2))
    assert not queue.healthy
    server.close()


async def test_tickets_are_counted_without_a_remainder(rabbitmq_address: Address, opening: Opening) -> None:
    queue = await opening(config_of(rabbitmq_address, buffer=50))
    tickets: Sequence[Ticket] = [Ticket(n % 80, Lane.BULK) for n in range(200)]
    await queue.publish(tickets)
    await holds(lambda: queue.counts.confirmed == 50)
    counts = queue.counts
    assert (counts.published, counts.dropped, counts.merged) == (200, 60, 90)
    assert counts.confirmed + counts.merged + counts.dropped == counts.published


async def test_opening_and_closing_at_any_moment_ends_and_leaves_no_tasks(rabbitmq_address: Address) -> None:
    config = config_of(rabbitmq_address, probe_s=0.05)
    before = asyncio.all_tasks()
    for round in range(60):
        queue = RabbitQueue(config, frozenset({Lane.NORMAL}))
        starting = asyncio.create_task(queue.start())
        await queue.publish([Ticket(n, Lane.NORMAL, 500) for n in range(30)])
        await asyncio.sleep(0.002 * round)
        starting.cancel()
        await asyncio.wait([starting])
        await queue.close()

    def ended() -> bool:
        return not asyncio.all_tasks() - before

    await holds(ended)
