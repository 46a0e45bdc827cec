"""Routes of suppressed addresses."""

from typing import Annotated, Any

from litestar import Response, delete, get, post
from litestar.params import FromPath

from tidings import suppressions
from tidings.api.auth import ADMIN, READ
from tidings.api.bodies import decode, raw_body, takes
from tidings.api.pages import Cursor, Limit, next_link, one_of, read_cursor
from tidings.api.problems import invalid, problems
from tidings.api.services import Call, services
from tidings.errors import FieldError, NotFound
from tidings.suppressions import CHANNELS, NewSuppression, Suppression, Wanted, canonical, place_of

TAGS = ["Suppressions"]
NEWEST = 10**18 - 1  # beyond every place in the list


@get(
    "/api/suppressions",
    opt=READ,
    tags=TAGS,
    summary="List suppressed addresses",
    responses=problems(400),
)
async def list_suppressions(
    request: Call,
    limit: Limit = 100,
    cursor: Cursor = None,
    channel: Annotated[str | None, one_of(CHANNELS, "Only those of this channel")] = None,
) -> Response[list[Suppression]]:
    """Newest first. Those of one instant stay together, so a page may be a little longer than its limit."""
    page = await suppressions.list_suppressions(
        services(request).reader, request.user.project_id, read_cursor(cursor, NEWEST), limit, channel
    )
    last = place_of(page[-1]) if len(page) >= limit else None
    return Response(page, headers=next_link(request, last))


@post(
    "/api/suppressions",
    status_code=201,
    opt=ADMIN,
    tags=TAGS,
    summary="Suppress an address",
    operation_class=takes(NewSuppression),
    responses=problems(body=True),
)
async def add_suppression(request: Call) -> Suppression:
    """Nothing is sent there any more, to whichever user it belongs. Twice is safe; the first reason stays."""
    api, project_id = services(request), request.user.project_id
    new = decode(await raw_body(request, api.settings.max_body_bytes), NewSuppression)
    channel = "email" if "@" in new.address else "sms"
    address = canonical(channel, new.address)
    if address is None:
        raise invalid(FieldError("/address", "invalid_field", f"Not an address of the channel {channel}"))
    await suppressions.add(api.db, [Wanted(project_id, channel, address, "manual", new.detail)])
    return await suppressions.get(api.db, project_id, channel, address)


@delete(
    "/api/suppressions/{channel:str}/{address:str}",
    opt=ADMIN,
    tags=TAGS,
    summary="Let a suppressed address go",
    responses=problems(404),
)
async def remove_suppression(request: Call, channel: FromPath[str], address: FromPath[str]) -> None:
    """It may be written to again, whatever it was suppressed for. Percent-encode the address in the path."""
    found = canonical(channel, address) if channel in CHANNELS else None
    if found is None:
        raise NotFound(code="suppression_not_found")
    await suppressions.remove(services(request).db, request.user.project_id, channel, found)


ROUTES: list[Any] = [list_suppressions, add_suppression, remove_suppression]
