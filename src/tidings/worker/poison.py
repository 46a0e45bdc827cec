"""Tasks that workers die over: set aside after a counted number of tries, without dragging neighbours along."""

import structlog

from tidings import tasks
from tidings.db import Pool, load, transaction
from tidings.tasks import Claim

SQL = load("poison")

ALONE_FROM = 2  # claims without an end; from then on a task is tried alone, so that it takes no other one along
MOST_CLAIMS = 5  # a worker may die for reasons of its own; five in a row over one task have one reason

log = structlog.get_logger("tidings.worker")


def is_poison(claim: Claim) -> bool:
    """Whether so many workers have claimed it without an end that it must not be tried as it is."""
    return claim.fence > MOST_CLAIMS


async def set_aside(db: Pool, claim: Claim) -> None:
    """Split a group into tasks of one; a single one fails for good and is among the dead letters.

    Raises `StaleClaim` when another worker has claimed the task meanwhile.
    """
    async with transaction(db) as connection:
        await tasks.finish(connection, [claim])
        if len(claim.subject_ids) > 1:
            log.warning("task_split", task=claim.id, claims=claim.fence, subjects=len(claim.subject_ids))
            await connection.execute(
                SQL["split"], claim.project_id, claim.kind, claim.lane, claim.subject_ids, ALONE_FROM
            )
            return
        log.error("task_poisonous", task=claim.id, claims=claim.fence, subjects=claim.subject_ids)
        detail = f"{claim.fence} workers died over it or gave it up"
        await connection.execute(SQL["fail"], claim.subject_ids, detail)
        await connection.execute(SQL["fail_waiting"], claim.subject_ids)
        await connection.execute(SQL["fail_notifications"], claim.subject_ids)
