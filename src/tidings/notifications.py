"""Notifications: one thing to say to one user. What the API accepts and the user sees."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tidings import routing
from tidings.db import Connection, Pool, load
from tidings.discreet import Discreet
from tidings.errors import CODES, Conflict, FieldError, Invalid, NotFound, Problem
from tidings.providers.apns_overrides import ApnsOverrides
from tidings.providers.apprise import ChatOverrides
from tidings.providers.fcm_message import FcmOverrides
from tidings.providers.sms_overrides import SmsOverrides
from tidings.providers.smtp_overrides import EmailOverrides
from tidings.providers.webpush_overrides import WebPushOverrides
from tidings.queue import Lane, Ticket
from tidings.routing import Channel
from tidings.tasks import BULK_GROUP_SIZE, GROUP_SIZE
from tidings.users import UserId

SQL = load("notifications")

STATUSES = ["scheduled", "pending", "sending", "sent", "delivered", "failed", "expired", "cancelled", "suppressed"]
Status = Annotated[str, Meta(description="`sent`: the vendor took it", extra_json_schema={"enum": STATUSES})]


Channels = Annotated[
    list[Channel],
    Meta(min_length=1, max_length=len(routing.CHANNELS), extra_json_schema={"uniqueItems": True}),
]


class NewNotification(Discreet, frozen=True, forbid_unknown_fields=True):
    """A notification to be sent now."""

    user_id: UserId
    title: Annotated[str, Meta(max_length=255, examples=["New Message"])]
    body: Annotated[str, Meta(max_length=16_384, examples=["You have received a new message"])] = ""
    data: Annotated[dict[str, Any], Meta(description="Your own values for the app", examples=[{"message_id": 123}])] = (
        msgspec.field(default_factory=dict)
    )
    lane: Annotated[
        Literal["critical", "normal", "bulk"],
        Meta(description="How urgent it is against others: critical never waits behind bulk"),
    ] = "normal"
    ttl_s: (
        Annotated[
            int,
            Meta(ge=0, le=2_419_200, description="Seconds for which it is worth delivering", examples=[3600]),
        ]
        | None
    ) = None
    collapse_key: (
        Annotated[
            str,
            Meta(min_length=1, max_length=64, description="A later one with this key replaces it on the device"),
        ]
        | None
    ) = None
    category: (
        Annotated[
            str,
            Meta(
                max_length=64,
                pattern=r"^[A-Za-z0-9_.\-]+$(?!\n)",
                description="What it is about; users allow and forbid categories",
                examples=["messages"],
            ),
        ]
        | None
    ) = None
    channels: Annotated[
        Channels | Literal["all"] | None,
        Meta(description="The channels to take, or `all`. Left out: push and websocket"),
    ] = None
    fallback: Annotated[
        Channels | None,
        Meta(description="Instead of `channels`: one after the other, until one can deliver", examples=[None]),
    ] = None
    fcm: Annotated[FcmOverrides | None, Meta(description="Parts of the FCM message of your own")] = None
    apns: Annotated[ApnsOverrides | None, Meta(description="Parts of the APNs message of your own")] = None
    webpush: Annotated[WebPushOverrides | None, Meta(description="Parts of the Web Push message of your own")] = None
    email: Annotated[EmailOverrides | None, Meta(description="Parts of the email of your own")] = None
    sms: Annotated[SmsOverrides | None, Meta(description="Parts of the text message of your own")] = None
    chat: Annotated[ChatOverrides | None, Meta(description="Parts of the chat message of your own")] = None


PARTS = ("fcm", "apns", "webpush", "email", "sms", "chat")  # the fields that are one vendor's or channel's own


class NewScheduledNotification(NewNotification, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A notification to be sent at a time."""

    scheduled_time: Annotated[
        datetime, Meta(tz=True, description="When; with an offset", examples=["2030-04-29T09:00:00Z"])
    ]


class Notification(Discreet, frozen=True, omit_defaults=True):
    """A notification as the API shows it. Times that have not come are left out."""

    id: int
    user_id: int
    title: str
    body: str
    data: dict[str, Any]
    status: Status
    created_at: datetime
    lane: Annotated[str, Meta(extra_json_schema={"enum": list(Lane)})]
    ttl_s: int
    scheduled_time: datetime | None = None
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    read_at: datetime | None = None
    collapse_key: str | None = None
    category: str | None = None
    channels: list[Channel] | Literal["all"] | None = None
    fallback: list[Channel] | None = None


class Entry(Discreet, frozen=True):
    """A notification on its way into the database. `digest`: of the request, when it has an idempotency key."""

    project_id: int
    new: NewNotification
    ttl_s: int
    scheduled_time: datetime | None = None
    idempotency_key: str | None = None
    digest: bytes | None = None

    @property
    def lane(self) -> str:
        """Scheduled ones have a lane of their own, unless the caller chose one."""
        return "scheduled" if self.scheduled_time is not None and self.new.lane == "normal" else self.new.lane


class Accepted(Struct, frozen=True):
    """It is stored. `replayed`: by an earlier request with the same idempotency key."""

    id: int
    created_at: datetime
    scheduled_time: datetime | None = None
    replayed: bool = False


async def accept(
    db: Pool | Connection, entries: Sequence[Entry], rescue_s: float
) -> tuple[list[Accepted | Problem], list[Ticket]]:
    """Store notifications and their tasks in one commit; answers a result per entry, and the tickets to publish.

    A user that the project does not have is a `NotFound` for that entry alone.
    """
    row = await db.fetchrow(SQL["accept"], *_columns(entries), GROUP_SIZE, rescue_s, BULK_GROUP_SIZE)
    assert row is not None
    created_at: datetime = row["created_at"]
    results: list[Accepted | Problem | None] = [None] * len(entries)
    for ordinal, notification_id in zip(row["ordinals"] or (), row["ids"] or (), strict=True):
        entry = entries[ordinal - 1]
        results[ordinal - 1] = Accepted(notification_id, created_at, entry.scheduled_time)
    left_out = [index for index, result in enumerate(results) if result is None]
    if left_out:
        earlier = await _earlier(db, [entries[index] for index in left_out])
        for index, result in zip(left_out, earlier, strict=True):
            results[index] = result
    tickets = [
        Ticket(task_id, Lane(lane), size)
        for task_id, lane, size in zip(
            row["task_ids"] or (), row["task_lanes"] or (), row["task_sizes"] or (), strict=True
        )
    ]
    return [result for result in results if result is not None], tickets


def _columns(entries: Sequence[Entry]) -> list[list[Any]]:
    """The entries turned by 90 degrees, as `unnest` takes them."""
    news = [entry.new for entry in entries]
    encode = msgspec.json.encode
    return [
        [entry.project_id for entry in entries],
        [new.user_id for new in news],
        [new.title for new in news],
        [new.body for new in news],
        [encode(new.data).decode() if new.data else "{}" for new in news],
        [entry.lane for entry in entries],
        [entry.ttl_s for entry in entries],
        [new.collapse_key for new in news],
        [_overrides(new) for new in news],
        [entry.scheduled_time for entry in entries],
        [entry.idempotency_key for entry in entries],
        [entry.digest for entry in entries],
        [new.category for new in news],
        [routing.write(new.channels, new.fallback) for new in news],
    ]


def _overrides(new: NewNotification) -> str | None:
    """The parts of its own for each vendor, as they are stored; None: there are none."""
    parts = {part: given for part in PARTS if (given := getattr(new, part)) is not None}
    return msgspec.json.encode(parts).decode() if parts else None


async def _earlier(db: Pool | Connection, entries: Sequence[Entry]) -> list[Accepted | Problem]:
    """Why these were not stored: an earlier request has their key, or there is no such user."""
    keyed = [entry for entry in entries if entry.idempotency_key is not None]
    known = {}
    if keyed:
        rows = await db.fetch(
            SQL["by_idempotency_keys"], [e.project_id for e in keyed], [e.idempotency_key for e in keyed]
        )
        known = {(row["project_id"], row["key"]): row for row in rows}
    results: list[Accepted | Problem] = []
    for entry in entries:
        row = known.get((entry.project_id, entry.idempotency_key))
        if row is None:
            error = FieldError("/user_id", "user_not_found", CODES["user_not_found"])
            results.append(NotFound(code="user_not_found", errors=[error]))
        elif row["digest"] != entry.digest or row["created_at"] is None:
            results.append(Invalid(code="idempotency_mismatch"))
        else:
            results.append(Accepted(row["notification_id"], row["created_at"], row["scheduled_time"], replayed=True))
    return results


async def earlier(db: Pool | Connection, entry: Entry) -> Accepted | None:
    """What an earlier request with the same idempotency key made, if there was one. Raises `Invalid` for a mismatch."""
    [result] = await _earlier(db, [entry])
    if isinstance(result, Invalid):
        raise result
    return result if isinstance(result, Accepted) else None


def shown(row: Any) -> Notification:
    """A row of the table as the API shows it."""
    channels, fallback = routing.shown(row["routing"])
    return Notification(
        id=row["id"],
        user_id=row["user_id"],
        title=row["title"],
        body=row["body"],
        data=msgspec.json.decode(row["data"]),
        status=row["status"],
        created_at=row["created_at"],
        scheduled_time=row["scheduled_time"],
        sent_at=row["sent_at"],
        delivered_at=row["delivered_at"],
        read_at=row["read_at"],
        lane=row["lane"],
        ttl_s=row["ttl_s"],
        collapse_key=row["collapse_key"],
        category=row["category"],
        channels=channels,
        fallback=fallback,
    )


async def get_row(db: Pool | Connection, project_id: int, notification_id: int) -> Any:
    """The row of one notification. Raises `NotFound`."""
    row = await db.fetchrow(SQL["get"], project_id, notification_id)
    if row is None:
        raise NotFound(code="notification_not_found")
    return row


async def of_user(db: Pool | Connection, project_id: int, user_id: int, before: int, limit: int) -> list[Notification]:
    """A user's notifications, newest first, from before the id `before`."""
    return [shown(row) for row in await db.fetch(SQL["of_user"], project_id, user_id, before, limit)]


async def cancel(db: Pool | Connection, project_id: int, notification_id: int) -> Notification:
    """Cancel a scheduled notification. Raises `NotFound`, `Conflict` when it is not scheduled (any more)."""
    cancelled = await db.fetchval(SQL["cancel"], project_id, notification_id) is not None
    row = await get_row(db, project_id, notification_id)
    if not cancelled and row["status"] != "cancelled":
        raise Conflict(f"The notification is {row['status']}; only a scheduled one can be cancelled.")
    return shown(row)


async def mark_read(db: Pool | Connection, reads: Sequence[tuple[int, int, int]]) -> None:
    """(project, user, notification) triples: the user has read these. Twice is safe, the first time stands."""
    ordered = sorted(set(reads), key=lambda read: read[2])
    await db.execute(SQL["mark_read"], *[[read[i] for read in ordered] for i in range(3)])
