"""How a worker leaves a group that it can't end: what is answered is recorded, and the tasks go to the next worker."""

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

import structlog

from tidings.db import Pool
from tidings.worker.plan import Planned
from tidings.worker.record import Attempted, Group, record

log = structlog.get_logger("tidings.worker")


async def give_back(
    db: Pool, group: Group, answered: Sequence[Attempted], recorded: int, senders: Collection[asyncio.Task[None]]
) -> None:
    """Record what is answered, once the senders have ended; the first `recorded` are recorded already.

    What has no answer is due again at once, and so are the tasks. What was begun over a channel that sends at most once
    stays written down as begun. Raises `StaleClaim` when another worker has claimed one of the tasks meanwhile, and
    what the database raises.
    """
    if senders:
        await asyncio.wait(senders)
    left = {one.subject.id for one in without_answer(group.planned, answered)}
    if left:
        group.early.append(True)
    await record(db, group, answered[recorded:], last=not left, left=sorted(left))


async def to_the_end(work: Coroutine[Any, Any, None], most_s: float) -> None:
    """Wait for this work, however often the caller is cancelled meanwhile, but no longer than `most_s`.

    Raises nothing: whoever calls it is leaving. What went wrong is logged.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    ends_at = loop.time() + most_s
    while not task.done() and loop.time() < ends_at:
        with contextlib.suppress(asyncio.CancelledError):  # the caller knows already
            await asyncio.wait((task,), timeout=ends_at - loop.time())
    if not task.done() or task.cancelled():
        task.cancel()  # and not waited for: a database that is away may never let it end
        log.warning("group_left", error=f"not recorded within {most_s:g} s")
    elif (error := task.exception()) is not None:
        log.warning("group_left", error=f"{type(error).__name__}: {error}")


def without_answer(planned: Sequence[Planned], answered: Sequence[Attempted]) -> list[Planned]:
    """The attempts that have no answer yet."""
    if len(answered) == len(planned):
        return []
    known = {id(one.planned) for one in answered}
    return [one for one in planned if id(one) not in known]
