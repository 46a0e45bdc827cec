"""How to reach RabbitMQ, how much may be under way, and what has happened so far."""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct, field

from tidings.discreet import Discreet
from tidings.queue import Lane

# Messages that a process holds without having acknowledged them. Small where a message is a whole group of
# 500 notifications, since what one process holds no other can take; large where a message may be one.
PREFETCH: Mapping[Lane, int] = MappingProxyType(
    {Lane.CRITICAL: 200, Lane.NORMAL: 200, Lane.SCHEDULED: 100, Lane.BULK: 20, Lane.WEBHOOK: 100}
)


class RabbitConfig(Discreet, frozen=True):
    """Times are in seconds.

    prefix: the first part of every queue's name. prefetch: messages for each lane. tries: how often a message
    is handed out before it is a suspect, and how often a suspect is before it is dead. window: messages that
    may wait for their confirm. buffer: tickets of each lane that may wait to be published.
    start_timeout_s: how long `open_rabbitmq` waits for a broker that is not there yet. answer_timeout_s: for
    every single answer of the broker. heartbeat_s: of AMQP itself. probe_s: how often a heartbeat message
    travels through the broker; after three without an answer the connection is given up.
    """

    host: str
    port: int
    user: str
    password: str
    vhost: str = "/"
    prefix: str = "tidings"
    prefetch: Mapping[Lane, int] = field(default_factory=lambda: dict(PREFETCH))
    tries: int = 3
    window: int = 500
    buffer: int = 20_000
    start_timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 10.0
    heartbeat_s: int = 10
    probe_s: float = 5.0

    def __repr__(self) -> str:
        return f"RabbitConfig({self.user}@{self.host}:{self.port}{self.vhost})"  # never the password


class Counts(Struct):
    """What has happened since the start; the numbers only grow.

    Tickets: published = confirmed + merged + dropped + returned + refused + unknown + those still waiting.
    merged: the same task was waiting already. dropped: the buffer was full, or the connection was lost before
    they were sent. returned: their queue did not exist. refused: the broker said no (a queue is full).
    unknown: no answer in time, or the connection was lost meanwhile; they may arrive all the same.
    Messages: redelivered; suspected (set apart to be tried alone); dead_lettered.
    reconnects: connections lost or not made, of both kinds.
    """

    published: int = 0
    confirmed: int = 0
    merged: int = 0
    dropped: int = 0
    returned: int = 0
    refused: int = 0
    unknown: int = 0
    redelivered: int = 0
    suspected: int = 0
    dead_lettered: int = 0
    reconnects: int = 0
