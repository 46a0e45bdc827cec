"""Accounts of a project at vendors. Credentials are stored sealed and never shown again; a summary tells them apart.

A project may have several for one way (`WAYS`); the least priority goes first, the next one stands in when it fails.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tidings import events
from tidings.account_limits import USUAL, AccountLimits
from tidings.db import Connection, Pool, load, transaction
from tidings.discreet import Discreet
from tidings.errors import Conflict, NotFound
from tidings.events import Event, EventType
from tidings.providers import credentials as providers
from tidings.providers.credentials import CredentialsError
from tidings.providers.credentials_check import Checked
from tidings.vault import SealBroken, Vault

SQL = load("accounts")

CHANGED = "accounts"  # the bus's topic on which a project whose accounts changed is announced
MOST = 100  # accounts of one project
MAX_BYTES = 64 * 1024  # of credentials as JSON; a service account has 2.4 KB, a certificate with its chain and key 10

WARN_DAYS = (30, 7, 1)  # before the end of a certificate

WAYS = {
    "fcm": "fcm",
    "apns": "apns",
    "webpush": "webpush",
    "smtp": "email",
    "twilio": "sms",
    "vonage": "sms",
}
"""Provider → the way that it serves (`worker.plan.Address.via`)."""

ProviderName = Literal["fcm", "apns", "webpush", "smtp", "twilio", "vonage"]
Name = Annotated[str, Meta(min_length=1, max_length=255, description="Your own name of it", examples=["Firebase"])]
Priority = Annotated[int, Meta(ge=0, le=1000, description="The account with the least one is used first")]
AtMostOnce = Annotated[
    bool, Meta(description="Whether an attempt of unknown outcome is not repeated; null: as the installation has it")
]
Given = Annotated[dict[str, Any], Meta(min_length=1, description="What the vendor handed out; never shown again")]


class NewAccount(Discreet, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An account to be added. `emulated`: it belongs to the bundled emulator, where there is one. `limits`: null, as
    each of them, is the provider's default."""

    provider: ProviderName
    name: Name
    credentials: Given
    priority: Priority = 0
    enabled: bool = True
    emulated: bool = False
    limits: AccountLimits | None = None
    at_most_once: AtMostOnce | None = None

    def __repr__(self) -> str:
        return f"NewAccount({self.provider!r}, {self.name!r})"


class AccountChange(Discreet, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to change of an account. A field that is left out stays. `credentials` and `limits` are replaced as a
    whole; `limits` null goes back to the provider's defaults."""

    name: Name | UnsetType = UNSET
    credentials: Given | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    limits: AccountLimits | UnsetType | None = UNSET
    at_most_once: AtMostOnce | UnsetType | None = UNSET

    def __repr__(self) -> str:
        return f"AccountChange({self.name!r})"


class ProviderAccount(Struct, frozen=True):
    """An account as the API shows it: all but its credentials.

    `summary`: what of them is no secret. `limits`: what was declared; null is the provider's default. `expires_at`: the
    end of a certificate. `check`: what the vendor said when credentials were stored just now, null otherwise.
    """

    id: int
    provider: str
    name: str
    priority: int
    enabled: bool
    emulated: bool
    summary: dict[str, Any]
    limits: AccountLimits
    at_most_once: bool | None
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    check: Checked | None = None


class Read(Discreet, frozen=True):
    """Credentials that were read and found usable. `account`: the provider's own struct. repr() shows none."""

    provider: str
    emulated: bool
    given: dict[str, Any]
    account: Any

    def __repr__(self) -> str:
        return f"Read({self.provider!r}, {self.account!r})"


class ForBrowsers(Struct, frozen=True):
    """The account whose `public_key` a project's browsers subscribe with."""

    public_key: str
    emulated: bool


class Ending(Struct, frozen=True):
    """An account whose certificate ends soon."""

    id: int
    project_id: int
    provider: str
    name: str
    expires_at: datetime


class SealedAccount(Discreet, frozen=True):
    """A row as workers hold it. `version` grows with each change."""

    id: int
    project_id: int
    provider: str
    priority: int
    enabled: bool
    emulated: bool
    sealed: bytes
    limits: AccountLimits
    at_most_once: bool | None
    version: int

    def __repr__(self) -> str:
        return f"SealedAccount(id={self.id}, {self.provider!r}, version={self.version})"


class Account(Discreet, frozen=True):
    """An account with its credentials, for who opens a provider with it. repr() shows none of them."""

    id: int
    project_id: int
    provider: str
    emulated: bool
    credentials: dict[str, Any]

    def __repr__(self) -> str:
        return f"Account(id={self.id}, {self.provider!r})"


def read(provider: str, emulated: bool, given: dict[str, Any]) -> Read:
    """Credentials as they will be stored. Raises `CredentialsError`. Takes up to 50 ms: not on the event loop."""
    if len(msgspec.json.encode(given)) > MAX_BYTES:
        raise CredentialsError(f"the credentials are larger than {MAX_BYTES} bytes")
    return Read(provider, emulated, given, providers.read(provider, given))


async def create(db: Pool | Connection, vault: Vault, project_id: int, new: NewAccount, read: Read) -> ProviderAccount:
    """Add an account. Raises `Conflict` (account_name_taken, too_many_accounts)."""
    account_id = await db.fetchval(SQL["next_id"])
    try:
        row = await db.fetchrow(
            SQL["create"],
            *(account_id, project_id, new.provider, new.name, new.priority, new.enabled),
            *_stored(vault, project_id, account_id, read),
            *_columns(new.limits),
            new.at_most_once,
            MOST,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict(code="account_name_taken") from None
    if row is None:
        raise Conflict(f"A project has at most {MOST} accounts.", code="too_many_accounts")
    return _shown(row)


async def change(
    db: Pool | Connection, vault: Vault, project_id: int, account_id: int, wanted: AccountChange, read: Read | None
) -> ProviderAccount:
    """Change what is given; `read`: the new credentials. Raises `NotFound`, `Conflict`. Twice is safe."""
    fields = [None if value is UNSET else value for value in (wanted.name, wanted.priority, wanted.enabled)]
    stored = (None, None, None) if read is None else _stored(vault, project_id, account_id, read)
    limits = (False, None, None, None) if wanted.limits is UNSET else (True, *_columns(wanted.limits))
    once = (False, None) if wanted.at_most_once is UNSET else (True, wanted.at_most_once)
    try:
        row = await db.fetchrow(SQL["change"], project_id, account_id, *fields, *stored, *limits, *once)
    except asyncpg.UniqueViolationError:
        raise Conflict(code="account_name_taken") from None
    return _found(row)


async def list_accounts(db: Pool | Connection, project_id: int, after: int, limit: int) -> list[ProviderAccount]:
    """The accounts of a project by id, from after the id `after`."""
    return [_shown(row) for row in await db.fetch(SQL["list"], project_id, after, limit)]


async def get(db: Pool | Connection, project_id: int, account_id: int) -> ProviderAccount:
    """One account. Raises `NotFound`."""
    return _found(await db.fetchrow(SQL["get"], project_id, account_id))


async def delete(db: Pool | Connection, project_id: int, account_id: int) -> None:
    """Forget an account with its credentials. Raises `NotFound`."""
    if await db.fetchval(SQL["delete"], project_id, account_id) is None:
        raise NotFound(code="account_not_found")


async def of_projects(db: Pool | Connection, project_ids: Collection[int]) -> list[SealedAccount]:
    """All accounts of these projects, those that are switched off too, by project, priority and id."""
    return [_sealed(row) for row in await db.fetch(SQL["of_projects"], list(project_ids))]


async def for_browsers(db: Pool | Connection, project_id: int) -> ForBrowsers | None:
    """The project's Web Push account that workers try first; None: it has none.

    One that is switched off counts if there is no other, for the operator's does not stand in for it.
    """
    row = await db.fetchrow(SQL["for_browsers"], project_id)
    return None if row is None else ForBrowsers(**dict(row))


async def opened(db: Pool | Connection, vault: Vault, account_id: int) -> Account | None:
    """An account of whatever project, for what comes from outside and names only the account. Raises `SealBroken`."""
    row = await db.fetchrow(SQL["by_id"], account_id)
    return None if row is None else unseal(vault, _sealed(row))


async def stored(db: Pool | Connection, vault: Vault, project_id: int, account_id: int) -> Account:
    """An account of the project with its credentials. Raises `NotFound`, `SealBroken`."""
    row = await db.fetchrow(SQL["sealed"], project_id, account_id)
    if row is None:
        raise NotFound(code="account_not_found")
    return unseal(vault, _sealed(row))


def unseal(vault: Vault, account: SealedAccount) -> Account:
    """With its credentials. Raises `SealBroken`, whose text says what to do."""
    plain = vault.open(account.sealed, _context(account.project_id, account.id))
    credentials: dict[str, Any] = msgspec.json.decode(plain, type=dict[str, Any])
    return Account(account.id, account.project_id, account.provider, account.emulated, credentials)


async def reseal(db: Pool, vault: Vault) -> tuple[int, int]:
    """Seal anew, with the newest key, what an older one sealed; answers how many, and how many no key opens.

    Afterwards the older key is not needed any more, unless some do not open. Twice is safe.
    """
    newest = Vault(vault.keys[:1])
    done = broken = after = 0
    while rows := [_sealed(row) for row in await db.fetch(SQL["page"], after, MOST)]:
        after = rows[-1].id
        for account in rows:
            context = _context(account.project_id, account.id)
            try:
                newest.open(account.sealed, context)
                continue
            except SealBroken:
                pass  # by an older key, then
            try:
                again = vault.seal(vault.open(account.sealed, context), context)
            except SealBroken:
                broken += 1
                continue
            done += await db.fetchval(SQL["reseal"], account.id, account.sealed, again) is not None
    return done, broken


async def warn_of_ends(db: Pool, now: datetime) -> list[Ending]:
    """The accounts whose end has come within one more of `WARN_DAYS`; each has an event now. Twice is safe."""
    async with transaction(db) as connection:
        rows = await connection.fetch(SQL["warn"], [timedelta(days=days) for days in WARN_DAYS])
        ending = [Ending(**dict(row)) for row in rows]
        await events.append(
            connection, [Event(one.project_id, EventType.PROVIDER_EXPIRING, _told(one, now)) for one in ending]
        )
    return ending


async def next_ends(db: Pool) -> dict[str, datetime]:
    """Provider → when the first certificate of an account at it ends, of those that are in use and have one."""
    return {row["provider"]: row["expires_at"] for row in await db.fetch(SQL["next_ends"])}


def _told(ending: Ending, now: datetime) -> dict[str, Any]:
    return {
        "account_id": ending.id,
        "provider": ending.provider,
        "name": ending.name,
        "expires_at": ending.expires_at,
        "days_left": max((ending.expires_at - now).days, 0),
    }


def _context(project_id: int, account_id: int) -> str:
    return f"provider_accounts {project_id} {account_id}"


def _stored(vault: Vault, project_id: int, account_id: int, read: Read) -> tuple[bytes, str, datetime | None]:
    """The columns credentials, summary and expires_at."""
    sealed = vault.seal(msgspec.json.encode(read.given), _context(project_id, account_id))
    summary = providers.describe(read.provider, read.account)
    if read.emulated:
        summary["emulated"] = True
    return sealed, msgspec.json.encode(summary).decode(), providers.expires_at(read.provider, read.account)


def _found(row: asyncpg.Record | None) -> ProviderAccount:
    if row is None:
        raise NotFound(code="account_not_found")
    return _shown(row)


def _shown(row: asyncpg.Record) -> ProviderAccount:
    fields = dict(row)
    summary: dict[str, Any] = msgspec.json.decode(fields.pop("summary"))
    return ProviderAccount(
        emulated=summary.pop("emulated", False), summary=summary, limits=_limits_out_of(fields), **fields
    )


def _sealed(row: asyncpg.Record) -> SealedAccount:
    fields = dict(row)
    emulated = msgspec.json.decode(fields.pop("summary")).get("emulated", False)
    return SealedAccount(emulated=emulated, limits=_limits_out_of(fields), **fields)


def _columns(limits: AccountLimits | None) -> tuple[float | int | None, ...]:
    """The columns of `AccountLimits`."""
    return msgspec.structs.astuple(USUAL if limits is None else limits)


def _limits_out_of(fields: dict[str, Any]) -> AccountLimits:
    """Take the columns of `AccountLimits` out of a row."""
    return AccountLimits(*(fields.pop(name) for name in AccountLimits.__struct_fields__))
