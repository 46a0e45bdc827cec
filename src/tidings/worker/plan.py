"""What to send for a notification: a pure function of what is known about it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

PUSH, WEBSOCKET = "push", "websocket"
USER_ADDRESS = 0  # the device_id of a channel that reaches the user without a device

OPEN = frozenset({"pending", "sending"})
UNSENDABLE = frozenset({"cancelled", "expired", "failed", "suppressed", "delivered"})


class Address(Struct, frozen=True):
    """One way to reach a user; `token` is empty for channels that need none."""

    channel: str
    device_id: int
    device_type: str = ""
    token: str = ""


class Subject(Struct, frozen=True):
    """A notification with all that planning looks at. `begins_at`: when it was due."""

    id: int
    project_id: int
    user_id: int
    title: str
    body: str
    data: dict[str, Any]
    status: str
    lane: str
    ttl_s: int
    collapse_key: str | None
    overrides: dict[str, Any] | None
    begins_at: datetime
    created_at: datetime
    user_exists: bool
    addresses: tuple[Address, ...]

    @property
    def expires_at(self) -> datetime:
        return self.begins_at + timedelta(seconds=self.ttl_s)


class Known(Struct, frozen=True):
    """What is recorded of one delivery already."""

    status: str
    attempts: int
    next_attempt_at: datetime | None


class Planned(Struct, frozen=True):
    """One attempt to be made. `attempt` counts from 1."""

    subject: Subject
    address: Address
    attempt: int


class Plan(Struct, frozen=True):
    """What to attempt now. `suppressions`: channels with nothing to attempt, as `channel:reason`.

    `status`: set when nothing is left to attempt at all and the notification ends here.
    """

    attempts: list[Planned]
    suppressions: list[str]
    status: str | None = None


def plan(subject: Subject, known: Mapping[tuple[str, int], Known], now: datetime) -> Plan:
    """Decide. `known`: by (channel, device id), from earlier attempts; empty at the first."""
    if subject.status in UNSENDABLE:
        return Plan([], [], None)
    if not subject.user_exists:
        return Plan([], ["all:user_deleted"], "suppressed")
    first = not known
    if now > subject.expires_at and not (first and subject.ttl_s == 0):  # 0 is "now or never", and this is now
        return Plan([], ["all:expired"], "expired")
    if first:
        return _first(subject)
    by_key = {(address.channel, address.device_id): address for address in subject.addresses}
    by_key[WEBSOCKET, USER_ADDRESS] = Address(WEBSOCKET, USER_ADDRESS)
    return Plan(_again(subject, known, by_key, now), [])


def _first(subject: Subject) -> Plan:
    attempts = [Planned(subject, address, 1) for address in subject.addresses]
    suppressions = [] if attempts else [f"{PUSH}:no_device"]
    attempts.append(Planned(subject, Address(WEBSOCKET, USER_ADDRESS), 1))
    return Plan(attempts, suppressions)


def _again(
    subject: Subject,
    known: Mapping[tuple[str, int], Known],
    addresses: Mapping[tuple[str, int], Address],
    now: datetime,
) -> list[Planned]:
    """The deliveries that wait for another attempt and whose time has come."""
    slack = timedelta(seconds=1)  # tasks are due by the second
    return [
        Planned(subject, addresses[key], delivery.attempts + 1)
        for key, delivery in known.items()
        if delivery.status in OPEN
        and key in addresses
        and (delivery.next_attempt_at is None or delivery.next_attempt_at <= now + slack)
    ]


RANK = ("delivered", "sent", "sending", "pending", "expired", "failed", "cancelled", "suppressed")


def status_of(deliveries: Iterable[str]) -> str:
    """A notification's status from those of its deliveries: the best wins; none at all is suppressed."""
    return min(deliveries, key=RANK.index, default="suppressed")


def subjects_of(rows: Sequence[Mapping[str, Any]], decode: Any) -> list[Subject]:
    """Rows of `notifications.load` (one a device, sorted by notification) as subjects. `decode`: JSON → value."""
    subjects: list[Subject] = []
    start = 0
    while start < len(rows):
        row, end = rows[start], start + 1
        while end < len(rows) and rows[end]["id"] == row["id"]:
            end += 1
        addresses = tuple(
            Address(PUSH, r["device_id"], r["device_type"], r["device_token"])
            for r in rows[start:end]
            if r["device_id"] is not None
        )
        subjects.append(
            Subject(
                id=row["id"],
                project_id=row["project_id"],
                user_id=row["user_id"],
                title=row["title"],
                body=row["body"],
                data=decode(row["data"]),
                status=row["status"],
                lane=row["lane"],
                ttl_s=row["ttl_s"],
                collapse_key=row["collapse_key"],
                overrides=None if row["overrides"] is None else decode(row["overrides"]),
                begins_at=row["scheduled_time"] or row["created_at"],
                created_at=row["created_at"],
                user_exists=row["user_exists"],
                addresses=addresses,
            )
        )
        start = end
    return subjects
