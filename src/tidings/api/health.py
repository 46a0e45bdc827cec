"""Whether the service is well: for people, and for whatever restarts it."""

from typing import Any

import asyncpg
from litestar import Response, get
from msgspec import Struct

from tidings import __version__, metrics
from tidings.api.auth import OPEN
from tidings.api.services import Call, services

TIMEOUT_S = 3.0


class Health(Struct, frozen=True):
    """`status` is ok or unavailable. `dependencies`: each by name."""

    status: str
    version: str
    environment: str
    mode: str
    dependencies: dict[str, str]


@get("/api/healthcheck", opt=OPEN, tags=["Health"], summary="Whether the service is well", responses={})
async def healthcheck(request: Call) -> Response[Health]:
    """200 if the service can accept notifications, 503 if not."""
    api = services(request)
    try:
        await api.db.fetchval("SELECT 1", timeout=TIMEOUT_S)
        database = "ok"
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        database = "unavailable"
    mode = "embedded" if api.settings.embedded else "distributed"
    health = Health(database, __version__, api.settings.app_env, mode, {"database": database})
    return Response(health, status_code=200 if database == "ok" else 503)


@get("/livez", opt=OPEN, include_in_schema=False)
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@get("/metrics", opt=OPEN, include_in_schema=False, media_type="text/plain; version=0.0.4; charset=utf-8")
async def show_metrics() -> bytes:
    """For Prometheus; where the original service had it. The operations port has it, too."""
    return metrics.render()


ROUTES: list[Any] = [healthcheck, livez, show_metrics]
