"""Users: people who can be reached."""

from datetime import datetime
from typing import Annotated

import asyncpg
from msgspec import UNSET, Meta, UnsetType

from tidings.db import Connection, Pool, load, transaction
from tidings.discreet import Discreet
from tidings.errors import Conflict, FieldError, Invalid, NotFound
from tidings.providers.sms_text import NumberError, e164, is_e164
from tidings.quiet_hours import UNKNOWN_ZONE, zone

SQL = load("users")

UserId = Annotated[int, Meta(ge=1, le=2**63 - 1, description="The user's id", examples=[1])]
Name = Annotated[str, Meta(min_length=1, max_length=255, examples=["John Doe"])]
Email = Annotated[
    str,
    Meta(max_length=254, pattern=r"^[^@\s\x1c-\x1f\x85]+@[^@\s\x1c-\x1f\x85]+$(?!\n)", examples=["user@example.com"]),
]
Phone = Annotated[str, Meta(max_length=32, pattern=r"^\+?[0-9][0-9 ().\-]{2,30}$(?!\n)", examples=["+1234567890"])]
ExternalId = Annotated[
    str, Meta(min_length=1, max_length=255, description="Your own id of the user", examples=["u-42"])
]
Locale = Annotated[
    str, Meta(max_length=35, pattern=r"^[A-Za-z]{2,8}([_\-][A-Za-z0-9]{1,8})*$(?!\n)", examples=["de-CH"])
]
Timezone = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"^[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+)*$(?!\n)",
        description="An IANA time zone",
        examples=["Europe/Zurich"],
    ),
]

ChatUrl = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=r"^[a-z][a-z0-9+.\-]*://[^\s]+$(?!\n)",
        description="An Apprise URL, such as `slack://…`. It may hold secrets, so it is not shown again",
    ),
]

FIELDS = ("external_id", "name", "email", "phone", "locale", "timezone", "chat_url")


class NewUser(Discreet, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A user to be created. Every field is optional."""

    external_id: ExternalId | None = None
    name: Name | None = None
    email: Email | None = None
    phone: Phone | None = None
    locale: Locale | None = None
    timezone: Timezone | None = None
    chat_url: ChatUrl | None = None


class UserChange(Discreet, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to change of a user. A field that is left out stays; null empties it."""

    external_id: ExternalId | UnsetType | None = UNSET
    name: Name | UnsetType | None = UNSET
    email: Email | UnsetType | None = UNSET
    phone: Phone | UnsetType | None = UNSET
    locale: Locale | UnsetType | None = UNSET
    timezone: Timezone | UnsetType | None = UNSET
    chat_url: ChatUrl | UnsetType | None = UNSET


class UserUpsert(Discreet, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A user by your own id: made if new, otherwise changed as by PATCH."""

    external_id: ExternalId
    name: Name | UnsetType | None = UNSET
    email: Email | UnsetType | None = UNSET
    phone: Phone | UnsetType | None = UNSET
    locale: Locale | UnsetType | None = UNSET
    timezone: Timezone | UnsetType | None = UNSET
    chat_url: ChatUrl | UnsetType | None = UNSET


class User(Discreet, frozen=True):
    """A user as the API shows it. `chat`: the service that `chat_url` leads to, such as slack."""

    id: int
    email: str | None
    name: str | None
    phone: str | None
    created_at: datetime
    external_id: str | None = None
    locale: str | None = None
    timezone: str | None = None
    updated_at: datetime | None = None
    chat: str | None = None


async def create(db: Pool | Connection, project_id: int, new: NewUser) -> User:
    """Create a user. Raises `Invalid` (a zone that does not exist), `Conflict` (external_id_taken)."""
    _check_zone(new.timezone)
    try:
        values = [getattr(new, name) for name in FIELDS]
        row = await db.fetchrow(SQL["create"], project_id, *values, number_of(new.phone))
    except asyncpg.UniqueViolationError:
        raise Conflict(code="external_id_taken") from None
    assert row is not None
    return User(**dict(row))


async def upsert(db: Pool | Connection, project_id: int, user: UserUpsert) -> tuple[User, bool]:
    """Create or change the user with this external_id; True: created. Raises `Invalid`. Twice is safe."""
    _check_zone(user.timezone)
    given, values = _given(user)
    row = await db.fetchrow(SQL["upsert"], project_id, *values, number_of(user.phone), given)
    assert row is not None
    fields = dict(row)
    created: bool = fields.pop("created")
    return User(**fields), created


async def change(db: Pool | Connection, project_id: int, user_id: int, wanted: UserChange) -> User:
    """Change the fields given. Raises `Invalid`, `NotFound`, `Conflict`. Twice is safe."""
    _check_zone(wanted.timezone)
    given, values = _given(wanted)
    try:
        row = await db.fetchrow(SQL["change"], project_id, user_id, given, *values, number_of(wanted.phone))
    except asyncpg.UniqueViolationError:
        raise Conflict(code="external_id_taken") from None
    if row is None:
        raise NotFound(code="user_not_found")
    return User(**dict(row))


def number_of(phone: str | UnsetType | None) -> str | None:
    """The telephone number as E.164: what is called, and compared. None for what is none, such as one without a country
    code. Twice is safe."""
    if not isinstance(phone, str):
        return None
    try:
        return e164(phone)
    except NumberError:
        # A country may have begun to use what our tables don't know yet. It is called, so it must be comparable.
        return phone if is_e164(phone) else None


def _check_zone(timezone: str | UnsetType | None) -> None:
    """Of what is said now. A stored zone that the machine does not know any more is shown all the same, and is UTC."""
    if isinstance(timezone, str) and zone(timezone) is None:
        found = FieldError("/timezone", "invalid_field", UNKNOWN_ZONE)
        raise Invalid(f"{found.pointer}: {found.detail}", code=found.code, errors=[found])


def _given(user: UserChange | UserUpsert) -> tuple[list[str], list[str | None]]:
    values = [getattr(user, name) for name in FIELDS]
    given = [name for name, value in zip(FIELDS, values, strict=True) if value is not UNSET]
    return given, [None if value is UNSET else value for value in values]


async def get(db: Pool | Connection, project_id: int, user_id: int) -> User:
    """One user. Raises `NotFound`."""
    row = await db.fetchrow(SQL["get"], project_id, user_id)
    if row is None:
        raise NotFound(code="user_not_found")
    return User(**dict(row))


async def list_users(
    db: Pool | Connection, project_id: int, after: int, limit: int, external_id: str | None, email: str | None
) -> list[User]:
    """Users by id, from after the id `after`."""
    rows = await db.fetch(SQL["list"], project_id, after, external_id, email, limit)
    return [User(**dict(row)) for row in rows]


async def delete(db: Pool | Connection, project_id: int, user_id: int) -> None:
    """Delete a user with the devices; what was said to them, and what vendors said about that, is erased, that it was
    said is kept.

    Scheduled notifications are cancelled; one that is on its way ends as suppressed. Raises `NotFound`.
    """
    async with transaction(db) as connection:
        if await connection.fetchval(SQL["lock"], project_id, user_id) is None:
            raise NotFound(code="user_not_found")
        # Deliveries, notifications, devices, as the worker does when it records: then neither waits for the other.
        await connection.execute(SQL["erase_details"], project_id, user_id)
        await connection.execute(SQL["erase_notifications"], project_id, user_id)
        await connection.execute(SQL["delete"], project_id, user_id)


async def must_exist(db: Pool | Connection, project_id: int, user_id: int) -> None:
    """Raises `NotFound` unless the project has this user."""
    if not await db.fetchval(SQL["exists"], project_id, user_id):
        raise NotFound(code="user_not_found")
