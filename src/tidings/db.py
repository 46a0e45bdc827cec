"""PostgreSQL: the pool, and the named queries.

Every statement lives in `sql/queries/<noun>.sql` as a block that begins with `-- name: …`; the comment lines
below the name say what it does. `load("users")` gives a noun its statements by name.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from tidings import tls
from tidings.errors import SetupError

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    _Plain = asyncpg.Connection[asyncpg.Record]
else:  # asyncpg's classes take no type arguments at run time
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
    _Plain = asyncpg.Connection

log = structlog.get_logger("tidings.db")

# What a database that is away, restarting or too slow makes asyncpg raise.
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 30.0
CHECK_TIMEOUT_S = 3.0
# PostgreSQL plans such a statement anew for each set of values, which takes several times what one notification's rows
# do (postgresql.org/docs/current/sql-prepare.html, "Notes"). A plan that stays must not read whole tables, though: one
# that was empty may have grown. Nor whole indexes: the statements name their keys twice for that (tests/test_plans.py).
BY_KEYS = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
STATEMENT_TIMEOUT_MS = 25_000  # below the client's own, so that the server gives up first and says why

_BLOCK = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)


def load(noun: str) -> dict[str, str]:
    """The statements of `sql/queries/<noun>.sql` by name."""
    text = resources.files("tidings.sql.queries").joinpath(f"{noun}.sql").read_text("utf-8")
    return {name: body.strip() for name, body in _BLOCK.findall(text)}


class _PlainConnection(_Plain):
    """Skips the clean-up that asyncpg runs at each release: one round trip less.

    Safe because nothing here sets session state: no temporary tables, no LISTEN, no session locks, no SET.
    """

    __slots__ = ()

    def get_reset_query(self) -> str:
        return ""


async def open_pool(
    *,
    host: str,
    port: int,
    database: str,
    user: str,
    password: str | None,
    size: int,
    application: str = "tidings",
    sslmode: str = "prefer",
    ca_file: str = "",
    by_keys: bool = False,
    setting: str = "DB_HOST",
    may_be_away: bool = False,
) -> Pool:
    """Open a pool, or raise `SetupError` that says what could not be reached. `sslmode`, `ca_file`: see `tls.py`.

    `by_keys`: it only carries statements that find few rows by keys, so one plan is right for all values (`BY_KEYS`).
    `setting`: the one that names the host. `may_be_away`: connections are made when they are needed, and a server that
    does not run is no error; one that refuses us still is.
    """
    context = tls.for_postgresql(sslmode, ca_file)
    pool = asyncpg.create_pool(
        host=host,
        port=port,
        database=database,
        user=user,
        password=password,
        ssl=context,
        min_size=0 if may_be_away else 2,
        max_size=size,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        max_inactive_connection_lifetime=0,
        connection_class=_PlainConnection,
        server_settings={
            "application_name": application,
            "statement_timeout": str(STATEMENT_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": "60000",
            "jit": "off",
            "timezone": "UTC",
            **(BY_KEYS if by_keys else {}),
        },
    )
    try:
        await pool
        async with pool.acquire():  # the first connection, if none is kept
            return pool
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        if said := tls.impossible(error, f"PostgreSQL at {host}:{port}", "DB"):
            raise SetupError(said.replace("DB_HOST", setting)) from error
        if may_be_away and isinstance(error, (OSError, TimeoutError, asyncpg.CannotConnectNowError)):
            log.warning("database_away", host=host, port=port, error=f"{type(error).__name__}: {error}")
            return pool
        raise SetupError(
            f"PostgreSQL at {host}:{port} can't be used: {error or type(error).__name__}. "
            f"Check {setting}, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD, and that the server runs."
        ) from error


@asynccontextmanager
async def transaction(db: Pool | Connection) -> AsyncIterator[Connection]:
    """All or nothing. On a connection that is in a transaction already, a part of that one."""
    if isinstance(db, asyncpg.Pool):
        async with db.acquire() as connection, connection.transaction():
            yield connection
    else:
        async with db.transaction():
            yield db


async def database_state(db: Pool) -> str:
    """ok, or what is wrong with it; within three seconds, also when the server is frozen."""
    asking = asyncio.create_task(_ask(db))
    try:
        done, _ = await asyncio.wait([asking], timeout=CHECK_TIMEOUT_S)
        return asking.result() if done else TimeoutError.__name__
    finally:
        asking.cancel()  # not awaited: asyncpg then waits for the server without a bound


async def _ask(db: Pool) -> str:
    try:
        await db.fetchval("SELECT 1")
    except AWAY as error:
        return type(error).__name__
    return "ok"


def affected(tag: Any) -> int:
    """How many rows a statement changed, from its command tag such as `UPDATE 3`."""
    return int(str(tag).rsplit(" ", 1)[-1])
