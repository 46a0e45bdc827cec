"""The service on servers of its own, with a marked value in every place where a secret or an address can be."""

import secrets
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.canary.canaries import Canaries
from tests.canary.vendor import Vendor
from tests.conftest import Project
from tests.processes import RabbitServer, RedisServer
from tidings import embedded, projects, settings
from tidings.app import App, Role, open_app
from tidings.users import number_of

CONTENT = frozenset({"title", "body", "data"})  # what a notification says: it has to be kept until it is said
ADDRESSES = frozenset({"device token", "APNs token", "endpoint", "p256dh", "auth"})
FINAL = ("sent", "delivered", "failed", "expired", "suppressed")


class Stage:
    """The service, what it stands on, and what it must not tell."""

    def __init__(
        self, folder: Path, canaries: Canaries, vendor: Vendor, rabbitmq: RabbitServer, redis: RedisServer
    ) -> None:
        self.folder, self.canaries, self.vendor = folder, canaries, vendor
        self.rabbitmq, self.redis = rabbitmq, redis
        self.redis_url = ""
        self.database = embedded.start(folder / "database")
        self.environ: dict[str, str] = {}
        self.report_secrets: dict[str, dict[str, str]] = {}
        self.leaks: list[str] = []
        self.answers = 0

    def found(self, where: str, text: str | bytes, allowed: Set[str] = frozenset()) -> None:
        """Search a text; what is in it and not allowed there is a leak."""
        self.leaks += [f"{where}: {name} in {text[:300]!r}" for name in self.canaries.within(text, allowed)]

    async def heard(self, answer: httpx.Response) -> None:
        """Search what the API answers: refusals repeat nothing, and no header does."""
        await answer.aread()
        if answer.status_code >= 400:
            self.answers += 1
            where = f"{answer.request.method} {answer.request.url.path[:30]} {answer.status_code}"
            self.found(where, answer.content)
            self.found(f"{where} headers", repr(answer.headers.multi_items()))


@asynccontextmanager
async def service(stage: Stage, roles: frozenset[Role]) -> AsyncIterator[tuple[App, Project]]:
    """The service, and a client with the first key."""
    key = stage.environ["TIDINGS_API_KEY"]
    async with (
        open_app(settings.load(stage.environ), roles) as app,
        httpx.AsyncClient(
            base_url=app.api_url,
            headers={"X-API-Key": key},
            timeout=30,
            trust_env=False,
            event_hooks={"response": [stage.heard]},
        ) as client,
    ):
        yield app, Project(projects.DEFAULT_PROJECT_ID, key, client)


def content(stage: Stage) -> dict[str, Any]:
    """What a notification says, all of it marked."""
    new = stage.canaries.new
    return {"title": new("title"), "body": new("body"), "data": {"key": new("data"), new("data"): [1]}}


def phone(stage: Stage) -> str:
    """A telephone number of 15 digits, the most there are, of a country that has such, as the vendor is told it."""
    number = ""
    while number_of(f"+{number}") != f"+{number}":
        number = str(10**14 + secrets.randbelow(9 * 10**14))
    stage.canaries.add("phone", number)
    return f"+{number}"


def subscription(stage: Stage, name: str) -> str:
    """A browser's subscription, all three parts of it marked."""
    made = stage.vendor.emulators.webpush.subscribe(f"{name}-{stage.canaries.new('endpoint', '{}')}")
    for part in ("p256dh", "auth"):
        stage.canaries.add(part, made["keys"][part][2:22])
    return msgspec.json.encode(made).decode()
