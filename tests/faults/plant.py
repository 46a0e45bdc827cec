"""The whole service, distributed: each role a process of its own, on a PostgreSQL, a RabbitMQ and a Redis of its own.

Everything can be killed, paused and started again. The vendor is played by emulators in the test's process, which
therefore see everything that left the service.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiormq
import asyncpg
import httpx

from tests.conftest import environ
from tests.faults.service import KEY, free_port, write_address
from tests.processes import RabbitServer, RedisServer
from tests.servers import Servers
from tidings import db, embedded, emulators
from tidings.emulators import Emulators
from tidings.errors import SetupError
from tidings.queue.config import RabbitConfig
from tidings.queue.topology import queues

SECRET = "fault-test-secret-0123456789-0123456789"  # noqa: S105
START_TIMEOUT_S = 60.0


class Part:
    """One process of one role, or a supervisor with several."""

    def __init__(self, role: str, name: str, environment: dict[str, str], log: Path, processes: int = 1) -> None:
        self.role, self.name = role, name
        self._command = [sys.executable, "-m", "tidings", role, *(["--processes", str(processes)] * (processes > 1))]
        self._environment = environment
        self._log = log
        self.operations_port = int(environment["TIDINGS_OPERATIONS_PORT"])
        self.process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        await self.spawn()
        await self.ready()

    async def spawn(self) -> None:
        """Start it, no more."""
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, stdout=log, stderr=log
            )

    async def ready(self) -> None:
        """Wait until `/readyz` says so."""
        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                assert self.process.returncode is None, self.log
                assert time.monotonic() < deadline, self.log
                try:
                    url = f"http://127.0.0.1:{self.operations_port}/readyz"
                    if (await client.get(url, timeout=5)).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 90)


class Plant:
    """All parts, their servers, and the vendor. `add` makes one more part of a role."""

    def __init__(self, folder: Path, rabbitmq: RabbitServer, redis: RedisServer, vendor: Emulators) -> None:
        self.folder, self.rabbitmq, self.redis, self.vendor = folder, rabbitmq, redis, vendor
        self.parts: dict[str, Part] = {}
        self.database = embedded.start(folder / "database")
        self.api_port, self.gateway_port = free_port(), free_port()
        write_address(vendor, folder / "emulators.json")
        self.settings: dict[str, str] = {}
        self._pool: db.Pool | None = None

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def gateway_url(self) -> str:
        return f"ws://127.0.0.1:{self.gateway_port}"

    def environment(self) -> dict[str, str]:
        """What every part is told."""
        return {
            **os.environ,
            **environ(self.folder / "data"),
            "PORT": str(self.api_port),
            "GATEWAY_PORT": str(self.gateway_port),
            "DB_HOST": str(self.database.socket_dir),
            "DB_NAME": "postgres",
            "DB_USER": embedded.SUPERUSER,
            "RABBITMQ_HOST": "127.0.0.1",
            "RABBITMQ_PORT": str(self.rabbitmq.port),
            "RABBITMQ_USER": self.rabbitmq.address.user,
            "RABBITMQ_PASSWORD": self.rabbitmq.address.password,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(self.redis.port),
            "TIDINGS_SECRET": SECRET,
            "TIDINGS_API_KEY": KEY,
            "TIDINGS_EMULATORS": str(self.folder / "emulators.json"),
            "TIDINGS_PUBLIC_URL": self.api_url,
            "TIDINGS_LEASE_S": "6",
            "LOG_LEVEL": "info",
            **self.settings,
        }

    async def add(self, role: str, **more: str) -> Part:
        """Start one more process of a role."""
        part = self.make(role, 1, **more)
        await part.start()
        return part

    def make(self, role: str, processes: int, **more: str) -> Part:
        """One more process of a role, or a supervisor with several; not started."""
        name = f"{role}-{sum(part.role == role for part in self.parts.values()) + 1}"
        environment = {**self.environment(), "TIDINGS_OPERATIONS_PORT": str(free_port()), **more}
        part = Part(role, name, environment, self.folder / f"{name}.log", processes)
        self.parts[name] = part
        return part

    async def connect(self) -> db.Pool:
        """A pool on the database, for the test to look."""
        return await db.open_pool(
            host=str(self.database.socket_dir),
            port=embedded.SOCKET_PORT,
            database="postgres",
            user=embedded.SUPERUSER,
            password=None,
            size=2,
        )

    async def start(self, *roles: str) -> None:
        """One more process of each; the first alone, because it makes the schema."""
        for first in roles[:1]:
            await self.add(first)
        await asyncio.gather(*(self.add(role) for role in roles[1:]))

    def of(self, role: str) -> list[Part]:
        """The running processes of a role, oldest first."""
        alive = [part for part in self.parts.values() if part.process and part.process.returncode is None]
        return [part for part in alive if part.role == role]

    async def restore(self, **wanted: int) -> None:
        """Everything runs again that a fault ended, with so many processes of each role, and the vendor is well."""
        self.vendor.faults.clear()
        await self.rabbitmq.start()
        await self.redis.start()
        if self.database.process is not None and self.database.process.poll() is not None:
            await self.start_database()
        missing = []
        for role, count in wanted.items():
            alive = self.of(role)
            for part in alive:
                part.signal(signal.SIGCONT)
            for part in alive[count:]:
                await part.stop()
            missing += [role] * (count - len(alive))
        await self.start(*missing)
        await asyncio.gather(*(part.ready() for role in wanted for part in self.of(role)))

    async def pool(self) -> db.Pool:
        """A pool that lives as long as the plant, or until the database is killed."""
        if self._pool is None:
            self._pool = await self.connect()
        return self._pool

    async def kill_database(self) -> None:
        """SIGKILL to PostgreSQL, which takes all its processes with it."""
        assert self.database.process is not None
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None
        self.database.process.kill()
        await asyncio.to_thread(self.database.process.wait)

    async def start_database(self) -> None:
        """Start it again; it recovers from its log."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.database = embedded.start(self.folder / "database")
                return
            except (SetupError, asyncpg.PostgresError):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)

    def client(self) -> httpx.AsyncClient:
        """A client of the API."""
        return httpx.AsyncClient(base_url=self.api_url, headers={"X-API-Key": KEY}, timeout=30, trust_env=False)

    async def close(self) -> None:
        """Kill what still runs."""
        if self._pool is not None:
            self._pool.terminate()
        for part in self.parts.values():
            await part.kill()
        await self.database.stop()


def _folder() -> Path:
    """A folder that PostgreSQL's account may enter."""
    folder = Path(tempfile.mkdtemp(prefix="tidings-plant-"))
    folder.chmod(0o711)
    return folder


async def empty_queues(rabbitmq: RabbitServer) -> None:
    """Delete all queues of an earlier plant: its tickets would name tasks of another database."""
    address = rabbitmq.address
    connection = await aiormq.connect(f"amqp://{address.user}:{address.password}@127.0.0.1:{address.port}/")
    try:
        channel = await connection.channel()
        for name in queues(RabbitConfig("127.0.0.1", address.port, address.user, address.password)):
            await channel.queue_delete(name)
    finally:
        await connection.close()


@asynccontextmanager
async def plant(servers: Servers, *roles: str, **more: str) -> AsyncIterator[Plant]:
    """A plant with these roles running, and with more settings; by default no part runs yet."""
    folder = _folder()
    rabbitmq, redis, vendor = await servers.rabbitmq(), await servers.redis(), await emulators.start()
    await empty_queues(rabbitmq)
    await redis.restart()  # it keeps nothing on disk
    made = Plant(folder, rabbitmq, redis, vendor)
    made.settings.update(more)
    try:
        await made.start(*roles)
        yield made
    finally:
        await made.close()
        await vendor.close()
        shutil.rmtree(folder, ignore_errors=True)
