"""RabbitMQ and Redis for the tests: the ones that a setting names, or private ones that a test may kill.

`TEST_RABBITMQ_URL` and `TEST_REDIS_URL` name servers to use. Without them, private instances run on free
ports with data directories of their own, from the programs on this machine; if there are none and this is
root on Debian or Ubuntu, their packages are installed. Otherwise the test fails with a sentence that says
what to do: it is never skipped. Faults (kill, freeze, wipe) always need private instances.
"""

import glob
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.processes import Address, RabbitServer, RedisServer, read_url, run

__all__ = ["Address", "RabbitServer", "RedisServer", "Servers"]

INSTALL_TIMEOUT_S = 600.0
RABBITMQ_PLACES = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",  # Debian, whose wrapper in PATH changes the account
    "/opt/rabbitmq/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)


def _find_rabbitmq() -> Path | None:
    for place in RABBITMQ_PLACES:
        for found in sorted(glob.glob(place), reverse=True):
            if Path(found, "rabbitmq-server").exists():
                return Path(found)
    program = shutil.which("rabbitmq-server")
    return Path(program).resolve().parent if program else None


def _find_redis() -> Path | None:
    program = shutil.which("redis-server")
    return Path(program) if program else None


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


class Servers:
    """The private servers of a test session, each started when it is first asked for."""

    def __init__(self) -> None:
        self._rabbitmq: RabbitServer | None = None
        self._redis: RedisServer | None = None

    async def rabbitmq(self) -> RabbitServer:
        """The private RabbitMQ, running."""
        if self._rabbitmq is None:
            why = "" if (sbin := _find_rabbitmq()) else await _install("rabbitmq-server")
            sbin = sbin or _find_rabbitmq()
            if sbin is None:
                pytest.fail(
                    "These tests need RabbitMQ 3.10 or newer: `apt-get install rabbitmq-server`, or set "
                    f"TEST_RABBITMQ_URL to one that may be used ({why})."
                )
            self._rabbitmq = RabbitServer(sbin)
        await self._rabbitmq.start()
        return self._rabbitmq

    async def redis(self) -> RedisServer:
        """The private Redis, running."""
        if self._redis is None:
            why = "" if (program := _find_redis()) else await _install("redis-server")
            program = program or _find_redis()
            if program is None:
                pytest.fail(
                    "These tests need Redis 7 or newer: `apt-get install redis-server`, or set "
                    f"TEST_REDIS_URL to one that may be used ({why})."
                )
            self._redis = RedisServer(program)
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
