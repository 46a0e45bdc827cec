"""Tasks: durable work to do. A row lives until its work is recorded; the queue only carries a ticket of it."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from tidings.db import Connection, Pool, affected, load
from tidings.errors import StaleClaim
from tidings.queue import Lane, Ticket

SQL = load("tasks")

GROUP_SIZE = 500  # notifications in one task: one load, one record, and a bounded loss of time when a worker dies
# In the bulk lane: what is done for a group in one go (rows decoded, written) must not hold up the critical lane.
BULK_GROUP_SIZE = 100


class Claim(Struct, frozen=True):
    """A task that this worker owns until the lease runs out. `fence` proves it when recording."""

    id: int
    project_id: int
    kind: str
    lane: str
    subject_ids: list[int]
    fence: int
    lease_until: datetime

    @property
    def again(self) -> bool:
        """True if part of the work may be recorded already: a retry, a fallback, or another worker died over it."""
        return self.kind in ("retry", "fallback") or self.fence > 1


def group_size(lane: str) -> int:
    """How many notifications of a lane make a group."""
    return BULK_GROUP_SIZE if lane == Lane.BULK else GROUP_SIZE


async def claim(
    db: Pool | Connection, task_ids: Sequence[int], lease_s: float, *, below: int | None = None
) -> list[Claim]:
    """Own the tasks for `lease_s` seconds. Those that others own, or that are done, are not in the answer.

    `below`: those that were claimed so often before without an end are not claimed, see `claimed_often`.
    """
    rows = await db.fetch(SQL["claim"], list(task_ids), lease_s, below)
    return [Claim(**dict(row)) for row in rows]


async def claimed_often(db: Pool | Connection, task_ids: Sequence[int], times: int) -> list[int]:
    """The tasks among these that nobody owns now and that were claimed `times` or more without an end."""
    return [row["id"] for row in await db.fetch(SQL["claimed_often"], list(task_ids), times)]


async def release(db: Pool | Connection, claim: Claim, again_at: datetime) -> None:
    """Give a task back as it was, to be published at `again_at`; the claim is not counted."""
    await db.execute(SQL["release"], claim.id, claim.fence, again_at)


async def hold(connection: Connection, claims: Sequence[Claim]) -> None:
    """Keep others from claiming until this transaction ends. Raises `StaleClaim` if one has."""
    rows = await connection.fetch(SQL["hold"], [c.id for c in claims], [c.fence for c in claims])
    if len(rows) != len(claims):
        raise StaleClaim(f"{len(claims) - len(rows)} of {len(claims)} tasks were taken over")


async def finish(connection: Connection, claims: Sequence[Claim]) -> None:
    """The work is recorded: delete the rows. Raises `StaleClaim` if another worker has claimed one."""
    tag = await connection.execute(SQL["finish"], [c.id for c in claims], [c.fence for c in claims])
    if affected(tag) != len(claims):
        raise StaleClaim(f"{len(claims) - affected(tag)} of {len(claims)} tasks were taken over")


async def give_back(connection: Connection, claims: Sequence[Claim]) -> None:
    """Let others claim at once; the claim counts, so that they look at what is recorded. In a transaction that
    `hold`s the tasks."""
    await connection.execute(SQL["give_back"], [c.id for c in claims], [c.fence for c in claims])


async def create(
    connection: Connection,
    project_id: int,
    kind: str,
    lane: str,
    subject_ids: Sequence[int],
    due_at: datetime,
) -> None:
    """Work for a later time; the scheduler publishes it then."""
    await connection.execute(SQL["create"], project_id, kind, lane, list(subject_ids), due_at)


async def publish_due(db: Pool, most: int, rescue_s: float) -> list[Ticket]:
    """Take up to `most` tasks whose time has come, merge small ones, and answer their tickets.

    They come again after `rescue_s` seconds if no worker claims them. Several schedulers at once are safe.
    """
    async with db.acquire() as connection, connection.transaction():
        rows = await connection.fetch(SQL["due"], most)
        tickets = []
        for group in _groups([(r["id"], (r["project_id"], r["kind"], r["lane"]), r["size"], r["fence"]) for r in rows]):
            first, size = group[0][0], sum(member[2] for member in group)
            if len(group) > 1:
                await connection.fetchval(SQL["merge"], first, [member[0] for member in group[1:]])
            tickets.append(Ticket(first, Lane(group[0][1][2]), size))
        await connection.execute(SQL["published"], [ticket.task_id for ticket in tickets], rescue_s)
    return tickets


_Due = tuple[int, tuple[int, str, str], int, int]  # id, (project, kind, lane), size, fence


def _groups(due: Sequence[_Due]) -> list[list[_Due]]:
    """Which due tasks become one. A task that was claimed before stays alone: its fence is its own."""
    groups: list[list[_Due]] = []
    open_groups: dict[tuple[int, str, str], list[_Due]] = {}
    for task in due:
        _, likeness, size, fence = task
        group = open_groups.get(likeness)
        mergeable = fence == 0 and likeness[1] != "broadcast"
        if mergeable and group is not None and sum(member[2] for member in group) + size <= group_size(likeness[2]):
            group.append(task)
            continue
        groups.append([task])
        if mergeable:
            open_groups[likeness] = groups[-1]
    return groups


async def next_due_s(db: Pool) -> float | None:
    """Seconds until the scheduler has something to do (negative: it is late); None: nothing waits."""
    seconds: float | None = await db.fetchval(SQL["next_due"])
    return seconds


async def waiting(db: Pool | Connection, most: int) -> int:
    """How many due tasks there are; counts no further than `most`."""
    count: int = await db.fetchval(SQL["waiting"], most)
    return count
