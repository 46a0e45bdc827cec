"""The services of deploy/compose.yaml as plain processes: their commands, environment, order and health checks.

Only what a container changes is put in place: names of hosts become 127.0.0.1, ports become free ones, and paths of the
image become paths here. PostgreSQL, RabbitMQ and Redis get the arguments and the environment of their services.
"""

import asyncio
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import asyncpg

from tests.deploy.checkout import ROOT, environment_of
from tests.processes import RabbitServer, RedisServer, free_port
from tidings import embedded

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0  # stop_grace_period
CHECK_TIMEOUT_S = 30.0


class Broker(RabbitServer):
    """A private RabbitMQ that knows no more than the environment of its service."""

    def __init__(self, sbin: Path, service: Mapping[str, Any]) -> None:
        super().__init__(sbin)
        self._given = {name: str(value) for name, value in environment_of(service).items()}

    def environment(self) -> Mapping[str, str]:
        empty = self.dir / "empty.conf"
        empty.touch()
        return {**super().environment(), "RABBITMQ_CONFIG_FILE": str(empty), **self._given}


class Store(RedisServer):
    """A private Redis with the arguments of its service."""

    def __init__(self, program: Path, service: Mapping[str, Any]) -> None:
        super().__init__(program)
        command = service["command"]
        self._arguments = (shlex.split(command) if isinstance(command, str) else command)[1:]

    def command(self) -> list[str]:
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.data))
        return [str(self._program), *self._arguments, *place]


async def prepare_database(server: embedded.EmbeddedServer, service: Mapping[str, Any]) -> None:
    """Do what the image of PostgreSQL does at its first start; fails at a setting that PostgreSQL does not know."""
    given = environment_of(service)
    connection = await asyncpg.connect(
        host=str(server.socket_dir), port=embedded.SOCKET_PORT, user=embedded.SUPERUSER, database="postgres"
    )
    try:
        await connection.execute(f'CREATE ROLE "{given["POSTGRES_USER"]}" SUPERUSER LOGIN')
        await connection.execute(f'CREATE DATABASE "{given["POSTGRES_DB"]}" OWNER "{given["POSTGRES_USER"]}"')
        words = iter(service["command"][1:])
        for word in words:
            assert word == "-c", word
            name, value = next(words).split("=", 1)
            await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    finally:
        await connection.close()


class Containers:
    """The services that are ours, by name. `rename`: texts of the file → what they are here."""

    def __init__(self, services: Mapping[str, Any], folder: Path, rename: Mapping[str, str]) -> None:
        self._services = services
        self._folder = folder
        mounts = [volume for service in services.values() for volume in service.get("volumes", ())]
        targets = {volume["target"] for volume in mounts if isinstance(volume, dict)}
        credentials = {target for target in targets if target.startswith("/run/credentials/")}
        self._rename = {
            **rename,
            **dict.fromkeys(credentials, "/dev/null"),  # where they are mounted from when the operator gives none
            "/run/emulators": str(folder),
            "/opt/tidings": str(ROOT / "deploy"),
        }
        self._ports = {name: str(free_port()) for name in services}
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def up(self) -> None:
        """Start everything in the order of the file, each when what it depends on is as it must be."""
        ours = {name for name, service in self._services.items() if service["image"].startswith("tidings:")}
        order = TopologicalSorter({name: set(self._services[name].get("depends_on", ())) & ours for name in ours})
        for name in order.static_order():
            await self._start(name)
            if self._services[name]["restart"] == "no":
                code = await asyncio.wait_for(self.processes.pop(name).wait(), READY_TIMEOUT_S)
                assert code == 0, self.log(name)
        await asyncio.gather(*(self._healthy(name) for name in self.processes))

    async def down(self) -> dict[str, int | None]:
        """SIGTERM to all, as `docker compose stop`; name → exit code, negative for one that had to be killed."""
        for process in self.processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        return {name: process.returncode for name, process in self.processes.items()}

    def log(self, name: str) -> str:
        """What a service wrote."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    async def check(self, name: str) -> tuple[int, str]:
        """Run the health check of a service once; its status and what it said."""
        kind, *words = self._services[name]["healthcheck"]["test"]
        assert kind in {"CMD", "CMD-SHELL"}
        command = ["sh", "-c", self._here(words[0])] if kind == "CMD-SHELL" else [self._here(word) for word in words]
        process = await asyncio.create_subprocess_exec(
            *([sys.executable, *command[1:]] if command[0] == "python" else command),
            env=self._environment(name),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(), CHECK_TIMEOUT_S)
        return process.returncode or 0, said.decode(errors="replace")

    async def _start(self, name: str) -> None:
        service = self._services[name]
        entry = [self._here(word) for word in service.get("entrypoint") or [sys.executable, "-m", "tidings"]]
        command = [*entry, *(self._here(str(word)) for word in service.get("command") or ())]
        with (self._folder / f"{name}.log").open("ab") as log:
            self.processes[name] = await asyncio.create_subprocess_exec(
                *command, env=self._environment(name), stdout=log, stderr=log, start_new_session=True
            )

    async def _healthy(self, name: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            status, said = await self.check(name)
            if status == 0:
                return
            assert self.processes[name].returncode is None, self.log(name)
            assert time.monotonic() < deadline, f"{name} is not healthy: {said}\n{self.log(name)}"
            await asyncio.sleep(0.1)

    def _environment(self, name: str) -> dict[str, str]:
        given = {key: value for key, value in environment_of(self._services[name]).items() if value is not None}
        here = {key: self._here(str(value)) for key, value in given.items()}
        # Every container has a 3003 of its own.
        own = {"TIDINGS_OPERATIONS_PORT": self._ports[name]} if "TIDINGS_OPERATIONS_PORT" in here else {}
        folders = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
        return {"PATH": os.pathsep.join(folders), "PYTHONPATH": str(ROOT / "src"), **here, **own}

    def _here(self, text: str) -> str:
        there = "|".join(map(re.escape, sorted(self._rename, key=len, reverse=True)))
        return re.sub(there, lambda found: self._rename[found[0]], text)
