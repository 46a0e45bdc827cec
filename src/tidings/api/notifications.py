"""Routes of notifications."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from msgspec import Meta, Struct

from tidings import deliveries, idempotency, notifications, users
from tidings.api.auth import READ, SEND
from tidings.api.bodies import BATCH_FACTOR, check_built, check_depth, decode, in_utc, raw_body, split, takes
from tidings.api.idempotency import IdempotencyKey, key_of, once
from tidings.api.limits import refuse_bulk_unless_known
from tidings.api.pages import MOST_ID, Cursor, Limit, last_of, next_link, read_cursor
from tidings.api.problems import invalid, problems
from tidings.api.services import Call, Services, services
from tidings.api.users import known
from tidings.clock import now
from tidings.db import Connection, Pool
from tidings.deliveries import Delivery
from tidings.errors import CODES, BadRequest, FieldError, Invalid, NotFound, Problem
from tidings.notifications import PARTS, Accepted, Entry, NewNotification, NewScheduledNotification, Notification
from tidings.providers.fcm_message import check_data
from tidings.queue import Ticket

TAGS = ["Notifications"]
ITEMS_A_TURN = 16
MOST_BATCH = 1000
PAST_GRACE = timedelta(minutes=1)  # clocks differ; a time so little past is now


def checked(new: NewNotification, prefix: str = "") -> NewNotification:
    """What the types can't say: depth of `data`, and keys that vendors refuse."""
    for part in PARTS:
        given = getattr(new, part)
        if given is not None:
            check_built(given, f"{prefix}/{part}")
    if new.channels is not None or new.fallback is not None:
        check_channels(new, prefix)
    if new.data:
        check_depth(new.data, f"{prefix}/data")
        found = check_data(new.data)
        if found:
            errors = [FieldError(f"{prefix}/data{pointer}", "invalid_field", said) for pointer, said in found]
            raise Invalid(f"{errors[0].pointer}: {errors[0].detail}", code="invalid_field", errors=errors)
    return new


def check_channels(new: NewNotification, prefix: str) -> None:
    """Raises `Invalid` when both ways of naming channels are used, or one channel is named twice."""
    if new.channels is not None and new.fallback is not None:
        raise invalid(FieldError(f"{prefix}/fallback", "invalid_field", "Give either channels or fallback, not both"))
    for field, names in (("channels", new.channels), ("fallback", new.fallback)):
        if isinstance(names, list) and len(set(names)) < len(names):
            raise invalid(FieldError(f"{prefix}/{field}", "invalid_field", "A channel is named twice"))


def due_time(wanted: datetime | None, at: datetime, prefix: str = "") -> datetime | None:
    """When to send, in UTC; None: now. Raises `Invalid` for a time more than a minute ago, or after the year 9999."""
    if wanted is None:
        return None
    if wanted < at - PAST_GRACE:
        raise invalid(FieldError(f"{prefix}/scheduled_time", "time_past", CODES["time_past"]))
    return in_utc(wanted, f"{prefix}/scheduled_time") if wanted > at else None


def entry_of(
    api: Services,
    project_id: int,
    new: NewNotification,
    scheduled_time: datetime | None = None,
    key: str | None = None,
    digest: bytes | None = None,
) -> Entry:
    """A checked notification on its way in."""
    ttl_s = api.settings.default_ttl_s if new.ttl_s is None else new.ttl_s
    return Entry(project_id, new, ttl_s, scheduled_time, key, digest)


def accepted_body(entry: Entry, accepted: Accepted) -> Notification:
    """What was accepted, as the caller gave it. A replay is the same to the letter, also when its time has come."""
    new = entry.new
    if accepted.replayed:
        entry = msgspec.structs.replace(entry, scheduled_time=accepted.scheduled_time)
    return Notification(
        id=accepted.id,
        user_id=new.user_id,
        title=new.title,
        body=new.body,
        data=new.data,
        status="pending" if accepted.scheduled_time is None else "scheduled",
        created_at=accepted.created_at,
        scheduled_time=accepted.scheduled_time,
        lane=entry.lane,
        ttl_s=entry.ttl_s,
        collapse_key=new.collapse_key,
        category=new.category,
        channels=new.channels,
        fallback=new.fallback,
    )


async def accept_one(request: Call, kind: type[NewNotification]) -> Response[Notification]:
    """Both single routes: decode, store with whatever else comes in, answer."""
    api = services(request)
    body = await raw_body(request, api.settings.max_body_bytes)
    new = checked(decode(body, kind))
    refuse_bulk_unless_known(request.scope, new.lane)
    key = key_of(request)
    digest = idempotency.digest(request.method, request.url.path, body) if key else None
    entry = entry_of(api, request.user.project_id, new, None, key, digest)
    accepted = None
    if isinstance(new, NewScheduledNotification):
        try:
            entry = msgspec.structs.replace(entry, scheduled_time=due_time(new.scheduled_time, now()))
        except Invalid:  # unless it was accepted before, when the time had not passed yet
            accepted = await api.intake.earlier(entry) if key else None
            if accepted is None:
                raise
    accepted = accepted or await api.intake.accept(entry)
    headers = {"Idempotent-Replayed": "true"} if accepted.replayed else {}
    return Response(accepted_body(entry, accepted), status_code=202, headers=headers)


PROBLEMS = problems(404, body=True)


@post(
    "/api/notifications",
    status_code=202,
    opt=SEND,
    tags=TAGS,
    summary="Send a notification",
    operation_class=takes(NewNotification),
    responses=PROBLEMS,
)
async def send_notification(request: Call, idempotency_key: IdempotencyKey = None) -> Response[Notification]:
    """To all devices and open sockets of one user, now. 202: it is stored, and will reach a final status."""
    return await accept_one(request, NewNotification)


@post(
    "/api/notifications/schedule",
    status_code=202,
    opt=SEND,
    tags=TAGS,
    summary="Schedule a notification",
    operation_class=takes(NewScheduledNotification),
    responses=PROBLEMS,
)
async def schedule_notification(request: Call, idempotency_key: IdempotencyKey = None) -> Response[Notification]:
    """Like sending, at a time. A time less than a minute past is now."""
    return await accept_one(request, NewScheduledNotification)


class BatchNotification(NewNotification, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of a batch; with a time it is scheduled."""

    scheduled_time: Annotated[datetime, Meta(tz=True)] | None = None


class NewBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 1,000 notifications. Each is judged alone."""

    notifications: Annotated[list[BatchNotification], Meta(min_length=1, max_length=MOST_BATCH)]


class RawBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """A batch whose items are decoded one by one."""

    notifications: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MOST_BATCH)]


class BatchError(Struct, frozen=True):
    """Why one item was refused. `index`: its place in the batch, from 0."""

    index: int
    status: int
    code: str
    detail: str
    errors: list[FieldError] = []


class BatchResult(Struct, frozen=True):
    """`ids[i]` is the notification made from item i, null where `errors` names i."""

    accepted: int
    ids: list[int | None]
    errors: list[BatchError]


@post(
    "/api/notifications/batch",
    status_code=202,
    opt=SEND,
    tags=TAGS,
    summary="Send up to 1,000 notifications",
    operation_class=takes(NewBatch),
    responses=problems(body=True),
)
async def send_batch(request: Call, idempotency_key: IdempotencyKey = None) -> Response[BatchResult]:
    """All good items are stored in one commit; a bad one is named by its index and refuses nothing else.

    While too much work waits, 503 refuses the batch as a whole, unless all of it is critical.
    """
    api = services(request)
    body = await raw_body(request, api.settings.max_body_bytes * BATCH_FACTOR)
    await api.intake.turn()
    entries, refused = await read_batch(api, request.user.project_id, body)
    for lane in {entry.new.lane for entry in entries.values()}:
        refuse_bulk_unless_known(request.scope, lane)
    await api.limits.check_items(request.scope, request.user, len(entries))
    tickets: list[Ticket] = []

    async def do(db: Pool | Connection) -> tuple[int, BatchResult]:
        results: Sequence[Accepted | Problem] = []
        if entries:
            results, made = await api.intake.store(list(entries.values()), db)
            tickets.extend(made)
        return 202, batch_result(list(entries), results, refused)

    async with api.intake.batch(entries.values()) as db:
        response = await once(request, body, do, db)
    await api.intake.publish(tickets)  # committed by now
    return response


def all_at_once(body: bytes) -> Sequence[Any] | None:
    """The items of a batch when all are good, as nearly always; None otherwise."""
    try:
        return decode(body, NewBatch).notifications
    except (Invalid, BadRequest):
        return None


async def read_batch(api: Services, project_id: int, body: bytes) -> tuple[dict[int, Entry], dict[int, Problem]]:
    """Good items as entries and bad ones as problems, by index."""
    at, entries, refused = now(), {}, {}
    items = None if api.intake.in_pieces else all_at_once(body)
    if items is None:
        items = split(body, RawBatch).notifications
    for index, item in enumerate(items):
        prefix = f"/notifications/{index}"
        if index % ITEMS_A_TURN == 0:
            await api.intake.turn()
        try:
            new = decode(item, BatchNotification, prefix) if isinstance(item, msgspec.Raw) else item
            checked(new, prefix)
            entries[index] = entry_of(api, project_id, new, due_time(new.scheduled_time, at, prefix))
        except Problem as problem:
            refused[index] = problem
    return entries, refused


def within(problem: Problem, prefix: str) -> Problem:
    """The same problem, of an item of a batch."""
    found = [msgspec.structs.replace(error, pointer=prefix + error.pointer) for error in problem.errors]
    return type(problem)(problem.detail, code=problem.code, errors=found)


def batch_result(
    indexes: Sequence[int], results: Sequence[Accepted | Problem], refused: dict[int, Problem]
) -> BatchResult:
    """The answer to a batch, item by item."""
    ids: list[int | None] = [None] * (len(indexes) + len(refused))
    for index, result in zip(indexes, results, strict=True):
        if isinstance(result, Problem):
            refused[index] = within(result, f"/notifications/{index}")
        else:
            ids[index] = result.id
    errors = [BatchError(i, p.status, p.code, p.detail, list(p.errors)) for i, p in sorted(refused.items())]
    return BatchResult(len(ids) - len(errors), ids, errors)


class NotificationDetail(Notification, frozen=True, omit_defaults=True, kw_only=True):
    """A notification with what became of it: every delivery, every attempt, every suppression with its reason."""

    deliveries: list[Delivery]


def known_notification(notification_id: int) -> int:
    """An id that may exist."""
    if not 1 <= notification_id <= MOST_ID:
        raise NotFound(code="notification_not_found")
    return notification_id


@get(
    "/api/notifications/{notification_id:int}",
    opt=READ,
    tags=TAGS,
    summary="Get a notification with its deliveries",
    responses=problems(404),
)
async def get_notification(request: Call, notification_id: FromPath[int]) -> NotificationDetail:
    """What became of it, per channel and device."""
    db = services(request).db
    row = await notifications.get_row(db, request.user.project_id, known_notification(notification_id))
    made = await deliveries.of_notification(db, notification_id, row["suppressions"] or ())
    fields = msgspec.structs.asdict(notifications.shown(row))
    return NotificationDetail(**fields, deliveries=made)


@post(
    "/api/notifications/{notification_id:int}/cancel",
    status_code=200,
    opt=SEND,
    tags=TAGS,
    summary="Cancel a scheduled notification",
    responses=problems(404, 409),
)
async def cancel_notification(request: Call, notification_id: FromPath[int]) -> Notification:
    """Twice is safe. 409 when it is on its way already."""
    db = services(request).db
    return await notifications.cancel(db, request.user.project_id, known_notification(notification_id))


@get(
    "/api/notifications/user/{user_id:int}",
    opt=READ,
    tags=TAGS,
    summary="List a user's notifications",
    responses=problems(400, 404),
)
async def list_notifications(
    request: Call, user_id: FromPath[int], limit: Limit = 50, cursor: Cursor = None
) -> Response[list[Notification]]:
    """Newest first. The next page is in the `Link` header."""
    api, project_id = services(request), request.user.project_id
    await users.must_exist(api.db, project_id, known(user_id))
    page = await notifications.of_user(api.reader, project_id, user_id, read_cursor(cursor, MOST_ID), limit)
    return Response(page, headers=next_link(request, last_of(page, limit)))


ROUTES: list[Any] = [
    send_notification,
    schedule_notification,
    send_batch,
    get_notification,
    cancel_notification,
    list_notifications,
]
