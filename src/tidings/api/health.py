"""Whether the service is well: for people, and for whatever restarts it."""

from typing import Any

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from tidings import __version__, metrics
from tidings.api.auth import OPEN
from tidings.api.services import Call, services
from tidings.db import database_state


class Health(Struct, frozen=True):
    """`status`: ok; degraded when something is away without which notifications are still accepted; or unavailable.

    `dependencies`: each by name, ok or what is wrong.
    """

    status: str
    version: str
    environment: str
    mode: str
    dependencies: dict[str, str]


UNWELL = {503: ResponseSpec(Health, generate_examples=False, description="The database is away")}


@get("/api/healthcheck", opt=OPEN, tags=["Health"], summary="Whether the service is well", responses=UNWELL)
async def healthcheck(request: Call) -> Response[Health]:
    """200 if notifications can be accepted, 503 if not. Without queue or bus they are accepted and delivered later;
    without the replica lists can't be read."""
    api = services(request)
    found = {
        "database": await database_state(api.db),
        **({"replica": await database_state(api.reader)} if api.reader is not api.db else {}),
        "queue": "ok" if api.queue.healthy else "away",
        "bus": "ok" if api.bus.healthy else "away",
    }
    status = "ok" if set(found.values()) == {"ok"} else "degraded" if found["database"] == "ok" else "unavailable"
    mode = "embedded" if api.settings.embedded else "distributed"
    health = Health(status, __version__, api.settings.app_env, mode, found)
    return Response(health, status_code=503 if status == "unavailable" else 200)


@get("/livez", opt=OPEN, include_in_schema=False)
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@get("/metrics", opt=OPEN, include_in_schema=False, media_type="text/plain; version=0.0.4; charset=utf-8")
async def show_metrics() -> bytes:
    """For Prometheus; where the original service had it. The operations port has it, too."""
    return metrics.render()


ROUTES: list[Any] = [healthcheck, livez, show_metrics]
