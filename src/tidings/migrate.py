"""Bring the schema up to date: Alembic, with every step a plain SQL file.

Runs in a process of its own (`python -m tidings.migrate`), because Alembic and SQLAlchemy would otherwise stay
in the memory of the service for good. An advisory lock makes it safe to run from many processes at once; run
twice it does nothing.

Steps only ever add, and what no release uses any more goes one release later. So a release works on the schema of the
next one, and a database that a newer release has migrated is left as it is.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from importlib import resources
from typing import Any

import asyncpg
import structlog

from tidings import tls
from tidings.db import Pool
from tidings.errors import SetupError

log = structlog.get_logger("tidings.migrate")

LOCK_KEY = 7_146_001  # any number, but always this one
TIMEOUT_S = 600.0
_TARGET = "TIDINGS_MIGRATE_TARGET"


def steps() -> list[str]:
    """All steps of this release, oldest first, from the names of the files: `0001`."""
    names = [entry.name for entry in resources.files("tidings.sql.migrations.versions").iterdir()]
    return sorted(name[1:5] for name in names if name.startswith("v") and name.endswith(".py"))


def head() -> str:
    """The newest step."""
    return steps()[-1]


def is_newer(version: str | None) -> bool:
    """Whether a newer release has migrated the database (None: nobody has).

    Raises `SetupError` for what no release of Tidings writes.
    """
    if version is None or version in steps():
        return False
    if re.fullmatch("[0-9]{4}", version) and version > head():
        return True
    raise SetupError(
        f"The database's schema says that it is at step {version!r}, which no release of Tidings has. "
        "Check that DB_NAME is the database of Tidings."
    )


async def ensure(pool: Pool, **target: Any) -> None:
    """Migrate if the database is behind; if it is ahead, say so and leave it. `target`: host, port, database, user,
    password, and if need be sslmode and ca_file (see `db.open_pool`).

    Raises `SetupError` with Alembic's own last words when a step fails; the step is then rolled back whole.
    """
    version = await version_of(pool)
    if version == head():
        return
    if is_newer(version):
        log.warning("schema_is_newer", step=version, newest_here=head())
        return
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
    environ[_TARGET] = json.dumps(target)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tidings.migrate"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise SetupError(f"The database schema could not be brought up to date: {last[0]}")


async def version_of(pool: Pool) -> str | None:
    """The step that the database is at; None: at none."""
    if await pool.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    version: str | None = await pool.fetchval("SELECT version_num FROM alembic_version")
    return version


def run_sql(name: str) -> None:
    """Run one file of `sql/migrations`, all its statements at once, in the step's transaction."""
    from alembic import op  # noqa: PLC0415 - only in the migrating process

    text = resources.files("tidings.sql.migrations").joinpath(name).read_text("utf-8")
    op.get_bind().connection.run_async(lambda connection: connection.execute(text))


def main() -> None:
    """Run all steps that are missing on the database that the environment names."""
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from sqlalchemy import URL, text  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    target = json.loads(os.environ[_TARGET])
    host = target["host"]
    url = URL.create(
        "postgresql+asyncpg",
        username=target["user"],
        password=target["password"],
        database=target["database"],
        query={"host": host, "port": str(target["port"])},
    )
    config = Config()
    config.set_main_option("script_location", str(resources.files("tidings.sql.migrations")))

    def upgrade(connection: Any) -> None:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_KEY})"))
        if is_newer(MigrationContext.configure(connection).get_current_revision()):
            return  # a newer release was here while we waited for the lock
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async def run() -> None:
        context = tls.for_postgresql(target.get("sslmode", "prefer"), target.get("ca_file", ""))
        engine = create_async_engine(url, connect_args={"ssl": context})
        try:
            async with engine.begin() as connection:
                await connection.run_sync(upgrade)
        finally:
            await engine.dispose()

    try:
        asyncio.run(run())
    except (OSError, asyncpg.PostgresError, SetupError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
