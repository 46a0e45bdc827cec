"""`memory`: how much each role takes, just started and at most while it works. What `docs/operations.md` quotes."""

import asyncio
from contextlib import AsyncExitStack

from tidings.bench import broker, deliver, usage
from tidings.bench.commands import Connect, Connected, DeliverAll, Delivered, Disconnect, Post, Posted, Serving
from tidings.bench.figures import Figure, Options
from tidings.bench.posts import GRACE_S
from tidings.bench.processes import BenchError, Child
from tidings.bench.sockets import CONNECT_TIMEOUT_S, SPARE_FILES, WELCOMED
from tidings.bench.stage import Stage, emulators, load, seed, service, stage

NOTIFICATIONS = 50_000
SOCKETS = 5_000
CONNECTIONS = 64
SETTLE_S = 2.0
TIMEOUT_S = 300.0
ROLES = ("api", "gateway", "worker", "scheduler")
BYTES_A_MIB = 1 << 20


async def measure(options: Options) -> list[Figure]:
    """A figure for each role in a process of its own, over RabbitMQ and Redis; and for all in one process.

    Raises `BenchError` when anything is refused or not sent.
    """
    await broker.take_over()
    parts = await _apart(options)
    await broker.take_over()
    return [*parts, await _together(options)]


async def _apart(options: Options) -> list[Figure]:
    async with stage(options.folder) as here, load() as (loader, ready), emulators(here), AsyncExitStack() as stack:
        roles: dict[str, Child] = {}
        serving: dict[str, Serving] = {}
        for role in ROLES:
            url = f"http://127.0.0.1:{serving['api'].api_port}" if serving else ""
            opening = service(here.serve([role], url, distributed=True), role)
            roles[role], serving[role] = await stack.enter_async_context(opening)
        await asyncio.sleep(SETTLE_S)
        idle = {role: usage.memory_bytes(process.pid) for role, process in roles.items()}
        at, sockets = serving["api"], serving["gateway"].gateway_port
        work = _Work(options, here, loader, at, min(SOCKETS, ready.open_files - SPARE_FILES))
        said = await work.run(sockets, roles["scheduler"])
        return [_figure(f"memory_{role}", said[role], idle[role], roles[role]) for role in ROLES]


async def _together(options: Options) -> Figure:
    async with (
        stage(options.folder) as here,
        load() as (loader, ready),
        emulators(here),
        service(here.serve(ROLES)) as (server, at),
    ):
        await asyncio.sleep(SETTLE_S)
        idle = usage.memory_bytes(server.pid)
        work = _Work(options, here, loader, at, min(SOCKETS, ready.open_files - SPARE_FILES))
        said = await work.run(at.gateway_port, server)
        return _figure("memory_serve", "; ".join(said[role] for role in ROLES[:3]), idle, server)


class _Work:
    """What all roles are given to do, so that each has what it has under load."""

    def __init__(self, options: Options, here: Stage, loader: Child, at: Serving, sockets: int) -> None:
        self._here, self._loader, self._at = here, loader, at
        self._seconds = options.seconds
        self._count = options.count(NOTIFICATIONS, deliver.BATCH)
        self._count -= self._count % deliver.BATCH
        self._sockets = min(options.count(SOCKETS, 10), sockets)

    async def run(self, gateway_port: int, giver: Child) -> dict[str, str]:
        """Open sockets, accept one by one and in batches, deliver all; what each role did, in words."""
        here, at = self._here, self._at
        await seed(at.database, self._count)
        connect = Connect(gateway_port, self._sockets, here.secret, WELCOMED, CONNECT_TIMEOUT_S)
        await self._loader.ask(connect, Connected, 2 * CONNECT_TIMEOUT_S)
        singles = Post(at.api_port, "/api/notifications", here.api_key, CONNECTIONS, self._seconds, self._count)
        posted = await self._loader.ask(singles, Posted, self._seconds + 2 * GRACE_S)
        if posted.refused:
            raise BenchError(f"{posted.refused} requests were refused: {posted.first_refusal}")
        batches = Post(
            *(at.api_port, "/api/notifications/batch", here.api_key, deliver.ACCEPTING, TIMEOUT_S, self._count),
            batch=deliver.BATCH,
            most=self._count // deliver.BATCH,
        )
        await deliver.accept_all(self._loader, batches, self._count)
        await giver.ask(DeliverAll(TIMEOUT_S), Delivered, TIMEOUT_S + GRACE_S)
        await deliver.must_be_sent(at.database, posted.requests + self._count)
        await self._loader.ask(Disconnect(), Connected, CONNECT_TIMEOUT_S)
        return {
            "api": f"{CONNECTIONS} callers, batches of {deliver.BATCH:,}",
            "gateway": f"{self._sockets:,} open sockets",
            "worker": f"{posted.requests + self._count:,} notifications delivered",
            "scheduler": "the tasks of all these",
        }


def _figure(name: str, said: str, idle: int, process: Child) -> Figure:
    most = max(usage.most_memory_bytes(process.pid), idle)
    return Figure(
        name=name,
        what=f"resident memory at most: {said}",
        unit="MiB",
        value=most / BYTES_A_MIB,
        ceiling=idle / BYTES_A_MIB,
        ceiling_is="just started",
        ratio=None,
        bar=None,
    )
