"""The fixed set of queues, declared at every connection and never on the way.

    tidings.<lane>            what waits                      quorum, bounded, full: publishing is refused
    tidings.<lane>.suspect    tried alone, one at a time      quorum, bounded, full: publishing is refused
    tidings.dead              dead letters of all lanes       quorum, bounded, full: the oldest go

Everything is published through the default exchange, whose routing key is the queue's name: there is no
binding that could be missing. All arguments are known to RabbitMQ 3.10 and allowed in 4.x.
"""

from collections.abc import Mapping

from aiormq.channel import Channel
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from tidings.errors import SetupError
from tidings.queue import Lane
from tidings.queue.config import RabbitConfig
from tidings.queue.connection import BrokerGone, ask

MOST_MESSAGES = 500_000  # a queue; what is refused comes again from the database
MOST_DEAD = 100_000
# Ours come first (see consumer.py). This catches messages that kill a worker even before they are looked at.
# From 4.0 on it is RabbitMQ's own default; before, there is none (rabbitmq.com/docs/quorum-queues).
DELIVERY_LIMIT = 20


def lane_queue(config: RabbitConfig, lane: Lane) -> str:
    """Where the messages of a lane wait."""
    return f"{config.prefix}.{lane.value}"


def suspect_queue(config: RabbitConfig, lane: Lane) -> str:
    """Where tickets wait that are handed out alone."""
    return f"{config.prefix}.{lane.value}.suspect"


def dead_queue(config: RabbitConfig) -> str:
    """Where dead letters lie until an operator has looked at them."""
    return f"{config.prefix}.dead"


def queues(config: RabbitConfig) -> Mapping[str, Mapping[str, str | int]]:
    """Name → arguments of every queue.

    `at-least-once` needs `reject-publish` and the feature flag `stream_queue`; without the flag RabbitMQ
    falls back to at-most-once, with a line in its log (rabbitmq.com/docs/quorum-queues, dead lettering).
    """
    work: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-max-length": MOST_MESSAGES,
        "x-overflow": "reject-publish",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_queue(config),
        "x-dead-letter-strategy": "at-least-once",
    }
    dead: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-max-length": MOST_DEAD,
        "x-overflow": "drop-head",
    }
    names = [name(config, lane) for lane in Lane for name in (lane_queue, suspect_queue)]
    return {dead_queue(config): dead, **dict.fromkeys(names, work)}


async def declare(channel: Channel, config: RabbitConfig) -> None:
    """Make what is missing. Twice is safe.

    Raises `SetupError` when the broker has other queues of these names or forbids it, `BrokerGone` when it
    does not answer. The channel is closed after an error.
    """
    for name, arguments in queues(config).items():
        call = channel.queue_declare(name, durable=True, arguments=dict(arguments))
        try:
            await ask(call, config.answer_timeout_s)
        except BrokerGone as error:
            if isinstance(error.__cause__, ChannelPreconditionFailed):
                raise SetupError(
                    f"RabbitMQ has a queue {name}, but not as Tidings needs it ({error.__cause__}). "
                    "Delete it (nothing is lost: the tasks are in the database), or use another vhost."
                ) from error
            if isinstance(error.__cause__, ChannelAccessRefused):
                raise SetupError(
                    f"RabbitMQ does not let {config.user} declare the queue {name} ({error.__cause__}). Give "
                    f"it configure, write and read rights in the vhost {config.vhost}: rabbitmqctl "
                    f"set_permissions -p {config.vhost} {config.user} '.*' '.*' '.*'."
                ) from error
            raise
