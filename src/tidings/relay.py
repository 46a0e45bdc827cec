"""Right after a commit, hands its tasks to the queue. If that fails, the scheduler does it later."""

from collections.abc import Sequence

import structlog

from tidings.queue import Queue, Ticket

log = structlog.get_logger("tidings.relay")


async def relay(queue: Queue, tickets: Sequence[Ticket]) -> None:
    """Publish. Never raises for the queue's troubles: the tasks are committed, so nothing can be lost."""
    try:
        await queue.publish(tickets)
    except (OSError, TimeoutError) as error:
        log.warning("publish_failed", tickets=len(tickets), error=str(error))
