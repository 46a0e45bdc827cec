"""Secrets and addresses reach no log, no metric, no error and no queue, whatever goes wrong.

One service with all its roles runs on a PostgreSQL, a RabbitMQ and a Redis, and is told marked values: on good ways, in
bad bodies, by vendors that repeat all they were told in their refusals, and while its servers are away. Then everything
that was written is searched.
"""

import asyncio
import base64
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiormq
import asyncpg
import msgspec
import pytest
import structlog
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.canary.accounts import accounts, emulator_secrets
from tests.canary.canaries import Canaries, all_logs
from tests.canary.channels import channels_that_repeat, good_channels
from tests.canary.reports import report_secrets, vendors_report
from tests.canary.search import search_database, search_logs, search_metrics, search_processes, search_redis
from tests.canary.stage import FINAL, Stage, content, service
from tests.canary.vendor import start_vendor
from tests.canary.ways import bad_bodies, bad_keys, good_ways, vendors_that_repeat
from tests.conftest import Project, environ, eventually
from tests.processes import free_port
from tests.servers import Servers
from tidings import embedded, settings
from tidings.app import App, Role, open_app
from tidings.errors import SetupError
from tidings.providers.webpush_vapid import new_private_key
from tidings.queue import Lane
from tidings.queue.config import RabbitConfig
from tidings.queue.topology import lane_queue


@pytest.fixture
async def own_servers() -> AsyncIterator[Servers]:
    """Nobody else's: workers of other tests would take what is to be found in the queue."""
    made = Servers()
    yield made
    await made.remove()


@pytest.fixture
async def stage(folder: Path, own_servers: Servers) -> AsyncIterator[Stage]:
    """Everything but the service."""
    rabbitmq_server, redis_server = await own_servers.rabbitmq(), await own_servers.redis()
    canaries = Canaries()
    made = Stage(folder, canaries, await start_vendor(), rabbitmq_server, redis_server)
    password = canaries.new("Redis password")
    async with Redis(port=redis_server.port) as redis:
        await redis.config_set("requirepass", password)
    made.redis_url = f"redis://:{password}@127.0.0.1:{redis_server.port}"
    broker = {"user": "canary", "password": canaries.new("RabbitMQ password")}
    await rabbitmq_server.control("add_user", broker["user"], broker["password"])
    await rabbitmq_server.control("set_permissions", broker["user"], ".*", ".*", ".*")
    (folder / "emulators.json").write_bytes(msgspec.json.encode(made.vendor.address))
    vapid = new_private_key()
    (folder / "vapid.pem").write_text(vapid)
    canaries.add_pem("VAPID key", vapid)
    canaries.add_pem("FCM private key", made.vendor.address.service_account["private_key"])
    canaries.add_pem("APNs private key", made.vendor.address.apns_account["private_key"])
    emulator_secrets(made)
    (folder / "reports.json").write_bytes(report_secrets(made))
    port = free_port()
    made.environ = {
        **environ(folder / "data"),
        "DB_HOST": str(made.database.socket_dir),
        "DB_NAME": "postgres",
        "DB_USER": embedded.SUPERUSER,
        "DB_PASSWORD": canaries.new("database password"),
        "RABBITMQ_HOST": "127.0.0.1",
        "RABBITMQ_PORT": str(rabbitmq_server.port),
        "RABBITMQ_USER": broker["user"],
        "RABBITMQ_PASSWORD": broker["password"],
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis_server.port),
        "REDIS_PASSWORD": password,
        "TIDINGS_SECRET": canaries.new("TIDINGS_SECRET", "canary-canary-{}-canary-canary"),
        "TIDINGS_API_KEY": canaries.new("API key", "tk_canary-canary-{}-canary-canary"),
        "TIDINGS_EMULATORS": str(folder / "emulators.json"),
        "TIDINGS_VAPID_KEY": str(folder / "vapid.pem"),
        "TIDINGS_REPORT_SECRETS": str(folder / "reports.json"),
        "PORT": str(port),
        "TIDINGS_PUBLIC_URL": f"http://127.0.0.1:{port}",  # where vendors report
        "TIDINGS_RETRY_ATTEMPTS": "2",
        "TIDINGS_LEASE_S": "6",  # so long what was under way when the database was killed waits
        "LOG_LEVEL": "debug",
    }
    try:
        yield made
    finally:
        await made.vendor.close()
        await made.database.stop()


async def test_nothing_tells(stage: Stage, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    stage.found("settings", repr(settings.load(stage.environ)) + repr(settings.describe(settings.load(stage.environ))))
    with all_logs() as written:
        await accepted_but_not_sent(stage)
        await wrong_passwords(stage)
        async with service(stage, frozenset(Role)) as (app, project):
            await good_ways(stage, project)
            await good_channels(stage, app, project)
            await vendors_report(stage, app, project)
            await accounts(stage, app)
            await bad_bodies(stage, project)
            await bad_keys(stage, app)
            await gateway(stage, app, project)
            await search_redis(stage)  # which forgets it all when it is away
            await servers_away(stage, app, project)
            await channels_that_repeat(stage, app, project)
            await vendors_that_repeat(stage, project)
            await search_database(stage, app)
            await search_metrics(stage, app)
            search_processes(stage)
    search_logs(stage, written)
    for name, text in zip(("standard output", "standard error"), capfd.readouterr(), strict=True):
        stage.found(name, text)
    stage.found("warnings", "\n".join(str(warning.message) for warning in recwarn))
    stage.leaks += [f"RabbitMQ's {leak}" for leak in stage.canaries.in_files(stage.rabbitmq.dir)]
    stage.found("PostgreSQL's log", (stage.folder / "database" / "postgresql.log").read_bytes())
    assert not stage.leaks, "\n".join(sorted(set(stage.leaks)))
    assert stage.answers > 60
    assert len(list(stage.canaries)) > 25


@pytest.mark.parametrize("form", ["{}", "user:{}@host", "x{}", "xy{}"])
@pytest.mark.parametrize("code", [bytes, bytes.hex, base64.b64encode, base64.urlsafe_b64encode])
def test_what_is_looked_for_is_found(form: str, code: Callable[[bytes], str | bytes]) -> None:
    canaries = Canaries()
    value = canaries.new("it", form)
    assert canaries.within(code(f"Some words and {value} among them".encode())) == ["it"]
    assert canaries.within(f"{Canaries().new('other')} {value[: len(value) // 2]}") == []


def test_what_is_logged_is_looked_at() -> None:
    canaries = Canaries()
    with all_logs() as written:
        structlog.get_logger("tidings").debug("here", value=canaries.new("by the service"))
        logging.getLogger("asyncpg").debug("here: %s", canaries.new("by a library"))
        logging.getLogger("aiormq.connection").info("here: %s", canaries.new("by the broker's client"))
        try:
            raise ValueError(canaries.new("by an exception"))
        except ValueError:
            structlog.get_logger("tidings").exception("failed")
    assert canaries.within(written.getvalue()) == sorted(canaries)


@pytest.mark.parametrize("terminal", [False, True])
async def test_rows_of_the_database_are_not_logged(app: App, terminal: bool) -> None:
    """PostgreSQL quotes the row in the error that refuses it."""
    canaries = Canaries()
    with all_logs(terminal=terminal) as written:
        name = f"Two\nlines {canaries.new('name')}"
        with pytest.raises(asyncpg.NotNullViolationError) as refused:
            await app.db.execute("INSERT INTO users (project_id, name) VALUES (NULL, $1)", name)
        assert canaries.within(str(refused.value)) == ["name"]
        try:
            try:
                raise refused.value
            except asyncpg.PostgresError as error:
                structlog.get_logger("tidings").warning("refused", error=f"{error}", exc_info=True)
                logging.getLogger("library").warning("refused: %s", error, exc_info=True)
                raise RuntimeError("the second of a chain") from error
        except RuntimeError:
            structlog.get_logger("tidings").exception("failed")
            logging.getLogger("library").exception("failed")
    assert written.getvalue().count("null value in column") == 6
    assert written.getvalue().count("RuntimeError: the second of a chain") == 2
    assert canaries.within(written.getvalue()) == []


async def wrong_passwords(stage: Stage) -> None:
    """A broker and a Redis that refuse the password: it is told that they do, not which one."""
    for name, opens in (("RABBITMQ_PASSWORD", False), ("REDIS_PASSWORD", True)):
        spoiled = {**stage.environ, name: stage.canaries.new(name.replace("_", " ").lower())}
        try:
            async with open_app(settings.load(spoiled), frozenset({Role.WORKER, Role.GATEWAY})):
                assert opens  # the service goes on without Redis, and says so
        except SetupError as error:
            assert not opens
            stage.found("what is told of a wrong password", "".join(traceback.format_exception(error)))


async def accepted_but_not_sent(stage: Stage) -> None:
    """Without a worker what is published stays in the broker, to be looked at."""
    async with service(stage, frozenset({Role.API})) as (_, project):
        user = await project.user(email=stage.canaries.new("email", "canary{}@example.com"))
        await project.device(user, stage.canaries.new("device token", "waiting-{}"))
        for lane in ("normal", "critical", "bulk"):
            await project.send(user, lane=lane, **content(stage))
        address = stage.rabbitmq.address
        config = RabbitConfig("127.0.0.1", address.port, address.user, stage.environ["RABBITMQ_PASSWORD"])
        stage.found("how the broker is reached", repr(config))
        connection = await aiormq.connect(f"amqp://{address.user}:{address.password}@127.0.0.1:{address.port}/")
        try:
            channel = await connection.channel()
            for lane in (Lane.NORMAL, Lane.CRITICAL, Lane.BULK):

                async def taken(name: str = lane_queue(config, lane)) -> str | None:
                    message = await channel.basic_get(name)
                    return f"{message.body!r} {message.header}" if message.delivery_tag else None

                stage.found("queue", await eventually(taken))
        finally:
            await connection.close()  # which puts back what was taken


async def gateway(stage: Stage, app: App, project: Project) -> None:
    """A client that is let in and hears a notification, and clients that say what they must not."""
    new = stage.canaries.new
    user = await project.user()
    answer = await project.client.post(f"/api/users/{user}/token", json={})
    token = answer.json()["token"]
    stage.canaries.add("user token", token.rsplit(".", 1)[1])
    url = f"{app.gateway_url}/ws"
    async with connect(url) as socket:
        await socket.send(msgspec.json.encode({"command": "authenticate", "token": token}).decode())
        assert msgspec.json.decode(await socket.recv())["event"] == "welcome"
        sent = await project.send(user, **content(stage))
        heard = msgspec.json.decode(await socket.recv())
        assert heard["data"]["id"] == sent
        await socket.send(msgspec.json.encode({"command": "acknowledge", "ids": [sent]}).decode())
        await project.until(sent, "delivered")
    forged = token[:-10] + new("user token")
    sayings = [
        msgspec.json.encode({"command": "authenticate", "token": forged}).decode(),
        msgspec.json.encode({"command": "authenticate", "token": token, new("data"): 1}).decode(),
        new("data"),
        msgspec.json.encode({"command": new("data")}).decode(),
        msgspec.json.encode({"command": "authenticate", "token": token, "positions": {"x": new("data")}}).decode(),
    ]
    for saying in sayings:
        async with connect(url) as socket:
            await socket.send(saying)
            with contextlib.suppress(ConnectionClosed):
                async with asyncio.timeout(5):
                    for _ in range(3):
                        told = await socket.recv()
                        assert '"welcome"' not in str(told) or token in saying
                        stage.found("gateway's answer", told)
                        await socket.send(new("data"))
        if socket.close_reason:
            stage.found("gateway's reason to close", socket.close_reason)
    for at, offered in ((f"{url}?token={token}", None), (url, [f"tidings.token.{token}"])):
        with pytest.raises(InvalidHandshake) as refused:
            await connect(at, subprotocols=offered)  # type: ignore[arg-type]
        stage.found("gateway's refusal", repr(getattr(refused.value, "response", "")))


async def servers_away(stage: Stage, app: App, project: Project) -> None:
    """The database is killed while it is used; then the broker; then Redis forgets its password."""
    user = await project.user(email=stage.canaries.new("email", "{}@example.com"))
    await project.device(user, stage.canaries.new("device token", "latency-300-{}"))
    sent = [await project.send(user, **content(stage)) for _ in range(3)]
    assert stage.database.process is not None
    stage.database.process.kill()
    await asyncio.to_thread(stage.database.process.wait)
    calls = [
        ("POST", "/api/users", {"email": stage.canaries.new("email", "{}@example.com")}),
        ("POST", "/api/notifications", {"user_id": user, **content(stage)}),
        (
            "POST",
            f"/api/users/{user}/devices",
            {"device_token": stage.canaries.new("device token"), "device_type": "ios"},
        ),
        ("GET", f"/api/users?email={stage.canaries.new('email')}", None),
    ]
    for method, path, body in calls:
        answer = await project.client.request(method, path, json=body)
        assert answer.status_code == 503, answer.text

    async def started() -> embedded.EmbeddedServer | None:
        try:
            return embedded.start(stage.folder / "database")
        except SetupError:
            return None

    stage.database = await eventually(started, 60)
    await stage.redis.restart()
    await stage.rabbitmq.restart()

    async def accepted() -> int | None:
        answer = await project.client.post("/api/notifications", json={"user_id": user, **content(stage)})
        return answer.json()["id"] if answer.status_code == 202 else None

    sent.append(await eventually(accepted, 60))
    for notification in sent:
        await project.until(notification, *FINAL)
