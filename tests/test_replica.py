"""Lists are read from the replica, everything else from the primary."""

import shutil
import tempfile
from pathlib import Path

from tests.conftest import client_of, environ, make_project
from tidings import db, embedded, migrate, settings
from tidings.app import App, Role, open_app


async def test_lists_come_from_the_replica(app: App, data_dir: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tidings-replica-"))
    folder.chmod(0o711)  # noqa: ASYNC240
    replica = embedded.start(folder)  # no real one: it is empty, so what is read from it shows
    target = {"port": embedded.SOCKET_PORT, "database": "postgres", "user": embedded.SUPERUSER, "password": None}
    try:
        pool = await db.open_pool(host=str(replica.socket_dir), size=2, **target)  # type: ignore[arg-type]
        await migrate.ensure(pool, host=str(replica.socket_dir), **target)
        await pool.close()
        chosen = settings.load(
            environ(
                data_dir,
                DB_HOST=str(data_dir / "run"),
                DB_NAME="postgres",
                DB_USER=embedded.SUPERUSER,
                DB_REPLICA_HOST=str(replica.socket_dir),
                TIDINGS_SECRET="s" * 40,
            )
        )
        async with open_app(chosen, frozenset({Role.API})) as reading:
            _, key = await make_project(app)
            async with client_of(reading, key) as client:
                user = (await client.post("/api/users", json={"name": "Ann"})).json()["id"]
                assert (await client.get(f"/api/users/{user}")).json()["name"] == "Ann"
                assert (await client.get("/api/users")).json() == []
    finally:
        await replica.stop()
        shutil.rmtree(folder, ignore_errors=True)
