"""Devices: the push addresses of users."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import asyncpg
from msgspec import Meta

from tidings import events
from tidings.db import Connection, Pool, load, transaction
from tidings.discreet import Discreet
from tidings.errors import NotFound
from tidings.events import Event, EventType

SQL = load("devices")

DeviceType = Literal["android", "ios", "web"]


class NewDevice(Discreet, frozen=True, forbid_unknown_fields=True):
    """A device to be registered."""

    device_token: Annotated[
        str,
        Meta(min_length=1, max_length=4096, description="The vendor's token", examples=["fcm-token-here"]),
    ]
    device_type: Annotated[DeviceType, Meta(examples=["android"])]


class Device(Discreet, frozen=True):
    """A device as the API shows it. `disabled_at`: the vendor said that the token is dead."""

    id: int
    user_id: int
    device_token: str
    device_type: str
    created_at: datetime
    registered_at: datetime
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


async def register(db: Pool | Connection, project_id: int, user_id: int, new: NewDevice) -> Device:
    """Register a token for a user. Raises `NotFound`.

    A token is one phone: if the project knows it for another user it moves here, if for this one it is refreshed
    (and enabled again). So no phone ever gets two copies, and twice is safe.
    """
    token_digest = hashlib.sha256(new.device_token.encode()).digest()
    async with transaction(db) as connection:
        try:
            row = await connection.fetchrow(
                SQL["register"], project_id, user_id, new.device_token, token_digest, new.device_type
            )
        except asyncpg.ForeignKeyViolationError:  # the user was deleted in this moment
            row = None
        if row is None:
            raise NotFound(code="user_not_found")
        device = Device(**dict(row))
        data = {"device_id": device.id, "user_id": user_id, "device_type": device.device_type}
        await events.append(connection, [Event(project_id, EventType.DEVICE_REGISTERED, data)])
    return device


async def list_devices(db: Pool | Connection, project_id: int, user_id: int, after: int, limit: int) -> list[Device]:
    """The devices of a user, oldest first, from after the id `after`."""
    rows = await db.fetch(SQL["list"], project_id, user_id, after, limit)
    return [Device(**dict(row)) for row in rows]


async def unregister(db: Pool | Connection, project_id: int, user_id: int, device_id: int) -> None:
    """Forget a device. Raises `NotFound`."""
    async with transaction(db) as connection:
        if await connection.fetchval(SQL["unregister"], project_id, user_id, device_id) is None:
            raise NotFound(code="device_not_found")
        data = {"device_id": device_id, "user_id": user_id, "reason": "removed"}
        await events.append(connection, [Event(project_id, EventType.DEVICE_UNREGISTERED, data)])


async def disable(connection: Connection, gone: Sequence[tuple[int, str, datetime]]) -> None:
    """Disable devices: (id, reason, as of when). One that was registered again after that time stays enabled."""
    if not gone:
        return
    rows = await connection.fetch(SQL["disable"], [g[0] for g in gone], [g[1] for g in gone], [g[2] for g in gone])
    await events.append(
        connection,
        [
            Event(
                row["project_id"],
                EventType.DEVICE_UNREGISTERED,
                {"device_id": row["id"], "user_id": row["user_id"], "reason": row["disabled_reason"]},
            )
            for row in rows
        ],
    )
