"""TLS to PostgreSQL, RabbitMQ and Redis: a notification goes its way over it, and a server that can't prove who it is
stops the start."""

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from msgspec import Struct

from tests.conftest import Project, environ, eventually
from tests.faults.service import KEY, write_address
from tests.servers import postgresql_programs, rabbitmq_programs, redis_program
from tests.tls_servers import NAMED, UNNAMED, TlsPostgres, TlsRabbit, TlsRedis
from tidings import emulators, settings, tls
from tidings.app import ALL, App, Role, open_app
from tidings.bus.redis import open_redis_bus
from tidings.emulators import Emulators, certificate
from tidings.errors import SetupError
from tidings.settings import load

COMMAND_TIMEOUT_S = 60.0
API = frozenset({Role.API})


class Trio(Struct, frozen=True):
    """The three servers, and how the service is told of them."""

    postgres: TlsPostgres
    rabbit: TlsRabbit
    redis: TlsRedis
    vendor: Emulators
    folder: Path

    def environ(self, **more: str) -> dict[str, str]:
        """Settings with which everything is encrypted and checked."""
        return {
            **environ(self.folder),
            "DB_HOST": NAMED,
            "DB_PORT": str(self.postgres.port),
            "DB_NAME": self.postgres.address.path,
            "DB_USER": self.postgres.address.user,
            "DB_PASSWORD": self.postgres.address.password,
            "DB_SSLMODE": "verify-full",
            "DB_CA_FILE": str(self.postgres.papers.authority),
            "RABBITMQ_HOST": NAMED,
            "RABBITMQ_PORT": str(self.rabbit.tls_port),
            "RABBITMQ_USER": self.rabbit.address.user,
            "RABBITMQ_PASSWORD": self.rabbit.address.password,
            "RABBITMQ_TLS": "true",
            "RABBITMQ_CA_FILE": str(self.rabbit.papers.authority),
            "REDIS_HOST": NAMED,
            "REDIS_PORT": str(self.redis.tls_port),
            "REDIS_TLS": "true",
            "REDIS_CA_FILE": str(self.redis.papers.authority),
            "TIDINGS_SECRET": "s" * 40,
            "TIDINGS_API_KEY": KEY,
            "TIDINGS_EMULATORS": str(self.folder / "emulators.json"),
            **more,
        }


@pytest.fixture(scope="module")
async def trio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trio]:
    """Servers of its own, since those of the session speak plainly."""
    folder = tmp_path_factory.mktemp("tls")
    async with AsyncExitStack() as stack:
        postgres = TlsPostgres(await postgresql_programs())
        rabbit, redis = TlsRabbit(await rabbitmq_programs()), TlsRedis(await redis_program())
        for server in (postgres, rabbit, redis):
            stack.push_async_callback(server.remove)
        await postgres.create()
        await asyncio.gather(postgres.start(), rabbit.start(), redis.start())
        vendor = await emulators.start()
        stack.push_async_callback(vendor.close)
        write_address(vendor, folder / "emulators.json")
        yield Trio(postgres, rabbit, redis, vendor, folder)


@pytest.fixture
def stranger(tmp_path: Path) -> str:
    """The file of an authority that has signed for none of them."""
    path = tmp_path / "stranger.pem"
    path.write_bytes(certificate.make().ca_pem)
    return str(path)


async def opens(environment: dict[str, str]) -> str:
    """Nothing when the API starts with these settings, otherwise the sentence with which it does not."""
    try:
        async with open_app(settings.load(environment), API):
            return ""
    except SetupError as error:
        return str(error)


async def encrypted(trio: Trio) -> None:
    """The servers themselves say that every connection of the service is."""
    connection = await trio.postgres.connect()
    rows = await connection.fetch(
        "SELECT application_name, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename IS NOT NULL"
    )
    await connection.close()
    names = {row["application_name"] for row in rows}
    assert {"tidings", "tidings critical"} <= names
    assert {row["ssl"] for row in rows} == {True}
    listed = (await trio.rabbit.control("list_connections", "ssl", "peer_port")).split("\n")
    assert sum(line.startswith("true") for line in listed) == 2
    assert not any(line.startswith("false") for line in listed)
    redis = await open_redis_bus(trio.redis.address.redis_url)
    clients = await redis._link.open_wire().ask("CLIENT", "LIST")
    await redis.close()
    doors = [line.split("laddr=")[1].split()[0] for line in str(clients, "utf-8").splitlines() if "=tidings-" in line]
    assert sorted(doors) == sorted((f"{NAMED}:{trio.redis.tls_port}", f"{NAMED}:{trio.redis.port}"))


async def walk(app: App) -> None:
    """A notification is accepted, queued, sent and recorded; presence is asked of Redis."""
    headers = {"X-API-Key": KEY}
    async with httpx.AsyncClient(base_url=app.api_url, headers=headers, timeout=20, trust_env=False) as client:
        project = Project(1, KEY, client)
        user = await project.user(name="Ann")
        await project.device(user, f"tls-phone-{user}")
        shown = await project.until(await project.send(user), "sent", "delivered", "failed")
        assert shown["status"] in ("sent", "delivered"), shown
        assert app.queue.healthy
        assert app.bus.healthy
        assert not (await app.bus.presence(1, user)).online


async def test_a_notification_goes_its_way_over_tls(trio: Trio) -> None:
    async with open_app(settings.load(trio.environ()), ALL) as app:
        await walk(app)
        await encrypted(trio)
        await trio.rabbit.restart()
        await trio.redis.restart()

        async def reconnected() -> bool | None:
            return (app.queue.healthy and app.bus.healthy) or None

        await eventually(reconnected, 60)
        await walk(app)


@pytest.mark.parametrize("server", ["DB", "RABBITMQ", "REDIS"])
async def test_a_server_of_another_authority_is_refused(trio: Trio, stranger: str, server: str) -> None:
    said = await opens(trio.environ(**{f"{server}_CA_FILE": stranger}))
    assert "shows a certificate that can't be trusted" in said
    assert f"{NAMED}:{trio.environ()[f'{server}_PORT']}" in said
    assert f"{server}_CA_FILE must name the authority" in said


@pytest.mark.parametrize("server", ["DB", "RABBITMQ", "REDIS"])
async def test_the_authorities_of_the_system_are_asked_without_a_file(trio: Trio, server: str) -> None:
    assert "can't be trusted" in await opens(trio.environ(**{f"{server}_CA_FILE": ""}))


@pytest.mark.parametrize("server", ["DB", "RABBITMQ", "REDIS"])
async def test_a_certificate_for_another_name_is_refused(trio: Trio, server: str) -> None:
    said = await opens(trio.environ(**{f"{server}_HOST": UNNAMED}))
    assert f"not valid for '{UNNAMED}'" in said
    assert f"{server}_HOST a name that it holds" in said


async def test_verify_ca_checks_who_signed_and_not_the_name(trio: Trio, stranger: str) -> None:
    assert await opens(trio.environ(DB_SSLMODE="verify-ca", DB_HOST=UNNAMED)) == ""
    assert "can't be trusted" in await opens(trio.environ(DB_SSLMODE="verify-ca", DB_CA_FILE=stranger))


@pytest.mark.parametrize("mode", ["prefer", "require"])
async def test_modes_that_encrypt_and_check_nothing(trio: Trio, mode: str) -> None:
    assert await opens(trio.environ(DB_SSLMODE=mode, DB_CA_FILE="", DB_HOST=UNNAMED)) == ""


async def test_a_database_that_wants_tls_refuses_without(trio: Trio) -> None:
    said = await opens(trio.environ(DB_SSLMODE="disable", DB_CA_FILE=""))
    assert "no encryption" in said
    assert "can't be used" in said


@pytest.mark.parametrize("server", ["DB", "RABBITMQ", "REDIS"])
async def test_the_command_ends_with_the_sentence(trio: Trio, stranger: str, server: str) -> None:
    """As it is run: over uvloop, with status 2 and without a traceback."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidings", "api"),
        env=os.environ | trio.environ(**{f"{server}_CA_FILE": stranger}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(COMMAND_TIMEOUT_S):
        _, said = await process.communicate()
    assert process.returncode == 2, said
    assert b"shows a certificate that can't be trusted" in said.splitlines()[-1]
    assert b"Traceback" not in said


async def test_a_port_that_does_not_speak_tls(trio: Trio) -> None:
    said = await opens(trio.environ(RABBITMQ_PORT=str(trio.rabbit.port)))
    assert said == f"RabbitMQ at {NAMED}:{trio.rabbit.port} does not speak TLS on this port. " + (
        "Set RABBITMQ_PORT to the one that does."
    )


async def test_the_address_of_redis_as_an_url(trio: Trio, stranger: str) -> None:
    url = f"rediss://{NAMED}:{trio.redis.tls_port}"
    bus = await open_redis_bus(f"{url}?ca_file={trio.redis.papers.authority}")
    assert bus.healthy
    await bus.close()
    with pytest.raises(SetupError, match="can't be trusted"):
        await open_redis_bus(f"{url}?ca_file={stranger}")


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_without_an_authority(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SetupError, match=r"^REDIS_CA_FILE can't be used: .*ca\.pem: [a-zA-Z ]+\.$"):
        tls.trusting(str(path), "REDIS_CA_FILE")


def test_old_tls_is_not_spoken() -> None:
    contexts = [tls.trusting("", "DB_CA_FILE"), *(tls.for_postgresql(mode, "") for mode in ("require", "verify-full"))]
    assert all(context.minimum_version == ssl.TLSVersion.TLSv1_2 for context in contexts)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"DB_CA_FILE": "/ca.pem"}, "with DB_SSLMODE prefer no certificate is checked: use verify-full"),
        ({"DB_CA_FILE": "/ca.pem", "DB_SSLMODE": "require"}, "use verify-full"),
        ({"REDIS_CA_FILE": "/ca.pem"}, "REDIS_CA_FILE is set, but REDIS_TLS is not: set it to true"),
        ({"RABBITMQ_CA_FILE": "/ca.pem"}, "RABBITMQ_CA_FILE is set, but RABBITMQ_TLS is not: set it to true"),
        ({"DB_SSLMODE": "verify"}, "DB_SSLMODE is 'verify'"),
    ],
)
def test_settings_that_would_check_nothing(given: dict[str, str], said: str) -> None:
    with pytest.raises(SetupError, match=said):
        load(given)
