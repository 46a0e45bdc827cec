"""The composition root: settings → everything opened in order → one frozen `App`; closed in reverse order."""

import asyncio
import contextlib
import gc
import os
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import Any

import structlog

from tidings import clock, embedded, metrics, migrate, partitions, projects, signing
from tidings.addresses import Guard
from tidings.api.app import create_api
from tidings.api.intake import Intake
from tidings.api.limits import Limits
from tidings.api.services import Services
from tidings.arrivals import Arrivals
from tidings.backlog import Backlog
from tidings.bus import Bus
from tidings.db import Pool, database_state, open_pool
from tidings.discreet import Discreet
from tidings.emulators import Emulators
from tidings.engine import open_bus, open_queue
from tidings.errors import SetupError
from tidings.gateway.hub import GatewayConfig
from tidings.gateway.server import Gateway, start_gateway
from tidings.http import open_client
from tidings.lanes import composing_of, open_lanes
from tidings.listening import listen, serve_http, url_of
from tidings.operations import Operations
from tidings.operators import Accounts, keep, read_accounts
from tidings.projects import KeyRing
from tidings.providers.apprise_account import guard_of as guard_of_chats
from tidings.providers.report_reader import ReportReader
from tidings.providers.webpush_account import guard_of, public_key_of
from tidings.queue import Queue
from tidings.queue.memory import MemoryQueue
from tidings.reporting import secrets_of
from tidings.scheduler import due, expiry, gauges, retention, statistics
from tidings.settings import Settings
from tidings.supervise import tell_state
from tidings.turns import Turns
from tidings.urgency import Urgency
from tidings.vault import Vault, vault_of
from tidings.vendors import find_emulators, outside_of
from tidings.worker.loop import HANDS, Worker

log = structlog.get_logger("tidings")

RESERVED_CONNECTIONS = 3  # of the database, for the critical lane and for looking up API keys
ASK_AWS_S = 5.0
GRACE_S = 10.0  # for what is in flight when the service is told to stop


class Role(StrEnum):
    """A part of the service. `tidings serve` runs all of them in one process."""

    API = "api"
    GATEWAY = "gateway"
    WORKER = "worker"
    SCHEDULER = "scheduler"


ALL = frozenset(Role)


class App(Discreet, frozen=True):
    """Everything that runs. `api_url` and `gateway_url` are empty when that role does not run here.

    `new_key`: the first API key, when it was made just now. `emulators`: the bundled vendors, when they run
    here; `emulator_url`: where they can be looked at, wherever they run.
    """

    settings: Settings
    roles: frozenset[Role]
    db: Pool
    queue: Queue
    bus: Bus
    services: Services
    api_url: str = ""
    gateway_url: str = ""
    emulators: Emulators | None = None
    emulator_url: str = ""
    new_key: str | None = None


@asynccontextmanager
async def open_app(
    settings: Settings, roles: frozenset[Role] = ALL, more_routes: Sequence[Any] = (), *, shared: bool = False
) -> AsyncIterator[App]:
    """Open everything that the roles need. `shared`: other processes listen on the same ports.

    Raises `SetupError` with what to do when something is not as it must be.
    """
    async with AsyncExitStack() as stack:
        secret = read_secret(settings)
        target = find_database(settings, stack)
        db = await open_database(settings, target, stack)
        reserve = await open_reserve(target, stack)
        reader = await open_reader(settings, target, db, stack) if Role.API in roles else db
        new_key = await first_key(settings, db)
        consume = frozenset(HANDS) if Role.WORKER in roles else None
        # Nothing that a gateway does makes a task.
        queue = await open_queue(settings, consume, stack) if roles - {Role.GATEWAY} else MemoryQueue()
        bus = await open_bus(settings, stack)
        turns = Turns()
        urgency = Urgency(bus, turns)
        stack.push_async_callback(urgency.close)
        backlog = Backlog(settings.max_backlog)
        intake = Intake(db, reserve, queue, settings.rescue_s, backlog, turns, urgency)
        keys = KeyRing(reserve)
        wanted = Role.WORKER in roles or bool(settings.emulators)
        emulators, vendors = await find_emulators(settings, stack) if wanted else (None, None)
        accounts = read_accounts(settings, vendors)
        webpush = accounts.webpush
        vault = read_vault(settings)
        bus.listen(projects.KEYS_CHANGED, keys.forget)
        services = Services(
            settings=settings,
            db=db,
            reader=reader,
            queue=queue,
            bus=bus,
            keys=keys,
            intake=intake,
            limits=Limits(settings, bus),
            subscriptions=guard_of(webpush) if webpush else None,
            vapid_public_key=public_key_of(webpush) if webpush else None,
            token_key=signing.derive(secret, signing.USER_TOKENS),
            receipt_key=signing.derive(secret, signing.RECEIPTS),
            unsubscribe_key=signing.derive(secret, signing.UNSUBSCRIBE),
            vault=vault,
            outside=outside_of(settings, vendors),
            chats=guard_of_chats(accounts.chat) if accounts.chat else Guard(),
            reports=open_reports(stack) if Role.API in roles else None,
            report_secrets=secrets_of(db, vault, accounts.reports),
        )
        api_socket = listen(settings.host, settings.port, "PORT", shared=shared) if Role.API in roles else None
        if api_socket is not None:
            stack.callback(api_socket.close)
        api_url = url_of("http", api_socket) if api_socket else ""
        if Role.WORKER in roles:
            composing = composing_of(services, api_url)
            works = await open_lanes(services, reserve, accounts, vault, composing, turns, stack)
            worker = Worker(works, queue, bus)
            worker.start()
            stack.push_async_callback(worker.stop, GRACE_S)
        if Role.SCHEDULER in roles:
            start_scheduler(settings, db, queue, accounts, stack)
        gateway = await _open_gateway(settings, services, stack, shared) if Role.GATEWAY in roles else None
        if api_socket is not None:
            _run(backlog.watch(db), stack)
            stack.push_async_callback(intake.close)
            await serve_http(create_api(services, more_routes), api_socket, GRACE_S, stack)
            if emulators is not None:
                stack.callback(emulators.stopping)  # before the API stops, to which they report
        calm_collector()
        yield App(
            settings=settings,
            roles=roles,
            db=db,
            queue=queue,
            bus=bus,
            services=services,
            api_url=api_url,
            gateway_url=f"ws://{settings.host}:{gateway.port}" if gateway else "",
            emulators=emulators,
            emulator_url=vendors.plain_url if vendors else "",
            new_key=new_key,
        )


def start_scheduler(settings: Settings, db: Pool, queue: Queue, accounts: Accounts, stack: AsyncExitStack) -> None:
    """Everything that a scheduler does again and again, each until the stack closes."""
    _run(due.run(db, queue, settings.rescue_s), stack)
    _run(due.forget_keys(db), stack)
    _run(retention.run(db, settings.retention_days), stack)
    _run(retention.forget_rows(db, settings.retention_days), stack)
    _run(gauges.run(db, queue), stack)
    _run(statistics.run(db), stack)
    _run(expiry.run(db, accounts.ends), stack)


def calm_collector() -> None:
    """Keep the garbage collector from looking at what was there at the start again and again.

    Some 400,000 objects live as long as the process; measured, looking at them took 15 % of the time of an accept and
    doubled its 99th percentile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def read_secret(settings: Settings) -> bytes:
    """The secret that signs; made once and kept in the data directory when no setting gives it."""
    given = settings.secret.get_secret_value()
    if given:
        return given.encode()
    if not settings.embedded:
        raise SetupError(
            "TIDINGS_SECRET must be set when DB_HOST is: all processes need the same one. "
            "`openssl rand -base64 32` makes one."
        )
    return keep(settings.data_dir / "secret", lambda: secrets.token_urlsafe(48)).encode()


def open_reports(stack: AsyncExitStack) -> ReportReader:
    """Reads what vendors report; asks AWS alone, through this client."""
    client = open_client(timeout_s=ASK_AWS_S)
    stack.push_async_callback(client.close)
    return ReportReader(client)


def read_vault(settings: Settings) -> Vault:
    """What seals the credentials of projects; opens with the secret of before, too, while it is being replaced."""
    old = settings.secret_old.get_secret_value()
    return vault_of(read_secret(settings), *([old.encode()] if old else []))


def find_database(settings: Settings, stack: AsyncExitStack) -> dict[str, Any]:
    """Where the database is: the one that the settings name, or our own, which is started."""
    if settings.embedded:
        server = embedded.start(settings.data_dir)
        stack.push_async_callback(server.stop)
        return {
            "host": str(server.socket_dir),
            "port": embedded.SOCKET_PORT,
            "database": "postgres",
            "user": embedded.SUPERUSER,
            "password": None,
        }
    return {
        "host": settings.db_host,
        "port": settings.db_port,
        "database": settings.db_name,
        "user": settings.db_user,
        "password": settings.db_password.get_secret_value(),
        "sslmode": settings.db_sslmode,
        "ca_file": settings.db_ca_file,
    }


async def open_database(settings: Settings, target: dict[str, Any], stack: AsyncExitStack) -> Pool:
    """A pool on the database, whose schema is up to date then."""
    db = await open_pool(size=settings.db_pool_size, **target)
    stack.push_async_callback(_close_pool, db)
    await migrate.ensure(db, **target)
    await partitions.ensure_if_possible(db, clock.now().date())
    return db


async def open_reserve(target: dict[str, Any], stack: AsyncExitStack) -> Pool:
    """Connections for the critical lane, and for the lookup of API keys."""
    reserve = await open_pool(size=RESERVED_CONNECTIONS, application="tidings critical", by_keys=True, **target)
    stack.push_async_callback(_close_pool, reserve)
    return reserve


async def open_reader(settings: Settings, target: dict[str, Any], db: Pool, stack: AsyncExitStack) -> Pool:
    """Where lists are read: a replica, if the settings name one. While it is away they are unavailable, and only they:
    the primary is not to carry on a sudden what a replica was bought for."""
    if not settings.db_replica_host:
        return db
    replica = {**target, "host": settings.db_replica_host}
    reader = await open_pool(
        size=settings.db_pool_size,
        application="tidings reader",
        setting="DB_REPLICA_HOST",
        may_be_away=True,
        **replica,
    )
    stack.push_async_callback(_close_pool, reader)
    return reader


async def _close_pool(db: Pool) -> None:
    try:
        await asyncio.wait_for(db.close(), GRACE_S)
    except TimeoutError:
        db.terminate()


async def first_key(settings: Settings, db: Pool) -> str | None:
    """See that there is a key to begin with; answers it if it was made just now."""
    given = settings.api_key.get_secret_value()
    if given:
        await projects.ensure_key(db, projects.DEFAULT_PROJECT_ID, given)
        return None
    if not settings.embedded or await projects.list_keys(db):
        return None
    key, _ = await projects.create_key(db, projects.DEFAULT_PROJECT_ID, "first", [projects.Scope.ADMIN])
    return key


async def _open_gateway(settings: Settings, services: Services, stack: AsyncExitStack, shared: bool) -> Gateway:
    arrivals = Arrivals(services.db)
    stack.push_async_callback(arrivals.close)
    origins = tuple(origin.strip() for origin in settings.gateway_origins.split(",") if origin.strip())
    config = GatewayConfig(host=settings.host, port=settings.gateway_port, allowed_origins=origins, reuse_port=shared)
    try:
        gateway = await start_gateway(
            config,
            services.bus,
            token_key=services.token_key,
            acknowledge=arrivals.acknowledge,
            mark_read=arrivals.mark_read,
            on_count=lambda what, label, n: metrics.GATEWAY.labels(what, label).inc(n),
        )
    except OSError as error:
        raise SetupError(
            f"{settings.host}:{settings.gateway_port} can't be used: {error.strerror}. "
            "Set GATEWAY_PORT to another port."
        ) from error
    except ValueError as error:
        raise SetupError(f"TIDINGS_GATEWAY_ORIGINS can't be used: {error}") from error
    _run(_count_sockets(gateway), stack)
    stack.push_async_callback(gateway.close)
    stack.push_async_callback(gateway.drain, GRACE_S)
    return gateway


async def _count_sockets(gateway: Gateway) -> None:
    """Keep the gauge true to a second. A callback would be exact, but metrics of several processes allow none."""
    while True:
        metrics.SOCKETS.set(gateway.connections())
        await asyncio.sleep(1.0)


def _run(work: Any, stack: AsyncExitStack) -> None:
    """Run a loop until the app closes."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell_if_it_died)

    async def stop() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(stop)


def _tell_if_it_died(task: "asyncio.Task[None]") -> None:
    """A loop that ends by itself is a defect; the process must not go on as if nothing were."""
    if not task.cancelled() and task.exception() is not None:
        log.error("loop_died", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)


async def run(
    settings: Settings,
    roles: frozenset[Role],
    ready: Callable[[App], Awaitable[None]],
    stopped: asyncio.Event,
    *,
    shared: bool = False,
) -> None:
    """Serve until `stopped` is set. `ready` is awaited once everything is up.

    Stopping: not ready any more, wait for load balancers to notice, then close in order; what is in flight finishes.
    The operations port answers until the end.
    """
    async with AsyncExitStack() as stack:
        operations = Operations(lambda: dependencies(app))
        stack.push_async_callback(operations.close)  # the last to close: it says that the process lives and drains
        app = await stack.enter_async_context(open_app(settings, roles, shared=shared))
        if not shared:  # otherwise the supervisor answers for all processes
            await operations.start(listen(settings.host, settings.operations_port, "TIDINGS_OPERATIONS_PORT"))
        log.info("ready", api=app.api_url, gateway=app.gateway_url, roles=sorted(roles))
        await ready(app)
        if shared:
            _run(tell_state(lambda: dependencies(app)), stack)
        await stopped.wait()
        operations.draining = True
        log.info("stopping")
        await asyncio.sleep(settings.drain_s)


async def dependencies(app: App) -> dict[str, str]:
    """What this process can't do its work without: ok, or what is wrong.

    An API goes on accepting without a queue, and a gateway serves its own sockets without a bus.
    """
    found = {"database": await database_state(app.db)}
    if app.roles & {Role.WORKER, Role.SCHEDULER}:
        found["queue"] = "ok" if app.queue.healthy else "away"
    return found
