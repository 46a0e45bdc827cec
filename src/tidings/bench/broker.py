"""RabbitMQ and Redis for `--distributed`: where they are, and whether RabbitMQ may be used for a measurement."""

import os

from tidings import settings
from tidings.engine import rabbitmq_of
from tidings.errors import SetupError
from tidings.queue.config import RabbitConfig
from tidings.queue.connection import BrokerGone, Link, ask, open_link
from tidings.queue.topology import declare, queues
from tidings.settings import Settings

FIELDS = (
    *("rabbitmq_host", "rabbitmq_port", "rabbitmq_user", "rabbitmq_password", "rabbitmq_tls", "rabbitmq_ca_file"),
    *("redis_host", "redis_port", "redis_password", "redis_tls", "redis_ca_file"),
)
VARIABLES = frozenset(name for field in FIELDS for name in settings.env_names()[field])


def servers_of_the_environment() -> Settings:
    """Settings in which only RabbitMQ and Redis are as the environment says. Raises `SetupError` for what can't be."""
    return settings.load({name: value for name, value in os.environ.items() if name in VARIABLES})


async def take_over() -> None:
    """Empty the queues, which must be ours alone. Twice is safe.

    Raises `SetupError` when the environment names no servers, when RabbitMQ is not there, and when somebody takes from
    the queues: a Tidings that is in use must not get the tickets of a measurement.
    """
    found = servers_of_the_environment()
    if not (found.rabbitmq_host and found.redis_host):
        raise SetupError(
            "--distributed needs a RabbitMQ and a Redis of its own: set RABBITMQ_HOST, RABBITMQ_PORT, RABBITMQ_USER, "
            "RABBITMQ_PASSWORD, REDIS_HOST and REDIS_PORT. `make bench-distributed` starts both and measures."
        )
    config = rabbitmq_of(found)
    try:
        async with open_link(config, "bench") as link:
            await _empty(link, config)
    except BrokerGone as error:
        raise SetupError(
            f"RabbitMQ at {config.host}:{config.port} can't be used: {error}. "
            "Start it, or correct RABBITMQ_HOST, RABBITMQ_PORT, RABBITMQ_USER and RABBITMQ_PASSWORD."
        ) from error


async def _empty(link: Link, config: RabbitConfig) -> None:
    channel = await link.channel(confirms=False)
    await declare(channel, config)
    names = list(queues(config))
    for name in names:
        answer = await ask(channel.queue_declare(name, passive=True), config.answer_timeout_s)
        if answer.consumer_count:
            raise SetupError(
                f"Somebody takes from RabbitMQ's queue {name}. --distributed needs a RabbitMQ of its own: what it "
                "publishes is of no use to anybody else."
            )
    for name in names:
        await ask(channel.queue_purge(name), config.answer_timeout_s)
