"""The publishing side: a bounded buffer, and one connection that empties it with confirms."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import structlog
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp import commands

from tidings.discreet import Discreet
from tidings.queue import Lane, Ticket, wire
from tidings.queue.config import RabbitConfig
from tidings.queue.connection import BrokerGone, Link, ask, end_of, first_end
from tidings.queue.counts import Counts
from tidings.queue.topology import declare, lane_queue

log = structlog.get_logger("tidings.queue")

MOST_MISSED = 3  # heartbeat messages without an answer
MOST_SIZE = 500  # notifications in one message, so that one worker does not get what several could share
BLOCKED_LOOK_S = 0.1  # how soon an alarm's end is seen
DRAIN_LOOK_S = 0.02
PERSISTENT = 2


class Refused(Exception):
    """The broker took the message, but its queue is full, or there is no such queue."""


class Returned(Refused):
    """There is no such queue."""


class Letter(Discreet, frozen=True):
    """A message for one queue."""

    queue: str
    body: bytes
    headers: Mapping[str, str | int] = {}
    type: str = wire.TYPE
    content_type: str = wire.CONTENT_TYPE


class Publisher:
    """Takes tickets at any time without waiting, and publishes them when it can."""

    def __init__(self, config: RabbitConfig, counts: Counts) -> None:
        self._config = config
        self._counts = counts
        self._waiting: dict[Lane, OrderedDict[int, int]] = {lane: OrderedDict() for lane in Lane}
        self._wake = asyncio.Event()
        self._window = asyncio.Semaphore(config.window)
        self._sending: dict[asyncio.Task[str], int] = {}  # → tickets
        self._link: Link | None = None
        self._channel: Channel | None = None
        self._queue_missing = asyncio.Event()
        self.probe_queue = ""  # where the consuming side listens for heartbeat messages
        self.probes_sent = 0  # to that queue, and answered by the broker

    @property
    def up(self) -> bool:
        """True while messages can be published."""
        return self._link is not None and not self._link.blocked

    @property
    def link(self) -> Link | None:
        """The connection, while there is one."""
        return self._link

    @property
    def idle(self) -> bool:
        """True when nothing waits and nothing is under way."""
        return not self._sending and not any(self._waiting.values())

    def offer(self, tickets: Sequence[Ticket]) -> None:
        """Publish these when possible. What waits already is not added; over the bound it is dropped."""
        self._counts.add("published", len(tickets))
        for ticket in tickets:
            waiting = self._waiting[ticket.lane]
            if ticket.task_id in waiting:
                self._counts.add("merged")
            elif len(waiting) >= self._config.buffer:
                self._counts.add("dropped")
            else:
                waiting[ticket.task_id] = ticket.size
        self._wake.set()

    async def serve(self, link: Link) -> None:
        """Publish over this connection until it is lost. Raises `BrokerGone`, `SetupError`."""
        channel = await link.channel(confirms=True)
        await declare(channel, self._config)
        self._queue_missing.clear()
        self._link, self._channel = link, channel
        try:
            await first_end(end_of(channel), self._pump(link), self._prove(link), self._mend())
        finally:
            self._link = self._channel = None
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def drain(self) -> None:
        """Wait until nothing waits any more, or the broker is away. The caller sets the deadline."""
        while self.up and not self.idle:
            if self._sending:
                await asyncio.wait(self._sending, timeout=DRAIN_LOOK_S)
            else:
                await asyncio.sleep(DRAIN_LOOK_S)

    async def send(self, letter: Letter) -> None:
        """Publish one message and wait for its confirm. Raises `BrokerGone`, `Refused`."""
        try:
            await self._send(letter, self._config.answer_timeout_s)
        except Returned:
            self._queue_missing.set()
            raise

    async def _send(self, letter: Letter, deadline_s: float) -> None:
        if self._channel is None:
            raise BrokerGone("not connected")
        call = self._channel.basic_publish(
            letter.body,
            routing_key=letter.queue,
            mandatory=True,
            wait=False,
            properties=commands.Basic.Properties(
                content_type=letter.content_type,
                message_type=letter.type,
                delivery_mode=PERSISTENT,
                headers=dict(letter.headers) or None,
            ),
        )
        try:
            await ask(call, deadline_s)
        except BrokerGone as error:
            if isinstance(error.__cause__, PublishError):
                raise Returned(f"there is no queue {letter.queue}") from error
            if isinstance(error.__cause__, DeliveryError):
                raise Refused(f"the queue {letter.queue} took no more") from error
            raise

    async def _pump(self, link: Link) -> None:
        """Empty the buffer, the critical lane first. While the window is full, tickets gather in it."""
        while True:
            await self._wake.wait()
            if link.blocked:
                await asyncio.sleep(BLOCKED_LOOK_S)
                continue
            await self._window.acquire()
            packed = None if link.blocked else self._pack()
            if packed is None:
                self._window.release()
                if not any(self._waiting.values()):
                    self._wake.clear()
                continue
            task = asyncio.create_task(self._publish(*packed))
            self._sending[task] = len(packed[1])
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[str]) -> None:
        tickets = self._sending.pop(task)
        self._window.release()
        outcome = "unknown" if task.cancelled() else task.result()
        self._counts.add(outcome, tickets)

    def _pack(self) -> tuple[Lane, list[tuple[int, int]]] | None:
        for lane, waiting in self._waiting.items():
            if not waiting:
                continue
            packed = [waiting.popitem(last=False)]
            size = packed[0][1]
            while waiting and len(packed) < wire.MOST_TICKETS:
                ticket = waiting.popitem(last=False)
                if size + ticket[1] > MOST_SIZE:
                    waiting[ticket[0]] = ticket[1]
                    waiting.move_to_end(ticket[0], last=False)
                    break
                packed.append(ticket)
                size += ticket[1]
            return lane, packed
        return None

    async def _publish(self, lane: Lane, tickets: Sequence[tuple[int, int]]) -> str:
        """Which of the counts these tickets belong to. All but `confirmed` come again from the database."""
        try:
            await self.send(Letter(lane_queue(self._config, lane), wire.encode(lane, tickets)))
        except Returned:
            return "returned"
        except Refused:
            return "refused"
        except BrokerGone as error:
            log.debug("publish_unknown", tickets=len(tickets), error=str(error))
            return "unknown"
        return "confirmed"

    async def _mend(self) -> None:
        """A queue was deleted under us: connecting again declares it."""
        await self._queue_missing.wait()
        raise BrokerGone("a queue is missing")

    async def _prove(self, link: Link) -> None:
        """Send a heartbeat message again and again; raise `BrokerGone` when they find no answer.

        With nobody consuming here it goes to no queue: the broker then answers that there is none, which
        proves as much. While the broker has an alarm on it reads nothing from us, and AMQP's own heartbeat
        has to do.
        """
        missed = 0
        while missed < MOST_MISSED:
            await asyncio.sleep(self._config.probe_s)
            if link.blocked:
                missed = 0
                continue
            target = self.probe_queue
            probe = Letter(target or f"{self._config.prefix}.nobody", b"", type="tidings.probe")
            try:
                await self._send(probe, self._config.probe_s)
            except Refused:
                missed = 0
            except BrokerGone:
                missed += 1
                continue
            missed = 0
            if target == self.probe_queue:
                self.probes_sent += 1
        raise BrokerGone(f"no answer to {MOST_MISSED} heartbeat messages")
