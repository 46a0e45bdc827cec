"""The engine under the service: queue and bus, in this process or on RabbitMQ and Redis."""

from contextlib import AsyncExitStack

from tidings.bus import Bus
from tidings.bus.address import Address
from tidings.bus.memory import MemoryBus
from tidings.queue import Lane, Queue
from tidings.queue.config import RabbitConfig
from tidings.queue.memory import MemoryQueue
from tidings.settings import Settings
from tidings.tls import trusting


async def open_queue(settings: Settings, consume: frozenset[Lane] | None, stack: AsyncExitStack) -> Queue:
    """RabbitMQ if the settings name one. `consume`: the lanes that this process takes from; None: it only publishes.

    It may be away: tasks are stored all the same, and travel when it is back. Raises `SetupError` when it refuses us.
    """
    queue: Queue
    if settings.rabbitmq_host:
        # Here, because the client is 10 MB that one process alone does not need.
        from tidings.queue.rabbitmq import open_rabbitmq  # noqa: PLC0415

        queue = await open_rabbitmq(rabbitmq_of(settings), consume=consume)
    else:
        queue = MemoryQueue()
    stack.push_async_callback(queue.close)
    return queue


async def open_bus(settings: Settings, stack: AsyncExitStack) -> Bus:
    """Redis if the settings name one. It may be away: the bus then knows only this process, and says so.

    Raises `SetupError` when its certificate can't be trusted.
    """
    bus: Bus
    if settings.redis_host:
        from tidings.bus.redis import open_redis_bus  # noqa: PLC0415

        bus = await open_redis_bus(redis_of(settings))
    else:
        bus = MemoryBus()
    stack.push_async_callback(bus.close)
    return bus


def rabbitmq_of(settings: Settings) -> RabbitConfig:
    """How to reach RabbitMQ. Raises `SetupError` for a file of authorities that can't be used."""
    return RabbitConfig(
        settings.rabbitmq_host,
        settings.rabbitmq_port,
        settings.rabbitmq_user,
        settings.rabbitmq_password.get_secret_value(),
        tls=trusting(settings.rabbitmq_ca_file, "RABBITMQ_CA_FILE") if settings.rabbitmq_tls else None,
    )


def redis_of(settings: Settings) -> Address:
    """How to reach Redis. Raises `SetupError` for a file of authorities that can't be used."""
    return Address(
        settings.redis_host,
        settings.redis_port,
        password=settings.redis_password.get_secret_value(),
        tls=trusting(settings.redis_ca_file, "REDIS_CA_FILE") if settings.redis_tls else None,
    )
