"""What to send for a notification: a pure function of what is known about it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

PUSH, WEBSOCKET = "push", "websocket"
APNS_TOKEN = re.compile(r"[0-9a-fA-F]{64,200}")
VIAS = ("fcm", "apns", "webpush", WEBSOCKET)
USER_ADDRESS = 0  # the device_id of a channel that reaches the user without a device

ENDED = frozenset({"cancelled", "expired", "failed", "suppressed"})  # "sent" and "delivered" may have more to send


class Address(Struct, frozen=True):
    """One way to reach a user; `token` is empty for channels that need none."""

    channel: str
    device_id: int
    device_type: str = ""
    token: str = ""

    @property
    def via(self) -> str:
        """Which provider: the form of a token tells whose it is. Firebase has tokens for iPhones and browsers, too."""
        match self.device_type:
            case "ios" if APNS_TOKEN.fullmatch(self.token):
                return "apns"
            case "web" if self.token.startswith("{"):
                return "webpush"
            case "":
                return self.channel
        return "fcm"


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
    due: bool  # it waits for an attempt, its time has come, and it is reserved for this worker
    attempts_allowed: int | None = None


class Planned(Struct, frozen=True):
    """One attempt to be made. `attempt` counts from 1; `allowed`: how many there may be, None: what the policy says."""

    subject: Subject
    address: Address
    attempt: int
    allowed: int | None = None


class Ending(Struct, frozen=True):
    """A recorded delivery that waits for an attempt which will not be made any more, and why."""

    channel: str
    device_id: int
    status: str
    reason: str


class Plan(Struct, frozen=True):
    """What to attempt now, and which recorded deliveries end without another attempt.

    `suppressions`: channels with nothing to attempt, as `channel:reason`. `status`: set when the notification ends
    here with no delivery at all; otherwise its status follows from its deliveries.
    """

    attempts: list[Planned]
    endings: list[Ending] = []
    suppressions: list[str] = []
    status: str | None = None


def plan(subject: Subject, known: Mapping[tuple[str, int], Known], now: datetime, *, retrying: bool = False) -> Plan:
    """Decide. `known`: what is recorded, by (channel, device id); mostly nothing.

    `retrying`: only the deliveries that are known. Otherwise addresses that are not known yet are attempted, too: all
    of them the first time, and what a worker had not recorded when it died.
    """
    if subject.status in ENDED and not any(delivery.due for delivery in known.values()):
        return Plan([])
    if not subject.user_exists:
        return _end(known, "suppressed", "user_deleted")
    if now > subject.expires_at and (known or subject.ttl_s > 0):  # 0 is "now or never", and this is now
        return _end(known, "expired", "expired")
    addresses = {(address.channel, address.device_id): address for address in subject.addresses}
    suppressions = [] if addresses else [f"{PUSH}:no_device"]
    addresses[WEBSOCKET, USER_ADDRESS] = Address(WEBSOCKET, USER_ADDRESS)
    attempts, endings = _again(subject, known, addresses)
    if retrying and (PUSH, USER_ADDRESS) not in known:  # that one is a notification which was set aside as poison
        return Plan(attempts, endings)
    attempts += [Planned(subject, address, 1) for key, address in addresses.items() if key not in known]
    return Plan(attempts, endings, suppressions)


def _end(known: Mapping[tuple[str, int], Known], status: str, reason: str) -> Plan:
    endings = [Ending(*key, status, reason) for key, delivery in known.items() if delivery.due]
    return Plan([], endings, [f"all:{reason}"], None if known else status)


def _again(
    subject: Subject, known: Mapping[tuple[str, int], Known], addresses: Mapping[tuple[str, int], Address]
) -> tuple[list[Planned], list[Ending]]:
    """The deliveries whose next attempt is due; those whose device was removed end."""
    attempts, endings = [], []
    for key, delivery in known.items():
        if not delivery.due:
            continue
        if key in addresses:
            attempts.append(Planned(subject, addresses[key], delivery.attempts + 1, delivery.attempts_allowed))
        else:
            endings.append(Ending(*key, "suppressed", "device_removed"))
    return attempts, endings


RANK = ("delivered", "sent", "sending", "pending", "expired", "failed", "cancelled", "suppressed")
_PLACE = {status: place for place, status in enumerate(RANK)}


def status_of(deliveries: Iterable[str]) -> str:
    """A notification's status from those of its deliveries: the best wins; none at all is suppressed."""
    return min(deliveries, key=_PLACE.__getitem__, default="suppressed")


def subjects_of(rows: Sequence[Any], decode: Callable[[str], Any]) -> list[Subject]:
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
