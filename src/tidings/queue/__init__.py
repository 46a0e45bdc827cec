"""The queue: carries tickets of tasks to workers, lane by lane.

It may lose everything: the tasks are rows in PostgreSQL, and the scheduler publishes again what nobody took.
It may deliver twice: a worker claims the task row, and the second finds it claimed.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class Lane(StrEnum):
    """A priority class with its own queue and workers, so that nothing waits behind a broadcast."""

    CRITICAL = "critical"
    NORMAL = "normal"
    SCHEDULED = "scheduled"
    BULK = "bulk"


class Ticket(Struct, frozen=True):
    """Says that a task waits. `size`: how many notifications it has, so that workers can gather a good group."""

    task_id: int
    lane: Lane
    size: int = 1


class Queue(Protocol):
    """Two implementations keep this contract: `memory.py`, and RabbitMQ for many processes."""

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        """Hand tickets to whoever takes from their lanes. May be called again for the same task."""
        ...

    async def take(self, lane: Lane, most: int) -> list[Ticket]:
        """Wait for tickets of the lane; at least one, and as many more as are there, up to `most` in size."""
        ...

    async def done(self, tickets: Sequence[Ticket]) -> None:
        """These need not be delivered again by the queue."""
        ...

    async def close(self) -> None: ...
