"""What tests share: one running service with a real PostgreSQL and the emulators, and a project of their own each."""

import asyncio
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from msgspec import Struct

from tests.servers import (
    chosen_postgresql,
    private_or_named_rabbitmq,
    private_or_named_redis,
    rabbitmq_address,
    rabbitmq_server,
    redis_address,
    redis_server,
    servers,
)
from tidings import projects, settings
from tidings.app import App, open_app
from tidings.projects import Scope

# Fixtures of all folders: one broker and one Redis for the session, started when first asked for.
__all__ = [
    "chosen_postgresql",
    "private_or_named_rabbitmq",
    "private_or_named_redis",
    "rabbitmq_address",
    "rabbitmq_server",
    "redis_address",
    "redis_server",
    "servers",
]

T = TypeVar("T")

_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No setting of the machine reaches a test."""
    kept = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("TIDINGS_", "DB_")) or name in (
            "PORT",
            "GATEWAY_PORT",
            "NODE_ENV",
            "APP_ENV",
            "LOG_LEVEL",
        ):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(kept)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that the account of the private PostgreSQL may enter, also when the tests run as root. It is removed."""
    path = Path(tempfile.mkdtemp(prefix="tidings-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An `open_folder` of the test's own."""
    with open_folder() as path:
        yield path


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """The data directory of the service that most tests share."""
    with open_folder() as path:
        yield path


def environ(data_dir: Path, **more: str) -> dict[str, str]:
    """Settings for a service of its own: free ports, quick retries, no demo."""
    return {
        "PORT": "0",
        "GATEWAY_PORT": "0",
        "TIDINGS_EMULATOR_PORT": "0",
        "TIDINGS_OPERATIONS_PORT": "0",
        "TIDINGS_DATA_DIR": str(data_dir),
        "TIDINGS_DEMO": "false",
        "TIDINGS_RETRY_BASE_S": "0.05",
        "TIDINGS_RESCUE_S": "1",
        "APP_ENV": "test",
        "LOG_LEVEL": "error",
        **more,
    }


@pytest.fixture(scope="session")
async def app(data_dir: Path) -> AsyncIterator[App]:
    """The whole service in this process: API, gateway, worker, scheduler, PostgreSQL, emulators."""
    async with open_app(settings.load(environ(data_dir))) as opened:
        yield opened


class Project(Struct, frozen=True):
    """A project with a key of all scopes, and a client that presents it."""

    id: int
    key: str
    client: httpx.AsyncClient

    async def user(self, **fields: Any) -> int:
        """Create a user; its id."""
        answer = await self.client.post("/api/users", json=fields)
        assert answer.status_code == 201, answer.text
        user_id: int = answer.json()["id"]
        return user_id

    async def device(self, user_id: int, token: str, device_type: str = "android") -> int:
        """Register a device; its id."""
        body = {"device_token": token, "device_type": device_type}
        answer = await self.client.post(f"/api/users/{user_id}/devices", json=body)
        assert answer.status_code == 201, answer.text
        device_id: int = answer.json()["id"]
        return device_id

    async def send(self, user_id: int, **fields: Any) -> int:
        """Send a notification; its id."""
        body = {"user_id": user_id, "title": "Hello", "body": "World", **fields}
        answer = await self.client.post("/api/notifications", json=body)
        assert answer.status_code == 202, answer.text
        notification_id: int = answer.json()["id"]
        return notification_id

    async def get(self, notification_id: int) -> dict[str, Any]:
        """A notification with its deliveries."""
        answer = await self.client.get(f"/api/notifications/{notification_id}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def until(self, notification_id: int, *statuses: str) -> dict[str, Any]:
        """Wait until the notification has one of the statuses."""

        async def check() -> dict[str, Any] | None:
            shown = await self.get(notification_id)
            return shown if shown["status"] in statuses else None

        return await eventually(check)


async def eventually(check: Callable[[], Awaitable[T | None]], deadline_s: float = 20.0) -> T:
    """Ask until the answer is something; fail when it never is."""
    deadline = time.monotonic() + deadline_s
    while True:
        found = await check()
        if found is not None:
            return found
        assert time.monotonic() < deadline, f"it never came to pass: {check!r}"
        await asyncio.sleep(0.02)


async def make_project(app: App, *scopes: Scope) -> tuple[int, str]:
    """A new project and a key of it."""
    project_id = await projects.project_id_of(app.db, f"project-{next(_numbers)}", create=True)
    key, _ = await projects.create_key(app.db, project_id, "test", list(scopes) or [Scope.ADMIN])
    return project_id, key


def client_of(app: App, key: str | None = None) -> httpx.AsyncClient:
    """A client of the API over a real socket."""
    headers = {} if key is None else {"X-API-Key": key}
    return httpx.AsyncClient(base_url=app.api_url, headers=headers, timeout=20, trust_env=False)


@pytest.fixture
async def project(app: App) -> AsyncIterator[Project]:
    """A project of the test's own."""
    project_id, key = await make_project(app)
    async with client_of(app, key) as client:
        yield Project(project_id, key, client)


@pytest.fixture
async def other(app: App) -> AsyncIterator[Project]:
    """Another project, to which the first must be invisible."""
    project_id, key = await make_project(app)
    async with client_of(app, key) as client:
        yield Project(project_id, key, client)
