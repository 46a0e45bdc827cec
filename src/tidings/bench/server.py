"""`python -m tidings.bench.server <settings as JSON>`: the service, as the composition root opens it.

Beside its own routes it has one that does no work behind the same middleware and the same guard: the ceiling of
`accept`. It ends when standard input closes.
"""

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop
from litestar import Response, post
from pydantic import SecretStr

from tidings import app, logs, tasks
from tidings.api.auth import SEND
from tidings.api.services import Call
from tidings.app import App, Role
from tidings.bench import bodies
from tidings.bench.broker import FIELDS, servers_of_the_environment
from tidings.bench.child import allow_many_files, obey
from tidings.bench.commands import Database, DeliverAll, Delivered, Serve, Serving
from tidings.notifications import Notification
from tidings.relay import relay
from tidings.settings import Settings

NO_WORK_PATH = "/bench/no-work"
RESCUE_S = 3600.0  # only `DeliverAll` hands out what waits: nothing happens between the legs
MOST_TASKS = 1_000_000  # nothing is refused because much waits
LOOK_EVERY_S = 0.02  # more often would be felt in what is measured

_NOTHING_DONE = Notification(
    id=1_000_000,
    user_id=1_000,
    title=bodies.TITLE,
    body=bodies.BODY,
    data={"order": 1_000},
    status="pending",
    created_at=datetime(2026, 1, 31, 9, 0, 0, 123_456, UTC),
    lane="normal",
    ttl_s=bodies.TTL_S,
)


@post(NO_WORK_PATH, status_code=202, opt=SEND, include_in_schema=False)
async def no_work(request: Call) -> Response[Notification]:
    """The same answer as to a notification, with nothing done for it."""
    return Response(_NOTHING_DONE, status_code=202)


def settings_of(wanted: Serve) -> Settings:
    """Everything by default, except ports, folder and keys. The environment has no say in a measurement, but for where
    RabbitMQ and Redis are when it is distributed."""
    servers = servers_of_the_environment() if wanted.distributed else Settings()
    return Settings(
        data_dir=Path(wanted.data_dir),
        port=0,
        gateway_port=0,
        emulator_port=0,
        operations_port=0,
        secret=SecretStr(wanted.secret),
        api_key=SecretStr(wanted.api_key),
        public_url=wanted.public_url,
        emulators=wanted.emulators,
        rescue_s=RESCUE_S,
        max_backlog=MOST_TASKS,
        log_level="warning",
        demo=False,
        **{field: getattr(servers, field) for field in FIELDS},
    )


async def serve(wanted: Serve) -> None:
    """Open the service and obey until standard input closes."""
    settings = settings_of(wanted)
    logs.configure(settings.log_level)
    allow_many_files()
    roles = frozenset(Role(role) for role in wanted.roles)
    async with app.open_app(settings, roles, [no_work]) as opened:
        hello = Serving(_port(opened.api_url), _port(opened.gateway_url), await _database(opened))

        async def carry_out(command: DeliverAll) -> Delivered:
            return await deliver_all(opened, command)

        await obey(hello, DeliverAll, carry_out)


async def _database(opened: App) -> Database:
    async with opened.db.acquire() as connection:
        row: Any = await connection.fetchrow("SELECT current_database() AS name, current_user AS person")
        host, port = await connection.fetchval(
            "SELECT ARRAY[current_setting('unix_socket_directories'), current_setting('port')]"
        )
    return Database(host, int(port), row["name"], row["person"])


def _port(url: str) -> int:
    return urlsplit(url).port or 0


async def deliver_all(opened: App, command: DeliverAll) -> Delivered:
    """Do what the scheduler does when the time of all waiting tasks has come, and wait for the workers."""
    await opened.db.execute("UPDATE tasks SET publish_at = now()")
    began = time.monotonic()
    async with asyncio.timeout(command.timeout_s):
        tickets = await tasks.publish_due(opened.db, MOST_TASKS, RESCUE_S)
        await relay(opened.queue, tickets)
        while True:
            if not await opened.db.fetchval("SELECT EXISTS (SELECT FROM tasks)"):
                break
            await asyncio.sleep(LOOK_EVERY_S)
    return Delivered(time.monotonic() - began)


if __name__ == "__main__":
    uvloop.run(serve(msgspec.json.decode(sys.argv[1], type=Serve)))
