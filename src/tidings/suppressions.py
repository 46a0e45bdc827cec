"""Suppressed addresses: those that bounced, complained or said STOP. Nothing is sent to them any more.

By project and channel: what one tenant learns about an address is no other one's business.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta

from tidings import events
from tidings.db import Connection, Pool, load, transaction
from tidings.discreet import Discreet
from tidings.errors import NotFound
from tidings.events import Event, EventType
from tidings.users import number_of

SQL = load("suppressions")

CHANNELS = ("email", "sms")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAST = datetime(9999, 12, 31, tzinfo=UTC)

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f\ud800-\udfff]{1,64}@[^@\s\x00-\x1f\x7f\ud800-\udfff]{1,189}")


class NewSuppression(Discreet, frozen=True, forbid_unknown_fields=True):
    """An address that must not be written to any more. What it looks like tells its channel."""

    address: Annotated[
        str,
        Meta(
            max_length=254,
            pattern=r"^([^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,189}|\+[1-9][0-9]{6,14})$(?!\n)",
            description="An email address, or a telephone number as E.164",
            examples=["user@example.com"],
        ),
    ]
    detail: Annotated[str, Meta(max_length=200, description="A note of your own")] | None = None


class Suppression(Discreet, frozen=True):
    """A suppressed address as the API shows it. An email address is in lower case, a telephone number is E.164."""

    channel: str
    address: str
    reason: str
    created_at: datetime
    detail: str | None = None


class Wanted(Discreet, frozen=True):
    """An address to be suppressed, or to be let go. repr() shows no address."""

    project_id: int
    channel: str
    address: str
    reason: str = "opted_out"
    detail: str | None = None

    def __repr__(self) -> str:
        return f"Wanted({self.project_id}, {self.channel}, {self.reason})"


def canonical(channel: str, text: str) -> str | None:
    """An address in the form in which it is compared (but for the case of an email); None for what is none."""
    if channel == "email":
        found = text.strip()
        return found if _EMAIL.fullmatch(found) else None
    return number_of(text) if channel == "sms" else None


async def add(db: Pool | Connection, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Suppress addresses, already canonical; answers those that are new. Twice is safe, the first reason stays."""
    return await _change(db, "add", EventType.ADDRESS_SUPPRESSED, wanted)


async def opt_in(db: Pool | Connection, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Let addresses go that were suppressed because the person asked for it; answers those. Twice is safe."""
    return await _change(db, "opt_in", EventType.ADDRESS_RELEASED, wanted)


async def _change(db: Pool | Connection, statement: str, kind: EventType, wanted: Sequence[Wanted]) -> list[Wanted]:
    if not wanted:
        return []
    async with transaction(db) as connection:
        rows = await connection.fetch(
            SQL[statement],
            [one.project_id for one in wanted],
            [one.channel for one in wanted],
            [one.address for one in wanted],
            [one.reason for one in wanted],
            [one.detail for one in wanted],
        )
        changed = [(wanted[row["place"] - 1], row["reason"]) for row in rows]
        await _tell(connection, kind, [(one.project_id, one.channel, reason) for one, reason in changed])
    return [one for one, _ in changed]


async def get(db: Pool | Connection, project_id: int, channel: str, address: str) -> Suppression:
    """One suppressed address. Raises `NotFound`."""
    row = await db.fetchrow(SQL["get"], project_id, channel, address)
    if row is None:
        raise NotFound(code="suppression_not_found")
    return Suppression(**dict(row))


async def remove(db: Pool | Connection, project_id: int, channel: str, address: str) -> None:
    """Let an address go, whatever it was suppressed for. Raises `NotFound`."""
    async with transaction(db) as connection:
        removed = await connection.fetch(SQL["remove"], project_id, channel, address)
        if not removed:
            raise NotFound(code="suppression_not_found")
        await _tell(connection, EventType.ADDRESS_RELEASED, [(project_id, channel, removed[0]["reason"])])


async def list_suppressions(
    db: Pool | Connection, project_id: int, before: int, limit: int, channel: str | None
) -> list[Suppression]:
    """Newest first, from before the place `before` (see `place_of`). May be a little more than `limit`."""
    instant = min(before, (_LAST - _EPOCH) // _MICROSECOND)
    rows = await db.fetch(SQL["list"], project_id, _EPOCH + instant * _MICROSECOND, channel, limit)
    return [Suppression(**dict(row)) for row in rows]


def place_of(suppression: Suppression) -> int:
    """Where a list goes on after this one: microseconds since 1970."""
    return (suppression.created_at - _EPOCH) // _MICROSECOND


async def _tell(connection: Connection, kind: EventType, changed: Sequence[tuple[int, str, str]]) -> None:
    """(project, channel, reason) of each; events name no addresses."""
    await events.append(
        connection,
        [Event(project_id, kind, {"channel": channel, "reason": reason}) for project_id, channel, reason in changed],
    )
