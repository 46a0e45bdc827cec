"""Private server processes that a test may kill, freeze and wipe: RabbitMQ and Redis, on free ports."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from msgspec import Struct

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 60.0
# No busy waiting: the tests share the cores with the broker.
ERLANG_ARGS = "+sbwt none +sbwtdcpu none +sbwtdio none"


class Address(Struct, frozen=True):
    """Where a server is and how to enter. `path`: the RabbitMQ vhost, or the number of the Redis database."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    path: str = ""

    @property
    def redis_url(self) -> str:
        """The address as redis clients take it."""
        entry = f"{self.user}:{self.password}@" if self.password else ""
        return f"redis://{entry}{self.host}:{self.port}/{self.path or 0}"


def read_url(url: str, default_port: int) -> Address:
    """The parts of `scheme://user:password@host:port/path`."""
    parts = urlsplit(url)
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or default_port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        path=unquote(parts.path[1:]),
    )


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A private server process: started, stopped, killed, frozen and wiped as a test likes."""

    def __init__(self, kind: str, port: int) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix=f"tidings-{kind}-"))
        self.data = self.dir / "data"
        self.port = port
        self._kind = kind
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """What to run."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """With which environment."""
        return os.environ

    async def greets(self) -> bool:
        """True once the server answers in its protocol."""
        raise NotImplementedError

    async def start(self) -> None:
        """Run it and wait until it answers. Running already: nothing to do."""
        if self._process is not None and self._process.poll() is None:
            return
        self._process = self._spawn()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await self.greets():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self.dir / "output").read_text(errors="replace")[-2000:]
                await self.kill()
                pytest.fail(f"The private {self._kind} on port {self.port} did not come up. It said:\n{tail}")
            await asyncio.sleep(0.05)

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.data.mkdir(exist_ok=True)
        with (self.dir / "output").open("ab") as output:
            # A session of its own: signals reach the whole family, and Ctrl-C of the tests does not.
            return subprocess.Popen(
                self.command(),
                env=dict(self.environment()),
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def stop(self) -> None:
        """End it in order (SIGTERM). Not running: nothing to do."""
        if self._process is None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self._process.wait, STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            await self.kill()
        self._process = None

    async def kill(self) -> None:
        """SIGKILL to the whole family, and wait for its end. Not running: nothing to do."""
        if self._process is None:
            return
        self.signal(signal.SIGKILL)
        await asyncio.to_thread(self._process.wait, STOP_TIMEOUT_S)
        self._process = None

    async def restart(self) -> None:
        """SIGKILL and start with the data that reached the disk."""
        await self.kill()
        await self.start()

    async def wipe(self) -> None:
        """SIGKILL and delete all data. It stays down until `start`."""
        await self.kill()
        shutil.rmtree(self.data)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, until `thaw`."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and all its children. It must run."""
        assert self._process is not None, f"{self._kind} does not run"
        os.killpg(self._process.pid, number)

    async def remove(self) -> None:
        """The end: nothing is left of it."""
        await self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


async def run(
    command: Sequence[str], env: Mapping[str, str], timeout_s: float, folder: Path | None = None
) -> tuple[int, str]:
    """Run a command, in a folder, to its end: exit status (-1: it took too long and was killed) and output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(env),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, f"no end within {timeout_s:g} s"
    return process.returncode or 0, output.decode(errors="replace")


class RabbitServer(Server):
    """A RabbitMQ node that knows of no other, with an epmd of its own. Boots in 7 seconds on 2 cores."""

    def __init__(self, sbin: Path) -> None:
        super().__init__("rabbitmq", free_port())
        self._sbin = sbin
        self._epmd_port = free_port()
        self._dist_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self.address = Address("127.0.0.1", self.port, "tidings", "tidings-test", "/")

    def command(self) -> Sequence[str]:
        return [str(self._sbin / "rabbitmq-server")]

    def environment(self) -> Mapping[str, str]:
        folder = str(self.dir)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
        return kept | {
            "HOME": folder,  # the Erlang cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"tidings-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGS,
        }

    def config(self) -> str:
        """Its configuration file."""
        return (
            f"default_user = {self.address.user}\ndefault_pass = {self.address.password}\n"
            "disk_free_limit.absolute = 1MB\n"
        )

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self._epmd is None:
            (self.dir / "plugins").write_text("[].\n")
            (self.dir / "rabbitmq.conf").write_text(self.config())
            # rabbitmq-server would start a shared one, as a daemon that stays after the tests.
            command = ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._epmd = subprocess.Popen(command, start_new_session=True)
        return super()._spawn()

    async def greets(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            async with asyncio.timeout(5):
                writer.write(b"AMQP\x00\x00\x09\x01")
                return (await reader.read(1)) == b"\x01"  # a method frame: Connection.Start
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()

    async def control(self, *arguments: str) -> str:
        """Run rabbitmqctl; its output."""
        command = [str(self._sbin / "rabbitmqctl"), "--quiet", *arguments]
        code, output = await run(command, self.environment(), COMMAND_TIMEOUT_S)
        assert code == 0, f"rabbitmqctl {' '.join(arguments)}: {output}"
        return output

    async def alarm(self, on: bool) -> None:
        """Raise or clear the memory alarm, in which the broker reads nothing from those who publish."""
        await self.control("set_vm_memory_high_watermark", "0.00001" if on else "0.4")

    async def remove(self) -> None:
        await super().remove()
        if self._epmd is not None:
            self._epmd.kill()
            await asyncio.to_thread(self._epmd.wait, STOP_TIMEOUT_S)
            self._epmd = None


class RedisServer(Server):
    """A Redis that keeps nothing on disk: killed, it comes back empty."""

    def __init__(self, program: Path) -> None:
        super().__init__("redis", free_port())
        self._program = program
        self.address = Address("127.0.0.1", self.port)

    def command(self) -> Sequence[str]:
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self.data, "save": "", "appendonly": "no"}
        return [
            str(self._program),
            *(part for name, value in settings.items() for part in (f"--{name}", str(value))),
        ]

    async def greets(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            async with asyncio.timeout(5):
                writer.write(b"PING\r\n")
                return (await reader.readline()) == b"+PONG\r\n"
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
