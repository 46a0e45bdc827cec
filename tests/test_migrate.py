"""The schema: who brings it up to date, once, and what a release does with the schema of another."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from msgspec import Struct

from tests import next_release
from tests.api.serving import tidings
from tests.conftest import Project, environ, eventually
from tidings import db, embedded, migrate
from tidings.app import App
from tidings.errors import SetupError

MIGRATING = 4


def test_the_newest_step_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(resources.files("tidings.sql.migrations")))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.head()]


async def test_the_database_is_at_the_newest_step(app: App) -> None:
    assert await app.db.fetchval("SELECT version_num FROM alembic_version") == migrate.head()


@pytest.mark.parametrize(
    "change",
    [
        "status = 'sent', sent_at = NULL",
        "status = 'delivered', delivered_at = NULL, sent_at = now()",
        "status = 'scheduled', scheduled_time = NULL",
        "status = 'gone'",
        "lane = 'fast'",
        "ttl_s = -1",
    ],
)
async def test_the_database_refuses_impossible_notifications(app: App, project: Project, change: str) -> None:
    notification = await project.send(await project.user())
    with pytest.raises(asyncpg.CheckViolationError):
        await app.db.execute(f"UPDATE notifications SET {change} WHERE id = $1", notification)  # noqa: S608


@pytest.mark.parametrize(
    ("version", "newer"),
    [(None, False), (migrate.head(), False), (next_release.STEP, True), ("9999", True)],
)
def test_a_number_above_ours_is_newer(version: str | None, newer: bool) -> None:
    assert migrate.is_newer(version) is newer


@pytest.mark.parametrize("version", ["0000", "", "2", "0002b", "99999", "e7d2b1a49c3f", "٠٠٠٩"])
def test_anything_else_is_not_ours(version: str) -> None:
    with pytest.raises(SetupError, match="DB_NAME"):
        migrate.is_newer(version)


class Empty(Struct, frozen=True):
    """A PostgreSQL of the test's own, with nothing in it. `env`: how commands reach it."""

    pool: db.Pool
    env: dict[str, str]
    folder: Path


@pytest.fixture
async def empty() -> AsyncIterator[Empty]:
    folder = Path(tempfile.mkdtemp(prefix="tidings-empty-"))
    folder.chmod(0o711)  # noqa: ASYNC240 - once
    server = embedded.start(folder / "database")
    where = {"host": str(server.socket_dir), "database": "postgres", "user": embedded.SUPERUSER}
    pool = await db.open_pool(**where, port=embedded.SOCKET_PORT, password=None, size=2)  # type: ignore[arg-type]
    said = {f"DB_{name.upper().replace('DATABASE', 'NAME')}": value for name, value in where.items()}
    yield Empty(pool, environ(folder / "data", **said, TIDINGS_SECRET="s" * 40), folder)
    await pool.close()
    await server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def held(pool: db.Pool) -> AsyncIterator[Callable[[int], Awaitable[bool]]]:
    """Nobody migrates within; `await all_wait(n)`: that n want to."""
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted"

    async def all_wait(count: int) -> bool:
        async def they_do() -> bool | None:
            return await pool.fetchval(waiting, migrate.LOCK_KEY) == count or None

        return await eventually(they_do, 60)

    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT pg_advisory_xact_lock($1)", migrate.LOCK_KEY)
        yield all_wait


async def test_of_many_that_migrate_at_once_one_does_it(empty: Empty) -> None:
    env = {**empty.env, **next_release.make(empty.folder / "next")}
    async with held(empty.pool) as all_wait:
        running = [asyncio.create_task(tidings("migrate", env=env)) for _ in range(MIGRATING)]
        await all_wait(MIGRATING)
    for ended in await asyncio.gather(*running):
        assert (ended.code, ended.out, ended.err) == (0, "The schema is up to date.\n", "")
    assert await empty.pool.fetchval("SELECT count(*) FROM steps_done") == 1


async def test_a_newer_release_that_came_first_is_left_alone(empty: Empty) -> None:
    """This release finds an empty database, waits for the lock, and gets it when a newer one has migrated."""
    newer = {**empty.env, **next_release.make(empty.folder / "next")}
    async with held(empty.pool) as all_wait:
        first = asyncio.create_task(tidings("migrate", env=newer))
        await all_wait(1)
        second = asyncio.create_task(tidings("migrate", env=empty.env))
        await all_wait(2)
    assert (await first).out == "The schema is up to date.\n"
    ended = await second
    assert (ended.code, ended.err) == (0, "")
    assert f"a newer release (step {next_release.STEP}; this one ends at {migrate.head()})" in ended.out


async def test_commands_say_what_they_find(empty: Empty) -> None:
    newer = {**empty.env, **next_release.make(empty.folder / "next")}
    assert (await tidings("migrate", env=newer)).code == 0
    migrated = await tidings("migrate", env={**empty.env, "LOG_LEVEL": "info"})
    assert (migrated.code, migrated.err.count("schema_is_newer")) == (0, 1)
    assert "left as it is" in migrated.out
    made = await tidings("keys", "create", env={**empty.env, "LOG_LEVEL": "info"})
    assert made.code == 0, made
    assert made.out.startswith("tk_") and len(made.out.split()) == 1, "what programs read is the key alone"
    await empty.pool.execute("UPDATE alembic_version SET version_num = 'e7d2b1a49c3f'")
    refused = await tidings("migrate", env=empty.env)
    assert (refused.code, refused.out) == (2, "")
    assert "step 'e7d2b1a49c3f', which no release of Tidings has" in refused.err
    assert "Traceback" not in refused.err
