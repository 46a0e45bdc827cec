"""The queue for many processes: RabbitMQ 3.10 to 4.x.

Publishing and consuming have a connection each, since a broker under a memory or disk alarm stops reading
from connections that publish (rabbitmq.com/docs/alarms). Both open again by themselves, for ever.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import structlog
from msgspec import structs

from tidings.errors import SetupError
from tidings.queue import Lane, QueueUnavailable, Ticket
from tidings.queue.config import RabbitConfig
from tidings.queue.connection import BrokerGone, Link, ask, keep_connected
from tidings.queue.consumer import Consumer
from tidings.queue.counts import Counts
from tidings.queue.publisher import Publisher
from tidings.queue.topology import dead_queue, lane_queue

log = structlog.get_logger("tidings.queue")

DRAIN_S = 2.0  # at the end, for what waits to be published and acknowledged
CLOSE_S = 10.0  # each connection has two seconds to say goodbye, then it is cut
LOOK_S = 0.05


class RabbitQueue:
    """Keeps the contract of `tidings.queue.Queue`. Made by `open_rabbitmq`; one event loop owns it."""

    def __init__(self, config: RabbitConfig, consume: frozenset[Lane] | None) -> None:
        self._config = config
        self._counts = Counts()
        self._publisher = Publisher(config, self._counts)
        self._consumer = Consumer(config, self._counts, consume, self._publisher) if consume else None
        self._runs: list[asyncio.Task[None]] = []
        self._starting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def healthy(self) -> bool:
        """True while tickets can be published, and taken if this process takes any."""
        return self.publishing and self.consuming

    @property
    def publishing(self) -> bool:
        """False while the broker is away or has an alarm on: tickets wait in the buffer, up to its bound."""
        return self._publisher.up

    @property
    def consuming(self) -> bool:
        """True while all lanes of this process are consumed, or when it has none."""
        return self._consumer is None or self._consumer.link is not None

    @property
    def counts(self) -> Counts:
        """A copy of what was counted so far."""
        return structs.replace(self._counts)

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        """Into the buffer, from where they are published as soon as the broker takes them. Never waits."""
        self._publisher.offer(tickets)

    async def take(self, lane: Lane, most: int) -> list[Ticket]:
        """See `Queue.take`. Raises `ValueError` for a lane that was not opened for consuming."""
        if self._consumer is None or lane not in self._consumer.waiting:
            raise ValueError(f"the lane {lane} is not consumed here")
        return await self._consumer.waiting[lane].take(most)

    async def done(self, tickets: Sequence[Ticket]) -> None:
        """Acknowledged soon, once all tickets of the message are done. Of an earlier connection: a no-op."""
        if self._consumer is not None:
            self._consumer.done(tickets)

    async def reject(self, tickets: Sequence[Ticket], reason: str) -> None:
        """To the dead letters, with the reason. Of an earlier connection: a no-op, since they come again."""
        if self._consumer is not None:
            self._consumer.reject(tickets, reason)

    async def depths(self) -> Mapping[str, int]:
        """Messages that are ready, by lane, and `dead`. Quorum queues tell the figure some seconds late."""
        link = self._consumer.link if self._consumer is not None else self._publisher.link
        if link is None or link.blocked:
            raise QueueUnavailable("RabbitMQ is away" if link is None else "RabbitMQ has an alarm on")
        names = {lane.value: lane_queue(self._config, lane) for lane in Lane} | {"dead": dead_queue(self._config)}
        try:
            return await _depths(link, names, self._config.answer_timeout_s)
        except BrokerGone as error:
            raise QueueUnavailable(f"RabbitMQ did not tell: {error}") from error

    async def start(self) -> None:
        """Begin to connect, declare and consume; returns when all of it is done, or when the first try has failed for
        a broker that is away: it goes on trying. Raises `SetupError` when the broker refuses."""
        publisher, consumer = self._publisher, self._consumer
        self._run(keep_connected(self._config, "publish", publisher.serve, self._lost))
        if consumer is not None:
            self._run(keep_connected(self._config, "consume", consumer.serve, self._lost))
        while not (self._starting.done() or (publisher.link is not None and self.consuming)):
            await asyncio.wait([self._starting], timeout=LOOK_S)
        if self._starting.done():
            self._starting.result()
        self._starting.cancel()

    async def close(self) -> None:
        """Publish and acknowledge what waits, for at most two seconds each, and close both connections."""
        for last in (self._publisher.drain, self._flush) if self._runs else ():
            try:
                await asyncio.wait_for(last(), DRAIN_S)
            except (BrokerGone, TimeoutError) as error:
                log.warning("queue_left_undone", error=f"{type(error).__name__}: {error}")
        for run in self._runs:
            run.cancel()
        if self._runs:
            _, left = await asyncio.wait(self._runs, timeout=CLOSE_S)
            if left:
                log.error("queue_close_hangs", tasks=len(left))
        self._runs.clear()

    async def _flush(self) -> None:
        if self._consumer is not None and self._consumer.link is not None:
            await self._consumer.flush()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._runs.append(asyncio.create_task(work))

    def _lost(self, error: Exception) -> None:
        self._counts.add("reconnects")
        if not self._starting.done():
            if isinstance(error, SetupError):
                self._starting.set_exception(error)
                return
            self._starting.set_result(None)
        log.warning("queue_reconnects", host=self._config.host, port=self._config.port, error=str(error))


async def _depths(link: Link, names: Mapping[str, str], timeout_s: float) -> dict[str, int]:
    channel = await link.channel(confirms=False)
    try:
        found = {}
        for key, name in names.items():
            answer = await ask(channel.queue_declare(name, passive=True), timeout_s)
            found[key] = answer.message_count or 0
        return found
    finally:
        await ask(channel.close(), timeout_s)


async def open_rabbitmq(config: RabbitConfig, *, consume: frozenset[Lane] | None) -> RabbitQueue:
    """A queue that connects, declares its topology, and connects again by itself, for ever. `consume`: the lanes whose
    tickets this process takes; None: none.

    A broker that is away is no reason not to start: until it is there the queue is not `healthy`. Raises `SetupError`
    with what to do for wrong credentials, a certificate that can't be trusted and queues of another kind, if the broker
    says so at once; later they are logged at each try.
    """
    queue = RabbitQueue(config, consume)
    try:
        await queue.start()
    except BaseException:
        await queue.close()
        raise
    return queue
