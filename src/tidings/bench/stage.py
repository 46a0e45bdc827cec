"""What a figure needs to begin: a folder that goes away again, keys of this run, users with phones, processes."""

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
from msgspec import Struct

from tidings.bench import bodies
from tidings.bench.broker import VARIABLES
from tidings.bench.commands import PROJECT_ID, Database, Serve, Serving
from tidings.bench.load import Ready
from tidings.bench.processes import Child, child

SEED_TIMEOUT_S = 120.0

_USERS = "INSERT INTO users (project_id, name) SELECT $1, 'Bench ' || n FROM generate_series(1, $2::integer) AS n"
_DEVICES = """
INSERT INTO devices (project_id, user_id, device_token, token_digest, device_type)
SELECT $1, v.n, v.token, sha256(convert_to(v.token, 'UTF8')), $2 FROM unnest($3::text[]) WITH ORDINALITY AS v(token, n)
"""


class Stage(Struct, frozen=True):
    """Where a figure plays. The secrets are of this run and go away with it."""

    folder: Path
    secret: str
    api_key: str

    def serve(self, roles: Sequence[str], public_url: str = "", *, distributed: bool = False) -> Serve:
        """How to open the service here. A worker needs `emulators` to run beside it.

        All processes of a stage share its database; `distributed`: and RabbitMQ and Redis.
        """
        emulators = str(self.emulators) if "worker" in roles else ""
        data = str(self.folder / "data")
        return Serve(data, list(roles), self.secret, self.api_key, public_url, emulators, distributed)

    @property
    def emulators(self) -> Path:
        """The file that says how to reach the emulators of this run."""
        return self.folder / "emulators.json"


def private_folder(below: Path) -> Path:
    """A new folder that others may pass through: as root, the private PostgreSQL runs as somebody else."""
    folder = Path(tempfile.mkdtemp(prefix=f"tidings-bench-{os.getpid()}-", dir=below))
    folder.chmod(0o711)
    return folder


@asynccontextmanager
async def stage(below: Path) -> AsyncIterator[Stage]:
    """A private folder, removed in the end."""
    folder = private_folder(below)
    try:
        yield Stage(folder, secrets.token_urlsafe(32), "tk_" + secrets.token_urlsafe(32))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def service(how: Serve, name: str = "server") -> AsyncIterator[tuple[Child, Serving]]:
    """The service in a process of its own."""
    keep = VARIABLES if how.distributed else ()
    async with child(name, "tidings.bench.server", [msgspec.json.encode(how).decode()], keep) as made:
        yield made, await made.hello(Serving)


@asynccontextmanager
async def load() -> AsyncIterator[tuple[Child, Ready]]:
    """The load process."""
    async with child("load", "tidings.bench.load") as made:
        yield made, await made.hello(Ready)


@asynccontextmanager
async def emulators(here: Stage) -> AsyncIterator[Child]:
    """The vendors' emulators in a process of their own; `here.emulators` says how to reach them."""
    async with child("emulator", "tidings.emulators", ["--until-stdin-closes"]) as made:
        announced = await made.hello(msgspec.Raw)
        here.emulators.write_bytes(announced)
        yield made


async def connect(where: Database) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection to the service's database."""
    return await asyncpg.connect(
        host=where.host,
        port=where.port,
        database=where.database,
        user=where.user,
        command_timeout=SEED_TIMEOUT_S,
    )


async def seed(where: Database, users: int) -> None:
    """Make users 1 to `users`, each with one phone, and let PostgreSQL look at them as it does by itself later."""
    database = await connect(where)
    try:
        await database.execute(_USERS, PROJECT_ID, users)
        tokens = [bodies.device_token(n + 1) for n in range(users)]
        await database.execute(_DEVICES, PROJECT_ID, bodies.PLATFORM, tokens)
        await database.execute("ANALYZE")
    finally:
        await database.close()
