"""Lists are read from the replica, everything else from the primary, also while the replica is away."""

import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import Project, client_of, environ, eventually
from tidings import db, embedded, migrate, settings
from tidings.app import ALL, App, Role, open_app
from tidings.errors import SetupError
from tidings.settings import Settings

API = frozenset({Role.API})


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    """Of a PostgreSQL that is no real replica: it is empty, so what is read from it shows."""
    made = Path(tempfile.mkdtemp(prefix="tidings-replica-"))
    made.chmod(0o711)  # noqa: ASYNC240
    server = embedded.start(made)
    target = {"port": embedded.SOCKET_PORT, "database": "postgres", "user": embedded.SUPERUSER, "password": None}
    pool = await db.open_pool(host=str(server.socket_dir), size=2, **target)  # type: ignore[arg-type]
    await migrate.ensure(pool, host=str(server.socket_dir), **target)
    await pool.close()
    await server.stop()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def reading_from(replica: str, data_dir: Path, **more: str) -> Settings:
    """Settings of one more process of the service that runs in the tests."""
    given = {"DB_HOST": str(data_dir / "run"), "DB_NAME": "postgres", "DB_USER": embedded.SUPERUSER, **more}
    return settings.load(environ(data_dir, **given, DB_REPLICA_HOST=replica, TIDINGS_SECRET="s" * 40))


def lists(user: int) -> tuple[str, ...]:
    return ("/api/users", f"/api/notifications/user/{user}", "/api/dead-letters", "/api/suppressions")


async def test_lists_come_from_the_replica(app: App, project: Project, data_dir: Path, folder: Path) -> None:
    replica = embedded.start(folder)
    try:
        async with open_app(reading_from(str(replica.socket_dir), data_dir), API) as reading:
            user = await project.user(name="Ann")
            await project.device(user, f"sender-id-mismatch-{project.id}")
            notification = await project.send(user)
            await project.until(notification, "failed")
            await project.client.post("/api/suppressions", json={"address": "ann@example.org"})
            async with client_of(reading, project.key) as client:
                assert (await client.get(f"/api/users/{user}")).json()["name"] == "Ann"
                assert (await client.get(f"/api/notifications/{notification}")).json()["status"] == "failed"
                for path in lists(user):
                    assert (await client.get(path)).json() == [], path
                    assert len((await project.client.get(path)).json()) == 1, path
    finally:
        await replica.stop()


@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_without_the_replica_only_lists_are_unavailable(
    app: App, project: Project, data_dir: Path, folder: Path, end: str
) -> None:
    replica = embedded.start(folder)
    place = str(replica.socket_dir)
    assert replica.process is not None
    if end == "killed":  # its socket stays, and nobody listens
        replica.process.send_signal(signal.SIGKILL)
        replica.process.wait()
    else:
        await replica.stop()
    user = await project.user()
    async with open_app(reading_from(place, data_dir), API) as reading, client_of(reading, project.key) as client:
        for path in lists(user):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), path
            assert answer.headers["Retry-After"]
        assert (await client.post("/api/notifications", json={"user_id": user, "title": "t"})).status_code == 202
        health = await client.get("/api/healthcheck")
        found = health.json()
        assert (health.status_code, found["status"], found["dependencies"]["database"]) == (200, "degraded", "ok")
        assert found["dependencies"]["replica"] in ("FileNotFoundError", "ConnectionRefusedError")

        replica = embedded.start(folder)
        try:

            async def back() -> bool | None:
                return (await client.get("/api/healthcheck")).json()["dependencies"]["replica"] == "ok" or None

            await eventually(back)
            assert [(await client.get(path)).json() for path in lists(user)] == [[], [], [], []]
        finally:
            await replica.stop()


async def test_a_replica_whose_name_is_unknown_is_away(project: Project, data_dir: Path) -> None:
    settled = reading_from("replica.invalid", data_dir)
    async with open_app(settled, API) as reading, client_of(reading, project.key) as client:
        assert (await client.get("/api/users")).status_code == 503
        assert (await client.get("/api/healthcheck")).json()["dependencies"]["replica"] in ("gaierror", "TimeoutError")


async def test_a_replica_that_refuses_us_is_named_and_only_an_api_asks_it(
    app: App, data_dir: Path, folder: Path
) -> None:
    replica = embedded.start(folder)
    await app.db.execute("CREATE ROLE unknown_there LOGIN SUPERUSER")
    try:
        refused = reading_from(str(replica.socket_dir), data_dir, DB_USER="unknown_there")
        with pytest.raises(SetupError, match=r'"unknown_there" does not exist. Check DB_REPLICA_HOST,'):
            async with open_app(refused, API):
                pass
        async with open_app(refused, ALL - API) as others:
            assert others.services.reader is others.db
    finally:
        await replica.stop()
        await app.db.execute("DROP ROLE unknown_there")
