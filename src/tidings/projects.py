"""Projects (tenants) and their API keys.

A key is `tk_` and 32 random bytes in base64url (256 bits). Only its SHA-256 is stored: the key is random enough that
a slow hash would add nothing, and every request pays for the check.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct

from tidings.clock import now
from tidings.coalesce import Coalescer
from tidings.db import Connection, Pool, load
from tidings.errors import SetupError, Unauthenticated

SQL = load("projects")

DEFAULT_PROJECT_ID = 1
KEY_BYTES = 32
HINT_LENGTH = 8
CACHE_S = 2.0  # a revoked key is refused everywhere within this time, whatever becomes of the announcement
KEYS_CHANGED = "keys"  # the bus's topic on which `tidings keys revoke` announces the id of a revoked key
CACHE_KEYS = 10_000


class Scope(StrEnum):
    """What a key may do. `admin` may everything."""

    SEND = "send"
    READ = "read"
    ADMIN = "admin"


class Principal(Struct, frozen=True):
    """Who calls: the project, and what the key may do."""

    project_id: int
    key_id: int
    scopes: frozenset[str]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


class ApiKey(Struct, frozen=True):
    """A key as it is listed; `hint` is its beginning."""

    id: int
    project_id: int
    name: str
    hint: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def digest(key: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).digest()


async def create_key(
    db: Pool | Connection,
    project_id: int,
    name: str,
    scopes: list[Scope],
    expires_at: datetime | None = None,
) -> tuple[str, ApiKey]:
    """Make a key. The text is returned this once and can't be had again."""
    key = "tk_" + secrets.token_urlsafe(KEY_BYTES)
    row = await db.fetchrow(
        SQL["create_key"],
        project_id,
        name,
        key[:HINT_LENGTH],
        digest(key),
        [str(s) for s in scopes],
        expires_at,
    )
    assert row is not None
    return key, ApiKey(**dict(row))


async def ensure_key(db: Pool | Connection, project_id: int, key: str) -> None:
    """Let `key` (given by a setting) be an admin key of the project. Twice is safe."""
    await db.execute(SQL["ensure_key"], project_id, "TIDINGS_API_KEY", key[:4] + "…", digest(key), [str(Scope.ADMIN)])


async def list_keys(db: Pool | Connection) -> list[tuple[str, ApiKey]]:
    """(project name, key) of every key there ever was."""
    rows = [dict(row) for row in await db.fetch(SQL["list_keys"])]
    return [(row.pop("project"), ApiKey(**row)) for row in rows]


async def revoke_key(db: Pool | Connection, key_id: int) -> bool:
    """Refuse the key from now on. Twice is safe. False: there is no such key."""
    return await db.fetchval(SQL["revoke_key"], key_id) is not None


async def project_id_of(db: Pool | Connection, name: str, *, create: bool = False) -> int:
    """The id of a project by name; with `create` it is made when it is missing."""
    found: int | None = await db.fetchval(SQL["create_project" if create else "project_by_name"], name)
    if found is None:
        raise SetupError(f"There is no project {name!r}.")
    return found


class KeyRing:
    """Tells who a key belongs to, remembering answers for `CACHE_S` seconds. Wrong keys are not remembered.

    Keys that are asked about at the same time are looked up together, so it never takes more than one connection: it
    may be one of the reserved ones, however many callers come at once when a key is to be asked about again.
    """

    def __init__(self, db: Pool, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`db`: nobody gets in without a connection of it, so one that only the critical lane uses otherwise."""
        self._db = db
        self._monotonic = monotonic
        self._ask: Coalescer[str, Any] = Coalescer(self._look_up, most_batches=1)
        self._known: OrderedDict[str, tuple[float, Principal, datetime | None]] = OrderedDict()

    def cached(self, key: str) -> Principal | None:
        """The fast path: an answer that is at most `CACHE_S` old, or None."""
        hit = self._known.get(key)
        if hit is None or hit[0] < self._monotonic() or (hit[2] is not None and hit[2] <= now()):
            return None
        return hit[1]

    def forget(self, _: str = "") -> None:
        """Ask the database again for every key. A listener of the bus (`KEYS_CHANGED`)."""
        self._known.clear()

    async def identify(self, key: str) -> Principal:
        """Who calls with this key. Raises `Unauthenticated` when nobody does (any more)."""
        asked_at = self._monotonic()  # not when it was answered: the answer may be as old as the question
        row = await self._ask(key)
        if row is None:
            raise Unauthenticated(code="key_unknown")
        if row["revoked_at"] is not None:
            raise Unauthenticated(code="key_revoked")
        if row["expires_at"] is not None and row["expires_at"] <= now():
            raise Unauthenticated(code="key_expired")
        principal = Principal(row["project_id"], row["id"], frozenset(row["scopes"]))
        self._known[key] = (asked_at + CACHE_S, principal, row["expires_at"])
        self._known.move_to_end(key)
        while len(self._known) > CACHE_KEYS:
            self._known.popitem(last=False)
        return principal

    async def _look_up(self, keys: Sequence[str]) -> list[Any]:
        """The row of each key, None where there is none."""
        digests = [digest(key) for key in keys]
        rows = {row["digest"]: row for row in await self._db.fetch(SQL["keys_by_digests"], digests)}
        return [rows.get(one) for one in digests]
