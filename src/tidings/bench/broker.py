"""RabbitMQ and Redis for `--distributed`: where they are, and whether RabbitMQ may be used for a measurement."""

import asyncio
import os

import aiormq
from aiormq.exceptions import AMQPError

from tidings import settings
from tidings.errors import SetupError
from tidings.queue.config import RabbitConfig
from tidings.queue.topology import declare, queues
from tidings.settings import Settings

TIMEOUT_S = 30.0
FIELDS = ("rabbitmq_host", "rabbitmq_port", "rabbitmq_user", "rabbitmq_password") + (
    "redis_host",
    "redis_port",
    "redis_password",
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
    password = found.rabbitmq_password.get_secret_value()
    config = RabbitConfig(found.rabbitmq_host, found.rabbitmq_port, found.rabbitmq_user, password)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await _empty(config)
    except (OSError, TimeoutError, AMQPError) as error:
        raise SetupError(
            f"RabbitMQ at {config.host}:{config.port} can't be used: {type(error).__name__}: {error}. "
            "Start it, or correct RABBITMQ_HOST, RABBITMQ_PORT, RABBITMQ_USER and RABBITMQ_PASSWORD."
        ) from error


async def _empty(config: RabbitConfig) -> None:
    connection = aiormq.Connection(
        f"amqp://{config.host}:{config.port}",
        context=None,
    )
    await connection.connect()
    try:
        channel = await connection.channel()
        await declare(channel, config)
        for name in queues(config):
            answer = await channel.queue_declare(name, passive=True)
            if answer.consumer_count:
                raise SetupError(
                    f"somebody takes from RabbitMQ's queue {name}: --distributed needs a RabbitMQ of its own, since "
                    "what it publishes is of no use to anybody else."
                )
        for name in queues(config):
            await channel.queue_purge(name)
    finally:
        await connection.close()
