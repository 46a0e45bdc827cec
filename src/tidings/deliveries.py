"""Deliveries: one notification over one channel to one address, and the attempts at them."""

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from msgspec import Struct

from tidings.db import Connection, Pool, load, transaction

SQL = load("deliveries")
NOTIFICATIONS = load("notifications")


LOCKS = 64  # an advisory lock for each notification could be too many; two that share one only wait a little


class Attempt(Struct, frozen=True):
    """One provider call, as the API shows it."""

    number: int
    outcome: str
    provider: str
    duration_ms: int
    created_at: datetime
    reason: str | None = None
    detail: str | None = None


class Delivery(Struct, frozen=True):
    """A delivery as the API shows it. `device_id` is null for a channel without devices.

    `emulated`: true when the bundled emulator played the vendor.
    """

    channel: str
    device_id: int | None
    status: str
    reason: str | None = None
    detail: str | None = None
    provider: str | None = None
    emulated: bool = False
    provider_message_id: str | None = None
    next_attempt_at: datetime | None = None
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    attempts: list[Attempt] = []


class Recorded(Struct, frozen=True, gc=False):
    """What the worker records of one attempt. `number` 0: no call was made (the account is paused)."""

    notification_id: int
    channel: str
    device_id: int
    project_id: int
    status: str
    outcome: str
    provider: str
    emulated: bool
    number: int
    attempts: int
    duration_ms: int
    reason: str | None = None
    detail: str | None = None
    provider_message_id: str | None = None
    next_attempt_at: datetime | None = None
    sent_at: datetime | None = None


class Settled(Struct, frozen=True, gc=False):
    """The notification's side: its status, and the suppressions as `channel:reason`."""

    notification_id: int
    status: str
    sent_at: datetime | None = None
    suppressions: tuple[str, ...] = ()

    @property
    def suppressed(self) -> str:
        """The suppressions as they are recorded; "" for none."""
        return " ".join(self.suppressions)


class Confirmation(Struct, frozen=True):
    """A device or client has it. `user_id` 0: whoever's it is (the address itself is the proof)."""

    project_id: int
    notification_id: int
    channel: str
    device_id: int = 0
    user_id: int = 0


RECORD = [
    "notification_id",
    "channel",
    "device_id",
    "project_id",
    "status",
    "reason",
    "detail",
    "provider",
    "emulated",
    "provider_message_id",
    "attempts",
    "next_attempt_at",
    "sent_at",
    "number",
    "outcome",
    "duration_ms",
]


SETTLE = ["notification_id", "status", "sent_at", "suppressed"]

# Never NULL; where a column is shorter than the others, the statement takes its first value for all.
ALIKE = {"channel", "project_id", "status", "provider", "emulated", "attempts", "number", "outcome", "suppressed"}


def _columns(rows: Sequence[Struct], fields: Sequence[str]) -> list[Sequence[Any]]:
    """The fields of all rows, each field by itself, or less of it: nothing when it is None everywhere (`unnest` fills
    short columns with NULL), and one value for all when they are `ALIKE`. Most are, and each value costs 0.3 µs to
    encode."""
    columns: list[Sequence[Any]] = []
    for field, values in zip(fields, zip(*map(attrgetter(*fields), rows), strict=True), strict=True):
        usual = values[0] if field in ALIKE else None
        if values.count(usual) < len(values):
            columns.append(values)
        else:
            columns.append(values[:1] if field in ALIKE else ())
    return columns


async def record(connection: Connection, recorded: Sequence[Recorded]) -> None:
    """Write down attempts and what they make of their deliveries. Call it in a transaction.

    Twice is safe: a delivery is known by notification, channel and device, an attempt by its number besides.
    """
    if recorded:
        await connection.execute(SQL["record"], *_columns(recorded, RECORD))


async def settle(connection: Connection, settled: Sequence[Settled]) -> None:
    """Write down what has become of the notifications themselves."""
    if settled:
        await connection.execute(NOTIFICATIONS["settle"], *_columns(settled, SETTLE))


async def derive(connection: Connection, notification_ids: Sequence[int]) -> None:
    """Let the statuses of notifications follow from the rows of their deliveries, whoever wrote these."""
    await connection.execute(NOTIFICATIONS["derive"], list(notification_ids))


async def go_on(connection: Connection, notification_ids: Sequence[int]) -> None:
    """These are pending again: there is more to try, by another task or another worker."""
    await connection.execute(NOTIFICATIONS["go_on"], list(notification_ids))


async def one_at_a_time(connection: Connection, notification_ids: Sequence[int]) -> None:
    """Wait until no other transaction that asked for one of these goes on. Until the end of this transaction."""
    await connection.execute(NOTIFICATIONS["one_at_a_time"], sorted({i % LOCKS for i in notification_ids}))


async def not_over(connection: Connection, notification_ids: Sequence[int]) -> None:
    """These have not ended, whatever the rows they have say. Twice is safe."""
    if notification_ids:
        await connection.execute(NOTIFICATIONS["not_over"], list(notification_ids))


async def reserve(db: Pool | Connection, notification_ids: Sequence[int], until: datetime) -> set[tuple[int, str, int]]:
    """Take the deliveries that are due until then: (notification, channel, device). The database's clock decides."""
    rows = await db.fetch(SQL["reserve"], list(notification_ids), until)
    return {(row["notification_id"], row["channel"], row["device_id"]) for row in rows}


async def let_go(connection: Connection, notification_ids: Sequence[int], until: datetime) -> None:
    """The opposite of `reserve`: what was taken until then is due again at once. Twice is safe."""
    await connection.execute(SQL["let_go"], list(notification_ids), until)


async def end(connection: Connection, endings: Sequence[tuple[int, str, int, str, str]]) -> None:
    """(notification, channel, device, status, reason): these get no further attempt. Twice is safe."""
    if endings:
        await connection.execute(SQL["end"], *[[ending[i] for ending in endings] for i in range(5)])


async def existing(db: Pool | Connection, notification_ids: Sequence[int]) -> list[Any]:
    """The deliveries that are recorded of these notifications."""
    return await db.fetch(SQL["existing"], list(notification_ids))


async def confirm(db: Pool | Connection, confirmations: Sequence[Confirmation]) -> set[int]:
    """These have arrived: → delivered. Answers the notification ids that were found. Twice is safe.

    May come before the worker has recorded that it sent them; nothing is lost then.
    """
    ordered = sorted(
        {(c.notification_id, c.channel, c.device_id): c for c in confirmations}.values(),
        key=lambda c: (c.notification_id, c.channel, c.device_id),
    )
    async with transaction(db) as connection:
        rows = await connection.fetch(
            SQL["confirm"],
            [c.project_id for c in ordered],
            [c.notification_id for c in ordered],
            [c.channel for c in ordered],
            [c.device_id for c in ordered],
            ["gateway" if c.channel == "websocket" else "unknown" for c in ordered],
            [c.user_id for c in ordered],
        )
        found = {row["notification_id"] for row in rows}
        await connection.execute(SQL["settle_confirmed"], sorted(found))
    return found


async def of_notification(db: Pool | Connection, notification_id: int, suppressions: Sequence[str]) -> list[Delivery]:
    """All that was planned for a notification: deliveries with their attempts, then what was suppressed and why."""
    attempts: dict[tuple[str, int], list[Attempt]] = {}
    for row in await db.fetch(SQL["attempts_of_notification"], notification_id):
        fields = dict(row)
        attempts.setdefault((fields.pop("channel"), fields.pop("device_id")), []).append(Attempt(**fields))
    shown = []
    for row in await db.fetch(SQL["of_notification"], notification_id):
        shown.append(
            Delivery(
                channel=row["channel"],
                device_id=row["device_id"] or None,
                status=row["status"],
                reason=row["reason"],
                detail=row["detail"],
                provider=row["provider"],
                emulated=row["emulated"],
                provider_message_id=row["provider_message_id"],
                next_attempt_at=row["next_attempt_at"],
                sent_at=row["sent_at"],
                delivered_at=row["delivered_at"],
                attempts=attempts.get((row["channel"], row["device_id"]), []),
            )
        )
    delivered = {delivery.channel for delivery in shown}
    for suppression in suppressions:
        channel, _, reason = suppression.partition(":")
        if channel not in delivered:
            shown.append(Delivery(channel, None, "suppressed", reason))
    return shown
