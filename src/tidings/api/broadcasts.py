"""Routes of broadcasts."""

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from tidings import broadcasts
from tidings.api.auth import ADMIN, READ
from tidings.api.bodies import check_depth, decode, raw_body, takes
from tidings.api.idempotency import IdempotencyKey, once
from tidings.api.pages import MOST_ID
from tidings.api.problems import problems
from tidings.api.services import Call, services
from tidings.broadcasts import Broadcast, NewBroadcast
from tidings.db import Connection, Pool
from tidings.errors import NotFound
from tidings.queue import Ticket

TAGS = ["Broadcasts"]


@post(
    "/api/broadcasts",
    status_code=202,
    opt=ADMIN,
    tags=TAGS,
    summary="Announce something to everyone who is connected",
    operation_class=takes(NewBroadcast),
    responses=problems(body=True),
)
async def send_broadcast(request: Call, idempotency_key: IdempotencyKey = None) -> Response[Broadcast]:
    """To all open WebSockets of the project. Clients that reconnect soon recover it; nobody else gets it later."""
    api = services(request)
    body = await raw_body(request, api.settings.max_body_bytes)
    new = decode(body, NewBroadcast)
    check_depth(new.data, "/data")
    tickets: list[Ticket] = []

    async def do(db: Pool | Connection) -> tuple[int, Broadcast]:
        broadcast, ticket = await api.intake.broadcast(request.user.project_id, new, db)
        tickets.append(ticket)
        return 202, broadcast

    response = await once(request, body, do)
    await api.intake.publish(tickets)  # committed by now
    return response


@get(
    "/api/broadcasts/{broadcast_id:int}",
    opt=READ,
    tags=TAGS,
    summary="Get a broadcast",
    responses=problems(404),
)
async def get_broadcast(request: Call, broadcast_id: FromPath[int]) -> Broadcast:
    """With the number of sockets that took it."""
    if not 1 <= broadcast_id <= MOST_ID:
        raise NotFound(code="broadcast_not_found")
    return await broadcasts.get(services(request).db, request.user.project_id, broadcast_id)


ROUTES: list[Any] = [send_broadcast, get_broadcast]
