"""The command line: `tidings serve`, and what operators need beside it."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
import uvloop

from tidings import __version__, clock, logs, settings
from tidings.errors import SetupError, TidingsError

if TYPE_CHECKING:
    from tidings.app import Role
    from tidings.db import Pool

T = TypeVar("T")

cli = typer.Typer(
    help="Tidings: a self-hosted push notification service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
cli.add_typer(keys, name="keys")


Processes = Annotated[int, typer.Option(min=1, max=64, help="How many processes share the work")]


@cli.command()
def serve(
    roles: Annotated[str, typer.Option(help="api, gateway, worker, scheduler; separated by commas")] = "",
) -> None:
    """Run the service: everything in one process."""
    from tidings.app import ALL, Role  # noqa: PLC0415 - other commands start faster without

    try:
        wanted = frozenset(Role(role.strip()) for role in roles.split(",")) if roles else ALL
    except ValueError as error:
        raise SetupError(f"--roles: {error}; there are {', '.join(Role)}.") from None
    _run(wanted, 1)


@cli.command()
def api(processes: Processes = 1) -> None:
    """Run the REST API alone."""
    _run_role("api", processes)


@cli.command()
def gateway(processes: Processes = 1) -> None:
    """Run the WebSocket gateway alone."""
    _run_role("gateway", processes)


@cli.command()
def worker(processes: Processes = 1) -> None:
    """Run delivery workers alone."""
    _run_role("worker", processes)


@cli.command()
def scheduler(processes: Processes = 1) -> None:
    """Run the scheduler alone. More than one is safe, and means that one may die."""
    _run_role("scheduler", processes)


def _run_role(name: str, processes: int) -> None:
    from tidings.app import Role  # noqa: PLC0415

    chosen = settings.load()
    missing = [
        variable
        for variable, value in (
            ("DB_HOST", chosen.db_host),
            ("RABBITMQ_HOST", chosen.rabbitmq_host),
            ("REDIS_HOST", chosen.redis_host),
        )
        if not value
    ]
    if missing:
        raise SetupError(
            f"`tidings {name}` is one part of several, which meet in PostgreSQL, RabbitMQ and Redis: "
            f"set {', '.join(missing)}. `tidings serve` runs everything in one process."
        )
    _run(frozenset({Role(name)}), processes)


def _run(roles: "frozenset[Role]", processes: int) -> None:
    chosen = settings.load()
    logs.configure(chosen.log_level)
    from tidings.supervise import PROCESS, supervise  # noqa: PLC0415

    if processes == 1 or PROCESS in os.environ:
        uvloop.run(_serve(chosen, roles, shared=PROCESS in os.environ))
        return
    raise SystemExit(uvloop.run(_until_stopped(lambda stopped: supervise(chosen, sys.argv[1:], processes, stopped))))


async def _serve(chosen: settings.Settings, roles: "frozenset[Role]", *, shared: bool) -> None:
    from tidings.app import run  # noqa: PLC0415
    from tidings.welcome import welcome  # noqa: PLC0415

    await _until_stopped(lambda stopped: run(chosen, roles, welcome, stopped, shared=shared))


async def _until_stopped(do: "Callable[[asyncio.Event], Awaitable[T]]") -> T:
    """Run `do` with an event that Ctrl-C and SIGTERM set."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    return await do(stopped)


@cli.command()
def config() -> None:
    """Print every setting that is in force, secrets masked."""
    for name, value, description in settings.describe(settings.load()):
        typer.echo(f"{name}={value}\n    {description}")


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@cli.command()
def migrate() -> None:
    """Bring the database schema up to date. Twice is safe, and so is a running service."""
    from tidings.migrate import head, version_of  # noqa: PLC0415

    version = asyncio.run(_with_database(version_of))
    if version == head():
        typer.echo("The schema is up to date.")
    else:
        typer.echo(f"The schema is that of a newer release (step {version}; this one ends at {head()}): left as it is.")


@cli.command()
def ledger() -> None:
    """Count what was accepted and what became of it; exit status 1 if anything is lost."""
    from tidings import ledger as ledgers  # noqa: PLC0415

    found = asyncio.run(_with_database(ledgers.read))
    for status, count in found.statuses.items():
        typer.echo(f"{status:12} {count:>12,}")
    typer.echo(f"{'accepted':12} {found.accepted:>12,} = {found.final:,} final + {found.in_progress:,} in progress")
    for task in found.tasks:
        typer.echo(f"tasks: {task.kind} in lane {task.lane}: {task.tasks:,}, of these overdue {task.overdue:,}")
    if found.lost:
        typer.echo(f"LOST: {found.lost} are in progress, and no task will move them on.", err=True)
        raise typer.Exit(1)


@cli.command()
def redrive(
    project: Annotated[str, typer.Option(help="The project")] = "default",
    notification: Annotated[list[int] | None, typer.Option(help="Only of this notification; may be repeated")] = None,
    reason: Annotated[str, typer.Option(help="Only those that failed for this reason")] = "",
    channel: Annotated[str, typer.Option(help="Only those of this channel")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All dead letters of the project")] = False,
) -> None:
    """Send dead letters again: deliveries that failed for good. What was sent is never repeated."""
    from tidings import dead_letters, projects  # noqa: PLC0415

    if not (notification or reason or channel or everything):
        raise SetupError("Name what to redrive with --notification, --reason or --channel, or say --all.")
    wanted = dead_letters.Filter(notification_ids=notification or None, channel=channel or None, reason=reason or None)

    async def again(db: "Pool") -> dead_letters.Redriven:
        project_id = await projects.project_id_of(db, project)
        return await dead_letters.redrive(db, project_id, wanted, settings.load().retry_attempts)

    done = asyncio.run(_with_database(again))
    typer.echo(f"{done.deliveries:,} deliveries of {done.notifications:,} notifications will be attempted again.")


@cli.command()
def reseal() -> None:
    """Seal the stored credentials of projects with TIDINGS_SECRET; then TIDINGS_SECRET_OLD can go. Twice is safe."""
    from tidings import accounts  # noqa: PLC0415
    from tidings.app import read_vault  # noqa: PLC0415

    vault = read_vault(settings.load())
    done, broken = asyncio.run(_with_database(lambda db: accounts.reseal(db, vault)))
    typer.echo(f"{done:,} accounts are sealed anew.")
    if broken:
        typer.echo(f"{broken:,} accounts open with neither secret: store their credentials again.", err=True)
        raise typer.Exit(1)


@cli.command()
def bench(
    figure: Annotated[str, typer.Argument(help="One figure: the same as --only; `providers` is measured only so")] = "",
    only: Annotated[str, typer.Option(help="accept, bulk, deliver, sockets, latency, lanes; separated by commas")] = "",
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file, too", dir_okay=False)] = None,
    seconds: Annotated[float, typer.Option(help="Length of one timed part")] = 3.0,
    scale: Annotated[float, typer.Option(help="Multiplies all counts; 0.1 is quick and rough")] = 1.0,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed",
            help="accept, deliver, lanes, memory: in parts, over the RabbitMQ and Redis of the settings",
        ),
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where databases are made for the run: its disk is measured. Default: /var/tmp", file_okay=False
        ),
    ] = None,
) -> None:
    """Measure the service on this machine, each figure beside its ceiling. Takes about six minutes."""
    from tidings.bench import running  # noqa: PLC0415

    names = ",".join(filter(None, (figure, only)))
    raise typer.Exit(running.run(names, json, seconds, scale, distributed=distributed, folder=folder))


@keys.command("create")
def create_key(
    scopes: Annotated[str, typer.Option(help="send, read, admin; separated by commas")] = "send,read",
    project: Annotated[str, typer.Option(help="The project, made if it is new")] = "default",
    name: Annotated[str, typer.Option(help="What the key is for")] = "",
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="It ends by itself after so many days")
    ] = None,
) -> None:
    """Make an API key and print it. It can't be shown again."""
    from tidings import projects  # noqa: PLC0415

    try:
        wanted = [projects.Scope(scope.strip()) for scope in scopes.split(",")]
    except ValueError as error:
        raise SetupError(f"--scopes: {error}; there are {', '.join(projects.Scope)}.") from None
    if not 0 < len(project) <= 255 or len(name) > 255:
        raise SetupError("--project and --name may have up to 255 characters, and a project needs a name.")
    expires_at = clock.now() + timedelta(days=expires_in_days) if expires_in_days else None

    async def create(db: "Pool") -> str:
        project_id = await projects.project_id_of(db, project, create=True)
        key, _ = await projects.create_key(db, project_id, name or "unnamed", wanted, expires_at)
        return key

    typer.echo(asyncio.run(_with_database(create)))


@keys.command("list")
def list_keys() -> None:
    """List all keys: id, project, beginning, scopes, state, name."""
    from tidings import projects  # noqa: PLC0415

    for project, key in asyncio.run(_with_database(projects.list_keys)):
        state = "revoked" if key.revoked_at else "active"
        if key.expires_at and not key.revoked_at:
            ended = key.expires_at <= clock.now()
            state = f"{'expired' if ended else 'active, until'} {key.expires_at:%Y-%m-%d %H:%M}Z"
        typer.echo(f"{key.id:>5}  {project:20} {key.hint}…  {','.join(key.scopes):16} {state:10} {key.name}")


@keys.command("revoke")
def revoke_key(key_id: Annotated[int, typer.Argument(min=1, max=2**63 - 1)]) -> None:
    """Refuse a key from now on, everywhere within two seconds. Twice is safe."""
    from tidings import projects  # noqa: PLC0415

    if not asyncio.run(_with_database(lambda db: projects.revoke_key(db, key_id))):
        raise SetupError(f"There is no key {key_id}. `tidings keys list` shows the ones there are.")
    typer.echo(f"Key {key_id} is revoked.")
    asyncio.run(_announce_revoked(key_id))


async def _announce_revoked(key_id: int) -> None:
    """Tell the processes of a distributed service at once. Who can't be told finds out alone, within two seconds."""
    from tidings import projects  # noqa: PLC0415
    from tidings.bus import BusUnavailable  # noqa: PLC0415
    from tidings.engine import open_bus  # noqa: PLC0415

    chosen = settings.load()
    if not chosen.redis_host:
        return
    try:
        async with AsyncExitStack() as stack:
            bus = await open_bus(chosen, stack)
            await bus.announce(projects.KEYS_CHANGED, str(key_id))
    except (BusUnavailable, SetupError) as error:
        typer.echo(f"Redis can't announce it ({error}); it is refused everywhere within two seconds.", err=True)


async def _with_database(do: "Callable[[Pool], Awaitable[T]]") -> T:
    """Run `do(pool)` on the database of the settings; joins the one of a running service."""
    from tidings.app import find_database, open_database  # noqa: PLC0415

    chosen = settings.load()
    logs.configure(chosen.log_level)  # to stderr: what a command prints may be read by a program
    async with AsyncExitStack() as stack:
        return await do(await open_database(chosen, find_database(chosen, stack), stack))


def main() -> None:
    """The entry point; errors that the operator can mend are one sentence, without a traceback."""
    try:
        cli()
    except TidingsError as error:
        typer.echo(f"tidings: {error}", err=True)
        sys.exit(2)
