"""Routes of broadcasts."""

from typing import Any

from litestar import get, post
from litestar.params import FromPath

from tidings import broadcasts
from tidings.api.auth import ADMIN, READ
from tidings.api.bodies import check_depth, decode, raw_body, takes
from tidings.api.pages import MOST_ID
from tidings.api.problems import problems
from tidings.api.services import Call, services
from tidings.broadcasts import Broadcast, NewBroadcast
from tidings.errors import NotFound

TAGS = ["Broadcasts"]


@post(
    "/api/broadcasts",
    status_code=202,
    opt=ADMIN,
    tags=TAGS,
    summary="Announce something to everyone who is connected",
    operation_class=takes(NewBroadcast),
    responses=problems(400, 401, 403, 413, 415, 422, 503),
)
async def send_broadcast(request: Call) -> Broadcast:
    """To all open WebSockets of the project. Clients that reconnect soon recover it; nobody else gets it later."""
    api = services(request)
    new = decode(await raw_body(request, api.settings.max_body_bytes), NewBroadcast)
    check_depth(new.data, "/data")
    return await api.intake.broadcast(request.user.project_id, new)


@get(
    "/api/broadcasts/{broadcast_id:int}",
    opt=READ,
    tags=TAGS,
    summary="Get a broadcast",
    responses=problems(401, 403, 404, 503),
)
async def get_broadcast(request: Call, broadcast_id: FromPath[int]) -> Broadcast:
    """With the number of sockets that took it."""
    if not 1 <= broadcast_id <= MOST_ID:
        raise NotFound(code="broadcast_not_found")
    return await broadcasts.get(services(request).db, request.user.project_id, broadcast_id)


ROUTES: list[Any] = [send_broadcast, get_broadcast]
