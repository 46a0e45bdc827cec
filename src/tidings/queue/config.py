"""How to reach RabbitMQ, and how much may be under way."""

import ssl
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import field

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
    answer_timeout_s: for every single answer of the broker. heartbeat_s: of AMQP itself. probe_s: how often a
    heartbeat message travels through the broker; after three without an answer the connection is given up. tls: what
    the broker's certificate is checked by; None: nothing is encrypted.
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
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 10.0
    heartbeat_s: int = 10
    probe_s: float = 5.0
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"RabbitConfig({self.user}@{self.host}:{self.port}{self.vhost})"  # never the password
