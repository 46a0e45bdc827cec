"""A service in a process of its own, to be killed."""

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

import httpx
import msgspec

from tests.conftest import environ
from tidings.emulators import Emulators
from tidings.emulators.address import Address

KEY = "fault-test-key-0123456789-0123456789"
START_TIMEOUT_S = 60.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_address(emulators: Emulators, path: Path) -> None:
    """What TIDINGS_EMULATORS names."""
    path.write_bytes(msgspec.json.encode(Address.of(emulators)))


class Service:
    """`tidings serve` on a data directory. Start and kill it as often as you like."""

    def __init__(self, data_dir: Path, emulators: Emulators, **settings: str) -> None:
        self.port = free_port()
        address = data_dir / "emulators.json"
        write_address(emulators, address)
        self._log = data_dir / "service.log"
        self._environ = {
            **os.environ,
            **environ(data_dir, **settings),
            "PORT": str(self.port),
            "TIDINGS_API_KEY": KEY,
            "TIDINGS_EMULATORS": str(address),
        }
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it wrote, all starts together."""
        return self._log.read_text() if self._log.exists() else ""

    async def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tidings", "serve", env=self._environ, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                assert self.process.returncode is None, self.log
                assert time.monotonic() < deadline, self.log
                try:
                    if (await client.get(f"{self.url}/api/healthcheck", timeout=2)).status_code == 200:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 60)
