"""Broadcasts: one thing to say to everyone who has a socket open now."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tidings import clock, tasks
from tidings.bus import Bus
from tidings.db import Connection, Pool, affected, load, transaction
from tidings.discreet import Discreet
from tidings.errors import NotFound
from tidings.queue import Lane, Ticket
from tidings.tasks import Claim

SQL = load("broadcasts")

MOST_FORGOTTEN = 5_000  # in one statement, so that it ends soon
WORTH_SAYING = timedelta(hours=1)  # an announcement to those who are here now


class NewBroadcast(Discreet, frozen=True, forbid_unknown_fields=True):
    """An announcement to all open sockets of the project."""

    title: Annotated[str, Meta(max_length=255, examples=["Maintenance tonight"])]
    body: Annotated[str, Meta(max_length=16_384, examples=["We are back at 23:00."])] = ""
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class Broadcast(Discreet, frozen=True, omit_defaults=True):
    """A broadcast as the API shows it. `sockets`: how many open sockets took it."""

    id: int
    title: str
    body: str
    data: dict[str, Any]
    status: Annotated[str, Meta(extra_json_schema={"enum": ["pending", "sent"]})]
    created_at: datetime
    sent_at: datetime | None = None
    sockets: int | None = None


class Frame(Discreet, frozen=True):
    """The `data` of the WebSocket event."""

    id: int
    title: str
    body: str
    data: msgspec.Raw
    created_at: datetime


async def accept(
    db: Pool | Connection, project_id: int, new: NewBroadcast, rescue_s: float
) -> tuple[Broadcast, Ticket]:
    """Store a broadcast and its task in one commit."""
    async with transaction(db) as connection:
        data = msgspec.json.encode(new.data).decode()
        row = await connection.fetchrow(SQL["create"], project_id, new.title, new.body, data)
        assert row is not None
        task_id = await connection.fetchval(tasks.SQL["create_broadcast"], project_id, row["id"], rescue_s)
    return _shown(row), Ticket(task_id, Lane.NORMAL)


def _shown(row: Any) -> Broadcast:
    return Broadcast(
        row["id"],
        row["title"],
        row["body"],
        msgspec.json.decode(row["data"]),
        row["status"],
        row["created_at"],
        row["sent_at"],
        row["sockets"],
    )


async def get(db: Pool, project_id: int, broadcast_id: int) -> Broadcast:
    """One broadcast. Raises `NotFound`."""
    row = await db.fetchrow(SQL["get"], project_id, broadcast_id)
    if row is None:
        raise NotFound(code="broadcast_not_found")
    return _shown(row)


async def send(db: Pool | Connection, bus: Bus, claim: Claim) -> None:
    """Put the broadcast on the bus and record it. Twice is safe: the bus knows its id."""
    row = await db.fetchrow(SQL["get"], None, claim.subject_ids[0])
    if row is None:
        return
    if row["created_at"] < clock.now() - WORTH_SAYING:
        async with transaction(db) as connection:
            await tasks.finish(connection, [claim])
            await connection.execute(SQL["expired"], row["id"])
        return
    frame = Frame(row["id"], row["title"], row["body"], msgspec.Raw(row["data"].encode()), row["created_at"])
    sockets = await bus.broadcast(claim.project_id, row["id"], msgspec.json.encode(frame))
    async with transaction(db) as connection:
        await tasks.finish(connection, [claim])
        await connection.execute(SQL["sent"], row["id"], sockets)


async def forget(db: Pool, days: int) -> int:
    """Let some broadcasts go that are older and not on their way; answers how many, at most `MOST_FORGOTTEN`."""
    return affected(await db.execute(SQL["forget"], days, MOST_FORGOTTEN))
