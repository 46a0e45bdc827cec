"""The servers of the queue's tests, and a RabbitMQ queue of each test's own."""

import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from msgspec import structs

from tests.servers import Address
from tidings.queue import Lane
from tidings.queue.config import RabbitConfig
from tidings.queue.rabbitmq import RabbitQueue, open_rabbitmq

ALL = frozenset(Lane)
_numbers = itertools.count(1)


def config_of(address: Address, **changes: Any) -> RabbitConfig:
    """Queues that no other test has, and short times."""
    config = RabbitConfig(
        host=address.host,
        port=address.port,
        user=address.user or "guest",
        password=address.password or "guest",
        vhost=address.path or "/",
        prefix=f"test-{os.getpid()}-{next(_numbers)}",
        probe_s=0.5,
        answer_timeout_s=5.0,
    )
    return structs.replace(config, **changes)


class Opening:
    """Opens queues and closes them after the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def __call__(self, config: RabbitConfig, consume: frozenset[Lane] | None = ALL) -> RabbitQueue:
        queue = await open_rabbitmq(config, consume=consume)
        self._stack.push_async_callback(queue.close)
        return queue


@pytest.fixture
async def opening() -> AsyncIterator[Callable[..., Any]]:
    """`await opening(config)`: a queue that is closed at the end of the test."""
    async with AsyncExitStack() as stack:
        yield Opening(stack)
