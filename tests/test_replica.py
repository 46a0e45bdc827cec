"""Lists are read from the replica, everything else from the primary."""

import shutil
import tempfile
from pathlib import Path

from tests.conftest import Project, client_of, environ
from tidings import db, embedded, migrate, settings
from tidings.app import App, Role, open_app


async def test_lists_come_from_the_replica(app: App, project: Project, data_dir: Path) -> None:
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
            user = await project.user(name="Ann")
            await project.device(user, f"sender-id-mismatch-{project.id}")
            notification = await project.send(user)
            await project.until(notification, "failed")
            await project.client.post("/api/suppressions", json={"address": "ann@example.org"})
            lists = ("/api/users", f"/api/notifications/user/{user}", "/api/dead-letters", "/api/suppressions")
            async with client_of(reading, project.key) as client:
                assert (await client.get(f"/api/users/{user}")).json()["name"] == "Ann"
                assert (await client.get(f"/api/notifications/{notification}")).json()["status"] == "failed"
                for path in lists:
                    assert (await client.get(path)).json() == [], path
                    assert len((await project.client.get(path)).json()) == 1, path
    finally:
        await replica.stop()
        shutil.rmtree(folder, ignore_errors=True)
