"""The consuming side: a connection, a channel for each lane, and what becomes of undoable messages.

- Unreadable: it goes to the dead letters at once.
- Handed out `tries` times and never done: workers have died over it, or over a neighbour, since all that a
  dead worker held counts as tried. So it proves nothing. The message is taken apart, and its tickets become
  suspects.
- A suspect waits in a queue of its own, whose consumer holds one at a time and hands it out alone. If it is
  not done after `tries` more, it is guilty and goes to the dead letters. Innocents are done on the way.

Nothing of this loses work: the task rows stay in the database, and the dead letters tell their ids.
"""

import asyncio
import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp import commands

from tidings.queue import Lane, Ticket, wire
from tidings.queue.config import RabbitConfig
from tidings.queue.connection import BrokerGone, Link, ask, end_of, first_end
from tidings.queue.counts import Counts
from tidings.queue.feed import Delivery, Feed
from tidings.queue.publisher import MOST_MISSED, Letter, Publisher, Refused
from tidings.queue.topology import dead_queue, declare, lane_queue, suspect_queue
from tidings.queue.waiting import Waiting

log = structlog.get_logger("tidings.queue")

MOVE_AGAIN_S = 1.0
MOST_DEAD_BYTES = 65_536  # of a body that is too large; the rest is cut off
# RabbitMQ up to 4.2 counts in the first; from 4.3 on the second has all, also those that were handed back
# without blame (rabbitmq.com/docs/4.3/quorum-queues, poison messages).
COUNT_HEADERS = ("x-delivery-count", "x-acquired-count")


class Consumer:
    """Fills the lanes' waiting tickets from the broker, and acknowledges what is done."""

    def __init__(self, config: RabbitConfig, counts: Counts, lanes: frozenset[Lane], publisher: Publisher) -> None:
        self._config = config
        self._counts = counts
        self._publisher = publisher
        self.waiting = {lane: Waiting() for lane in Lane if lane in lanes}
        self._numbers = itertools.count(1)
        self._deliveries: dict[int, Delivery] = {}  # by the number that is the ticket's tag
        self._feeds: list[Feed] = []
        self._moves: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._link: Link | None = None
        self._probes_seen = 0
        self._cancelled = asyncio.Event()

    @property
    def link(self) -> Link | None:
        """The connection, while all lanes are consumed over it."""
        return self._link

    async def serve(self, link: Link) -> None:
        """Consume over this connection until it is lost. Raises `BrokerGone`, `SetupError`."""
        self._cancelled.clear()
        channel = await link.channel(confirms=False)
        try:
            await declare(channel, self._config)
            await self._listen_for_probes(channel)
            for lane in self.waiting:
                await self._open_feed(link, lane)
            self._link = link
            ends = (end_of(feed.channel) for feed in self._feeds)
            await first_end(end_of(channel), *ends, self._acknowledge(), self._check_probes(), self._watch_cancel())
        finally:
            await self._forget()

    def done(self, tickets: Sequence[Ticket]) -> None:
        """Acknowledge them soon. What an earlier connection brought is not known any more, and left alone."""
        for ticket in tickets:
            delivery = self._deliveries.get(ticket.tag)
            if delivery is not None:
                self._settle(delivery, {ticket.task_id})

    def reject(self, tickets: Sequence[Ticket], reason: str) -> None:
        """Move them to the dead letters, then count them as done."""
        for ticket in tickets:
            delivery = self._deliveries.get(ticket.tag)
            if delivery is not None and ticket.task_id in delivery.left:
                body = wire.encode(ticket.lane, [(ticket.task_id, ticket.size)])
                letter = self._dead_letter(body, ticket.lane, reason, 0)
                self._move(delivery, {ticket.task_id}, [letter])

    async def flush(self) -> None:
        """Send the acknowledgements and see that the broker has read them. Raises `BrokerGone`."""
        await self._send_acks()
        for feed in self._feeds:
            await ask(feed.channel.basic_qos(prefetch_count=1), self._config.answer_timeout_s)

    async def _open_feed(self, link: Link, lane: Lane) -> None:
        feed = Feed(lane, await link.channel(confirms=False))
        feed.channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        self._feeds.append(feed)
        wanted = (
            (lane_queue(self._config, lane), self._config.prefetch.get(lane, 100), False),
            (suspect_queue(self._config, lane), 1, True),
        )
        for queue, prefetch, suspect in wanted:
            # The count is for each consumer that is added after it (rabbitmq.com/docs/consumer-prefetch).
            await ask(feed.channel.basic_qos(prefetch_count=prefetch), self._config.answer_timeout_s)
            take_in = partial(self._on_message, feed, suspect)
            await ask(feed.channel.basic_consume(queue, take_in), self._config.answer_timeout_s)

    async def _on_message(self, feed: Feed, suspect: bool, message: DeliveredMessage) -> None:
        if feed not in self._feeds:
            return  # a straggler of a connection that is over; the broker has it back
        delivery = Delivery(feed, message.delivery_tag or 0, next(self._numbers))
        feed.came(delivery)
        if message.redelivered:
            self._counts.add("redelivered")
        tries = _tries(message)
        try:
            tickets = wire.decode(feed.lane, message.body)
        except wire.Unreadable as error:
            self._bury(delivery, message.body, str(error), tries)
            return
        delivery.left = {task_id for task_id, _ in tickets}
        self._deliveries[delivery.number] = delivery
        if tries < self._config.tries:
            for task_id, size in tickets:
                self.waiting[feed.lane].put(Ticket(task_id, feed.lane, size, delivery.number, suspect))
        elif suspect:
            self._bury(delivery, message.body, f"not done after {tries} tries alone", tries)
        else:
            self._counts.add("suspected")
            queue = suspect_queue(self._config, feed.lane)
            letters = [Letter(queue, wire.encode(feed.lane, [ticket])) for ticket in tickets]
            self._move(delivery, set(delivery.left), letters)

    def _bury(self, delivery: Delivery, body: bytes, reason: str, tries: int) -> None:
        letter = self._dead_letter(body, delivery.feed.lane, reason, tries)
        self._move(delivery, set(delivery.left), [letter])

    def _dead_letter(self, body: bytes, lane: Lane, reason: str, tries: int) -> Letter:
        self._counts.add("dead_lettered")
        log.error("dead_letter", lane=lane.value, reason=reason, bytes=len(body), tries=tries)
        headers = {"reason": reason[:500], "lane": lane.value, "tries": tries, "bytes": len(body)}
        return Letter(
            dead_queue(self._config),
            body[:MOST_DEAD_BYTES],
            headers,
            "tidings.dead",
            "application/octet-stream",
        )

    def _move(self, delivery: Delivery, task_ids: set[int], letters: Sequence[Letter]) -> None:
        task = asyncio.create_task(self._moving(delivery, task_ids, letters))
        self._moves.add(task)
        task.add_done_callback(self._moves.discard)

    async def _moving(self, delivery: Delivery, task_ids: set[int], letters: Sequence[Letter]) -> None:
        """Publish until confirmed, and only then let go of the original. The prefetch bounds their number."""
        for letter in letters:
            while True:
                try:
                    await self._publisher.send(letter)
                    break
                except (BrokerGone, Refused) as error:
                    log.warning("move_waits", queue=letter.queue, error=str(error))
                    await asyncio.sleep(MOVE_AGAIN_S)
        self._settle(delivery, task_ids)

    def _settle(self, delivery: Delivery, task_ids: set[int]) -> None:
        delivery.left -= task_ids
        if not delivery.left:
            self._deliveries.pop(delivery.number, None)
            delivery.feed.finished(delivery)
            self._wake.set()

    async def _acknowledge(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._send_acks()

    async def _send_acks(self) -> None:
        for feed in self._feeds:
            for tag, multiple in feed.acks():
                call = feed.channel.basic_ack(tag, multiple=multiple, wait=False)
                await ask(call, self._config.answer_timeout_s)

    async def _listen_for_probes(self, channel: Channel) -> None:
        """An exclusive queue, which ends with this connection: others must be durable since RabbitMQ 4.3."""
        declared = await ask(channel.queue_declare(exclusive=True), self._config.answer_timeout_s)
        assert declared.queue is not None
        self._probes_seen = 0
        await ask(channel.basic_consume(declared.queue, self._on_probe, no_ack=True), self._config.answer_timeout_s)
        self._publisher.probe_queue, self._publisher.probes_sent = declared.queue, 0

    async def _on_probe(self, message: DeliveredMessage) -> None:
        self._probes_seen += 1

    async def _check_probes(self) -> None:
        """The broker took heartbeat messages for us, and they don't arrive: this connection is dead."""
        while True:
            await asyncio.sleep(self._config.probe_s)
            if self._publisher.probes_sent - self._probes_seen >= MOST_MISSED:
                raise BrokerGone(f"{MOST_MISSED} heartbeat messages did not arrive")

    async def _on_cancel(self, frame: commands.Basic.Cancel) -> None:
        self._cancelled.set()

    async def _watch_cancel(self) -> None:
        """A queue was deleted under us: connecting again declares it."""
        await self._cancelled.wait()
        raise BrokerGone("the broker cancelled a consumer")

    async def _forget(self) -> None:
        """The connection is over. What it brought comes again: don't hand it out, don't acknowledge it."""
        self._link = None
        self._publisher.probe_queue = ""
        self._deliveries.clear()
        self._feeds.clear()
        for waiting in self.waiting.values():
            waiting.forget()
        for task in self._moves:
            task.cancel()
        await asyncio.gather(*self._moves, return_exceptions=True)


def _tries(message: DeliveredMessage) -> int:
    """How often it was handed out before."""
    headers: dict[str, Any] = message.header.properties.headers or {}
    counts = [headers.get(name) for name in COUNT_HEADERS]
    return max((count for count in counts if isinstance(count, int)), default=0)
