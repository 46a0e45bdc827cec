"""The engine under the service: queue and bus, in this process or on RabbitMQ and Redis."""

from contextlib import AsyncExitStack
from urllib.parse import quote

from tidings.bus import Bus
from tidings.bus.memory import MemoryBus
from tidings.queue import Lane, Queue
from tidings.queue.memory import MemoryQueue
from tidings.settings import Settings


async def open_queue(settings: Settings, consume: frozenset[Lane] | None, stack: AsyncExitStack) -> Queue:
    """RabbitMQ if the settings name one. `consume`: the lanes that this process takes from; None: it only publishes.

    Raises `SetupError` when the broker refuses us or does not come up in time.
    """
    queue: Queue
    if settings.rabbitmq_host:
        # Here, because the client is 10 MB that one process alone does not need.
        from tidings.queue.config import RabbitConfig  # noqa: PLC0415
        from tidings.queue.rabbitmq import open_rabbitmq  # noqa: PLC0415

        config = RabbitConfig(
            settings.rabbitmq_host,
            settings.rabbitmq_port,
            settings.rabbitmq_user,
            settings.rabbitmq_password.get_secret_value(),
        )
        queue = await open_rabbitmq(config, consume=consume)
    else:
        queue = MemoryQueue()
    stack.push_async_callback(queue.close)
    return queue


async def open_bus(settings: Settings, stack: AsyncExitStack) -> Bus:
    """Redis if the settings name one. It may be away: the bus then knows only this process, and says so."""
    bus: Bus
    if settings.redis_host:
        from tidings.bus.redis import open_redis_bus  # noqa: PLC0415

        bus = await open_redis_bus(redis_url(settings))
    else:
        bus = MemoryBus()
    stack.push_async_callback(bus.close)
    return bus


def redis_url(settings: Settings) -> str:
    """Where Redis is, with its password: never to be logged."""
    password = quote(settings.redis_password.get_secret_value(), safe="")
    return f"redis://{f':{password}@' if password else ''}{settings.redis_host}:{settings.redis_port}"
