"""A broker that dies, freezes, fills up or forgets. Publishing never waits for it, and work goes on after."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import structs

from tests.conftest import eventually
from tests.queue.conftest import Opening, config_of
from tests.queue.test_rabbitmq import Stranger, depth, holds, take_all
from tests.servers import Address, RabbitServer
from tidings.queue import Lane, Ticket, wire
from tidings.queue.rabbitmq import RabbitQueue

# A queue's registration takes about a second to the disk (measured on 3.10.8); later kills lose nothing.
ON_DISK_S = 2.0


async def publish_at_once(queue: RabbitQueue, tickets: list[Ticket]) -> None:
    """Publishing must end without giving the event loop a turn: then it can't have waited for anybody."""
    publishing = queue.publish(tickets)
    try:
        publishing.send(None)
    except StopIteration:
        return
    raise AssertionError("publish waited")


async def take_until(queue: RabbitQueue, lane: Lane, wanted: set[int]) -> None:
    """Take and do tickets until these tasks have all come."""
    async with asyncio.timeout(30):
        while wanted:
            tickets = await queue.take(lane, 500)
            wanted = wanted - {ticket.task_id for ticket in tickets}
            await queue.done(tickets)


async def test_a_killed_broker_keeps_what_it_confirmed_and_work_goes_on(
    rabbitmq_server: RabbitServer, opening: Opening
) -> None:
    queue = await opening(config_of(rabbitmq_server.address))
    publisher = await opening(config_of(rabbitmq_server.address, prefix=queue._config.prefix), None)
    await asyncio.sleep(ON_DISK_S)
    await publisher.publish([Ticket(n, Lane.BULK, 500) for n in range(100)])
    await holds(lambda: publisher.counts.confirmed == 100)
    held = await take_all(queue, Lane.BULK, 20)
    await rabbitmq_server.kill()
    await holds(lambda: not queue.consuming and not publisher.publishing)
    await publish_at_once(publisher, [Ticket(n, Lane.BULK, 500) for n in range(100, 150)])
    await queue.done(held)
    await rabbitmq_server.start()
    await take_until(queue, Lane.BULK, set(range(150)))
    await holds(lambda: queue.healthy and publisher.healthy)
    await depth(queue, "bulk", 0)


async def test_killed_in_the_middle_of_the_flow_what_is_published_again_arrives(
    rabbitmq_server: RabbitServer, opening: Opening
) -> None:
    queue = await opening(config_of(rabbitmq_server.address))
    await asyncio.sleep(ON_DISK_S)
    missing = set(range(3000))  # the part of the task rows: a task is missing until it is done

    async def work() -> None:
        while True:
            tickets = await queue.take(Lane.NORMAL, 500)
            missing.difference_update(ticket.task_id for ticket in tickets)
            await queue.done(tickets)

    async def publish_again() -> None:
        while True:
            for task_id in sorted(missing):
                await publish_at_once(queue, [Ticket(task_id, Lane.NORMAL, 500)])
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.1)

    running = [asyncio.create_task(work()), asyncio.create_task(publish_again())]
    await holds(lambda: len(missing) < 2500)
    await rabbitmq_server.kill()
    assert missing
    await rabbitmq_server.start()
    await holds(lambda: not missing)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert queue.counts.reconnects >= 2


async def test_poison_waits_until_there_is_a_place_for_dead_letters(
    rabbitmq_server: RabbitServer, opening: Opening
) -> None:
    config = config_of(rabbitmq_server.address)
    queue = await opening(config)
    await rabbitmq_server.control("delete_queue", f"{config.prefix}.dead")
    good = wire.encode(Lane.NORMAL, [(1, 1)])
    await Stranger(config).put(f"{config.prefix}.normal", b"poison", good)
    await take_until(queue, Lane.NORMAL, {1})
    await depth(queue, "dead", 1)


async def test_connecting_again_leaves_nothing_behind(rabbitmq_server: RabbitServer, opening: Opening) -> None:
    queue = await opening(config_of(rabbitmq_server.address))
    await asyncio.sleep(0)
    before = len(asyncio.all_tasks())
    for round in range(1, 4):
        await rabbitmq_server.control("close_all_connections", "a test")
        await holds(lambda least=2 * round: queue.counts.reconnects >= least and queue.healthy)  # type: ignore[misc]
        await queue.publish([Ticket(round, Lane.NORMAL)])
        await take_until(queue, Lane.NORMAL, {round})
    await holds(lambda: len(asyncio.all_tasks()) <= before + 2)


async def test_without_a_broker_publishing_returns_at_once_and_the_buffer_is_bounded(
    rabbitmq_server: RabbitServer, opening: Opening
) -> None:
    queue = await opening(config_of(rabbitmq_server.address, buffer=100))
    await asyncio.sleep(ON_DISK_S)
    await rabbitmq_server.kill()
    await holds(lambda: not queue.publishing and not queue.consuming)
    for _ in range(3):  # as the scheduler does, again and again
        await publish_at_once(queue, [Ticket(n, Lane.NORMAL) for n in range(1000)])
    await publish_at_once(queue, [Ticket(1, Lane.CRITICAL)])
    counts = queue.counts
    assert (counts.published, counts.dropped, counts.merged) == (3001, 2700, 200)
    await rabbitmq_server.start()
    assert [t.task_id for t in await take_all(queue, Lane.CRITICAL, 1)] == [1]
    assert len(await take_all(queue, Lane.NORMAL, 100)) == 100


async def test_a_wiped_broker_gets_its_queues_again(rabbitmq_server: RabbitServer, opening: Opening) -> None:
    queue = await opening(config_of(rabbitmq_server.address))
    await queue.publish([Ticket(1, Lane.NORMAL)])
    await holds(lambda: queue.counts.confirmed == 1)
    await rabbitmq_server.wipe()
    await rabbitmq_server.start()
    await holds(lambda: queue.healthy)
    await queue.publish([Ticket(2, Lane.NORMAL)])
    await take_until(queue, Lane.NORMAL, {2})


async def test_a_deleted_queue_is_declared_again(rabbitmq_server: RabbitServer, opening: Opening) -> None:
    config = config_of(rabbitmq_server.address)
    queue = await opening(config, frozenset({Lane.CRITICAL}))
    for name in ("critical", "bulk"):  # one that is consumed here, and one that is only published to
        await rabbitmq_server.control("delete_queue", f"{config.prefix}.{name}")
    await queue.publish([Ticket(1, Lane.BULK), Ticket(2, Lane.CRITICAL)])

    async def published() -> bool | None:
        await queue.publish([Ticket(3, Lane.BULK), Ticket(4, Lane.CRITICAL)])
        return True if queue.healthy and queue.counts.confirmed >= 2 else None

    await eventually(published)
    assert await take_all(queue, Lane.CRITICAL, 1)


async def test_in_a_memory_alarm_consumers_go_on_and_publishing_waits_aside(
    rabbitmq_server: RabbitServer, opening: Opening
) -> None:
    queue = await opening(config_of(rabbitmq_server.address, buffer=300, answer_timeout_s=1.0))
    await queue.publish([Ticket(n, Lane.BULK, 500) for n in range(60)])
    await holds(lambda: queue.counts.confirmed == 60)
    await rabbitmq_server.alarm(True)
    try:
        await publish_at_once(queue, [Ticket(1000, Lane.NORMAL)])
        await holds(lambda: not queue.publishing)
        await publish_at_once(queue, [Ticket(n, Lane.NORMAL) for n in range(1001, 2001)])
        assert queue.counts.dropped in (700, 701)  # was the first one still sent, or is it in the buffer?
        done: set[int] = set()
        async with asyncio.timeout(20):
            while len(done) < 60:  # three times the prefetch: acknowledgements get through
                tickets = await queue.take(Lane.BULK, 500)
                done |= {ticket.task_id for ticket in tickets}
                await queue.done(tickets)
        assert queue.consuming and not queue.healthy
        assert (await queue.depths())["bulk"] == 0
    finally:
        await rabbitmq_server.alarm(False)
    await holds(lambda: queue.healthy)
    taken = await take_all(queue, Lane.NORMAL, 300)
    assert {ticket.task_id for ticket in taken} >= set(range(1001, 1300))
    assert queue.counts.reconnects == 0


async def test_a_full_queue_refuses_and_other_lanes_go_on(rabbitmq_server: RabbitServer, opening: Opening) -> None:
    config = config_of(rabbitmq_server.address)
    queue = await opening(config, None)
    pattern = f"^{config.prefix}\\.bulk$".replace("-", "\\-")
    await rabbitmq_server.control("set_policy", config.prefix, pattern, '{"max-length": 5}', "--apply-to", "queues")
    for n in range(100):
        await queue.publish([Ticket(n, Lane.BULK, 500)])
        await asyncio.sleep(0.005)
    await queue.publish([Ticket(1, Lane.CRITICAL)])
    await holds(lambda: queue.counts.confirmed + queue.counts.refused == 101)
    assert queue.counts.refused > 50
    assert queue.healthy
    await depth(queue, "critical", 1)
    await rabbitmq_server.control("clear_policy", config.prefix)


async def test_a_frozen_broker_is_noticed_by_the_heartbeat_messages(
    rabbitmq_server: RabbitServer, opening: Opening
) -> None:
    queue = await opening(config_of(rabbitmq_server.address, probe_s=0.2))
    rabbitmq_server.freeze()
    try:
        await publish_at_once(queue, [Ticket(1, Lane.NORMAL)])
        await holds(lambda: not queue.publishing)
    finally:
        rabbitmq_server.thaw()
    await holds(lambda: queue.healthy)
    await queue.publish([Ticket(2, Lane.NORMAL)])
    await take_until(queue, Lane.NORMAL, {2})


async def test_done_of_an_earlier_connection_is_nothing_and_the_tickets_come_again(
    rabbitmq_server: RabbitServer, opening: Opening
) -> None:
    queue = await opening(config_of(rabbitmq_server.address))
    await queue.publish([Ticket(n, Lane.NORMAL, 300) for n in range(5)])
    old = await take_all(queue, Lane.NORMAL, 5)
    await rabbitmq_server.control("close_all_connections", "a test")
    await holds(lambda: queue.counts.reconnects >= 2)
    await holds(lambda: queue.healthy)
    new = await take_all(queue, Lane.NORMAL, 5)
    reconnects = queue.counts.reconnects
    await queue.done(old)
    await queue.reject(old, "too late")
    await queue.done(new[:4])
    await queue.publish([Ticket(9, Lane.NORMAL)])
    assert [ticket.task_id for ticket in await take_all(queue, Lane.NORMAL, 1)] == [9]
    assert queue.counts.reconnects == reconnects
    assert (await queue.depths())["dead"] == 0
    await queue.close()
    after = await opening(structs.replace(queue._config))
    left = await take_all(after, Lane.NORMAL, 2)
    assert sorted(ticket.task_id for ticket in left) == sorted([new[4].task_id, 9])


class Proxy:
    """Passes bytes on, until a client that gave a certain name is made deaf: half open, with no end."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._deaf: set[asyncio.StreamWriter] = set()
        self._names: dict[asyncio.StreamWriter, bytes] = {}
        self.port = 0

    def make_deaf(self, name: bytes) -> None:
        """From now on nothing reaches the present clients that named themselves so."""
        self._deaf = {client for client, said in self._names.items() if name in said}
        assert self._deaf

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        there, back = await asyncio.open_connection(self._target.host, self._target.port)
        try:
            await asyncio.gather(self._forward(reader, back, writer), self._backward(there, writer))
        except (OSError, asyncio.CancelledError):
            back.close()
            writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            if client not in self._names and b"tidings-proxied" in data:
                self._names[client] = data
            back.write(data)
            await back.drain()
        back.close()

    async def _backward(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(65536):
            if writer not in self._deaf:
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxied(target: Address) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()


async def test_a_consuming_connection_that_is_half_open_is_noticed_and_made_again(
    rabbitmq_address: Address, opening: Opening
) -> None:
    async with proxied(rabbitmq_address) as proxy:
        config = config_of(rabbitmq_address, host="127.0.0.1", port=proxy.port, prefix="tidings-proxied", probe_s=0.2)
        queue = await opening(config, frozenset({Lane.WEBHOOK}))
        proxy.make_deaf(b"tidings-proxied consume")
        await queue.publish([Ticket(1, Lane.WEBHOOK)])
        assert [ticket.task_id for ticket in await take_all(queue, Lane.WEBHOOK, 1)] == [1]
        assert queue.counts.reconnects == 1
        await queue.close()


async def test_a_broker_that_comes_up_after_the_start_is_found(rabbitmq_server: RabbitServer, opening: Opening) -> None:
    await rabbitmq_server.stop()
    queue = await opening(config_of(rabbitmq_server.address))
    await queue.publish([Ticket(7, Lane.NORMAL)])
    assert not queue.healthy
    await rabbitmq_server.start()
    async with asyncio.timeout(60):
        (ticket,) = await queue.take(Lane.NORMAL, 10)
    assert ticket.task_id == 7
    await holds(lambda: queue.healthy)
