"""The queue: carries tickets of tasks to workers, lane by lane.

It may lose everything: the tasks are rows in PostgreSQL, and the scheduler publishes again what nobody took.
It may deliver twice: a worker claims the task row, and the second finds it claimed.
What it must never do: make a caller wait for a broker, hang, or grow without a bound.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class QueueUnavailable(ConnectionError):
    """The broker can't be asked right now. Nothing was lost by it: the tasks are in the database."""


class Lane(StrEnum):
    """A priority class with its own queue and workers, so that nothing waits behind a broadcast.

    `WEBHOOK` is no lane of a notification: it carries the events to endpoints.
    """

    CRITICAL = "critical"
    NORMAL = "normal"
    SCHEDULED = "scheduled"
    BULK = "bulk"
    WEBHOOK = "webhook"


class Ticket(Struct, frozen=True):
    """Says that a task waits. `size`: how many notifications it has, so that workers can gather a good group.

    tag: set by the queue when the ticket is taken; it must come back unchanged with `done` or `reject`.
    suspect: workers ended before they were done with it, so it is handed out alone.
    """

    task_id: int
    lane: Lane
    size: int = 1
    tag: int = 0
    suspect: bool = False


class Queue(Protocol):
    """Two implementations keep this contract: `memory.py`, and RabbitMQ for many processes.

    Whoever takes tickets gives each of them back, by `done` or by `reject`, also when the work failed: a
    failed task comes again from the database when its time has come, not from the queue.
    """

    @property
    def healthy(self) -> bool:
        """False while tickets can't travel. For the readiness of workers; nothing is lost meanwhile."""
        ...

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        """Hand tickets to whoever takes from their lanes. May be called again for the same task.

        Never waits, and never raises for the broker's troubles: over its bound it leaves tickets out.
        """
        ...

    async def take(self, lane: Lane, most: int) -> list[Ticket]:
        """Wait for tickets of the lane; at least one, and as many more as are there, up to `most` in size.

        Cancelling it loses nothing. Any number may wait at once.
        """
        ...

    async def done(self, tickets: Sequence[Ticket]) -> None:
        """These need not be delivered again by the queue. Never waits. Twice is safe."""
        ...

    async def reject(self, tickets: Sequence[Ticket], reason: str) -> None:
        """These are poison: put them where an operator can look at them, and deliver them no more.

        It is up to the caller to see to the task rows. Never waits. Twice is safe. Others are not touched.
        """
        ...

    async def depths(self) -> Mapping[str, int]:
        """How many messages wait, by lane, and under `dead` the rejected ones.

        For metrics: some seconds old, and a message holds one or more tickets. Raises `QueueUnavailable`.
        """
        ...

    async def close(self) -> None:
        """Let go of everything, within seconds. What was taken and is not done comes again. Twice is safe."""
        ...
