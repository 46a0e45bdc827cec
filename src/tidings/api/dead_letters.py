"""Routes of dead letters: what failed for good, and sending it again."""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from litestar import Response, get, post
from msgspec import Meta, Struct

from tidings import dead_letters
from tidings.api.auth import ADMIN, READ
from tidings.api.bodies import decode, in_utc, raw_body, takes
from tidings.api.pages import MOST_ID, Cursor, Limit, next_link, one_of, read_cursor
from tidings.api.problems import problems
from tidings.api.services import Call, services
from tidings.dead_letters import DeadLetter, Filter, Redriven
from tidings.providers.contract import Reason

TAGS = ["Dead letters"]
Channel = Literal["push", "websocket", "email", "sms"]


@get(
    "/api/dead-letters",
    opt=READ,
    tags=TAGS,
    summary="List deliveries that failed for good",
    responses=problems(400),
)
async def list_dead_letters(
    request: Call,
    limit: Limit = 50,
    cursor: Cursor = None,
    reason: Annotated[str | None, one_of(list(Reason), "Only those that failed for this reason")] = None,
    channel: Annotated[str | None, one_of(get_args(Channel), "Only those of this channel")] = None,
) -> Response[list[DeadLetter]]:
    """Newest first, each with its reason and the number of attempts; the notification has the attempts themselves.

    Deliveries of one notification stay together, so a page may be a little longer than its limit.
    """
    page = await dead_letters.list_dead_letters(
        services(request).reader,
        request.user.project_id,
        read_cursor(cursor, MOST_ID),
        limit,
        Filter(reason=reason, channel=channel),
    )
    last = page[-1].notification_id if len(page) >= limit else None
    return Response(page, headers=next_link(request, last))


class RedriveRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which failed deliveries to send again. A field that is left out means any; at least one must be given."""

    notification_ids: (
        Annotated[list[Annotated[int, Meta(ge=1, le=MOST_ID)]], Meta(min_length=1, max_length=1000)] | None
    ) = None
    channel: Channel | None = None
    device_id: Annotated[int, Meta(ge=1, le=MOST_ID)] | None = None
    reason: Reason | None = None
    since: Annotated[datetime, Meta(tz=True, examples=["2026-01-31T09:00:00Z"])] | None = None
    all: bool = False

    def __post_init__(self) -> None:
        given = (self.notification_ids, self.channel, self.device_id, self.reason, self.since)
        if not self.all and all_none(given):
            raise ValueError("Name which dead letters to redrive, or say all: true")


def all_none(values: tuple[object, ...]) -> bool:
    """Whether nothing is given."""
    return not any(value is not None for value in values)


@post(
    "/api/dead-letters/redrive",
    status_code=202,
    opt=ADMIN,
    tags=TAGS,
    summary="Send failed deliveries again",
    operation_class=takes(RedriveRequest),
    responses=problems(body=True),
)
async def redrive(request: Call) -> Redriven:
    """At most 10,000 at once. What was sent or delivered is never repeated; twice is safe."""
    api = services(request)
    wanted = decode(await raw_body(request, api.settings.max_body_bytes), RedriveRequest)
    chosen = Filter(
        notification_ids=wanted.notification_ids,
        channel=wanted.channel,
        device_id=wanted.device_id,
        reason=None if wanted.reason is None else str(wanted.reason),
        since=in_utc(wanted.since, "/since"),
    )
    return await dead_letters.redrive(api.db, request.user.project_id, chosen, api.settings.retry_attempts)


ROUTES: list[Any] = [list_dead_letters, redrive]
