"""What to send for a notification: a pure function of what is known about it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from tidings import routing
from tidings.discreet import Discreet
from tidings.preferences import Preferences, allows, decode_preferences
from tidings.providers.contract import Reason
from tidings.quiet_hours import quiet_until
from tidings.routing import CHAT, EMAIL, LIVE, PUSH, SMS, WEBSOCKET, Route

APNS_TOKEN = re.compile(r"[0-9a-fA-F]{64,200}")
VIAS = ("fcm", "apns", "webpush", WEBSOCKET, EMAIL, SMS, CHAT)
NOBODY_THERE = f"{WEBSOCKET}:{Reason.NOT_CONNECTED}"
USER_ADDRESS = 0  # the device_id of a channel that reaches the user without a device

ENDED = frozenset({"cancelled", "expired", "failed", "suppressed"})  # "sent" and "delivered" may have more to send


class Address(Discreet, frozen=True, gc=False):
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


SOCKETS = Address(WEBSOCKET, USER_ADDRESS)
OWN_ADDRESSES = {EMAIL: "email", SMS: "phone", CHAT: "chat_url"}  # channel → column of `users`


class Subject(Discreet, frozen=True, gc=False):
    """A notification with all that planning looks at. `begins_at`: when it was due.

    `addresses`: what the user has of the channels of the route, sockets apart. `blocked`: channels whose address must
    not be written to, and why. `suppressions`: those that are recorded, as `channel:reason`.
    """

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
    category: str | None = None
    route: Route = routing.USUAL
    suppressions: tuple[str, ...] = ()
    preferences: Preferences | None = None
    timezone: str | None = None
    blocked: Mapping[str, str] = {}

    @property
    def expires_at(self) -> datetime:
        return self.begins_at + timedelta(seconds=self.ttl_s)


class Known(Struct, frozen=True, gc=False):
    """What is recorded of one delivery already.

    `begun`: a call was begun over a channel that sends at most once, and its outcome was never recorded.
    """

    status: str
    attempts: int
    due: bool  # it waits for an attempt, its time has come, and it is reserved for this worker
    attempts_allowed: int | None = None
    begun: bool = False


class Planned(Struct, frozen=True, gc=False):
    """One attempt to be made. `attempt` counts from 1; `allowed`: how many there may be, None: what the policy says.

    `held_until`: the user's quiet hours; the attempt is made then. `recorded`: the delivery has a row already.
    """

    subject: Subject
    address: Address
    attempt: int
    allowed: int | None = None
    held_until: datetime | None = None
    recorded: bool = False


class Ending(Struct, frozen=True):
    """A recorded delivery that waits for an attempt which will not be made any more, and why."""

    channel: str
    device_id: int
    status: str
    reason: str


class Plan(Struct, frozen=True, gc=False):
    """What to attempt now, and which recorded deliveries end without another attempt.

    `suppressions`: channels with nothing to attempt, as `channel:reason`. `status`: set when the notification ends
    here with no delivery at all; otherwise its status follows from its deliveries.
    """

    attempts: list[Planned]
    endings: list[Ending] = []
    suppressions: list[str] = []
    status: str | None = None


History = Mapping[tuple[str, int], Known]


def plan(subject: Subject, known: History, now: datetime, *, retrying: bool = False, absent: bool = False) -> Plan:
    """Decide. `known`: what is recorded, by (channel, device id); mostly nothing.

    `absent`: the user has no open socket. `retrying`: only the deliveries that are known. Otherwise addresses that are
    not known yet are attempted, too: all of them the first time, and what a worker had not recorded when it died.
    """
    if subject.status in ENDED and not any(delivery.due for delivery in known.values()):
        return Plan([])
    if not subject.user_exists:
        return _end(known, "suppressed", "user_deleted")
    if now > subject.expires_at and (known or subject.ttl_s > 0):  # 0 is "now or never", and this is now
        return _end(known, "expired", "expired")
    if not known and subject.preferences is None and subject.route is routing.USUAL:
        return _usual(subject, absent)
    attempts, endings = _again(subject, known, now) if known else ([], [])
    if retrying and (PUSH, USER_ADDRESS) not in known:  # that one is a notification which was set aside as poison
        return Plan(attempts, endings)
    suppressions: list[str] = []
    for channel in subject.route.channels:
        waiting = _first(subject, channel, known, now, attempts, suppressions, absent)
        if waiting and subject.route.fallback:
            break
    return Plan(attempts, endings, suppressions, None if attempts or known else "suppressed")


def _usual(subject: Subject, absent: bool) -> Plan:
    """The plan of nearly all: to every device and the sockets, for the first time, and nothing is in the way."""
    attempts = [Planned(subject, address, 1) for address in subject.addresses]
    suppressions = [] if attempts else [f"{PUSH}:no_device"]
    if absent:
        suppressions.append(NOBODY_THERE)
    else:
        attempts.append(Planned(subject, SOCKETS, 1))
    return Plan(attempts, [], suppressions, None if attempts else "suppressed")


def _first(
    subject: Subject,
    channel: str,
    known: History,
    now: datetime,
    attempts: list[Planned],
    suppressions: list[str],
    absent: bool,
) -> bool:
    """Add the first attempts over a channel, or why there are none. True: it has arrived or may yet."""
    fresh = [one for one in _addresses(subject, channel) if (one.channel, one.device_id) not in known]
    statuses = {delivery.status for (of, _), delivery in known.items() if of == channel}
    arriving = not LIVE.isdisjoint(statuses)
    if not fresh:
        if not statuses:
            suppressions.append(f"{channel}:{'no_device' if channel == PUSH else 'no_address'}")
        return arriving
    if subject.route.fallback and any(made.startswith(channel + ":") for made in subject.suppressions):
        return arriving
    reason, until = _hindrance(subject, channel, now)
    if reason is None and absent and channel == WEBSOCKET:
        reason = Reason.NOT_CONNECTED
    if reason is not None:
        suppressions.append(f"{channel}:{reason}")
        return arriving
    attempts += [Planned(subject, address, 1, None, until) for address in fresh]
    return True


def _addresses(subject: Subject, channel: str) -> Iterable[Address]:
    if channel == WEBSOCKET:
        return (SOCKETS,)
    return [address for address in subject.addresses if address.channel == channel]


def _hindrance(subject: Subject, channel: str, now: datetime) -> tuple[str | None, datetime | None]:
    """Why the user is not to be reached over this channel, or until when it has to wait.

    Sockets are open only while the user looks at the app, so quiet hours don't hold these back; nor what is critical.
    """
    if subject.blocked and channel in subject.blocked:
        return subject.blocked[channel], None
    preferences = subject.preferences
    if preferences is None:
        return None, None
    if not allows(preferences, subject.category, channel):
        return "preference", None
    if preferences.quiet is None or subject.lane == "critical" or channel == WEBSOCKET:
        return None, None
    until = quiet_until(preferences.quiet, subject.timezone, now)
    if until is not None and preferences.quiet.action == "drop":
        return "quiet_hours", None
    return None, until


def _end(known: History, status: str, reason: str) -> Plan:
    endings = [Ending(*key, status, reason) for key, delivery in known.items() if delivery.due]
    return Plan([], endings, [f"all:{reason}"], None if known else status)


def _again(subject: Subject, known: History, now: datetime) -> tuple[list[Planned], list[Ending]]:
    """The deliveries whose next attempt is due; those that must not be attempted any more end."""
    addresses = {(address.channel, address.device_id): address for address in (*subject.addresses, SOCKETS)}
    attempts, endings = [], []
    for key, delivery in known.items():
        if not delivery.due:
            continue
        if delivery.begun:
            endings.append(Ending(*key, "failed", "unknown"))
            continue
        reason, until = _hindrance(subject, key[0], now)
        if key not in addresses:
            reason = "device_removed" if key[1] else "no_address"
        if reason is not None:
            endings.append(Ending(*key, "suppressed", reason))
        else:
            number, allowed = delivery.attempts + 1, delivery.attempts_allowed
            attempts.append(Planned(subject, addresses[key], number, allowed, until, recorded=True))
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
        addresses = [
            Address(PUSH, r["device_id"], r["device_type"], r["device_token"])
            for r in rows[start:end]
            if r["device_id"] is not None
        ]
        route = routing.USUAL
        blocked: dict[str, str] = {}
        if row["routing"] is not None:
            route = routing.read(row["routing"])
            addresses += [
                Address(channel, USER_ADDRESS, "", row[column])
                for channel, column in OWN_ADDRESSES.items()
                if row[column] is not None and channel in route.channels
            ]
            blocked = {channel: row[f"{channel}_blocked"] for channel in (EMAIL, SMS) if row[f"{channel}_blocked"]}
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
                addresses=tuple(addresses),
                category=row["category"],
                route=route,
                suppressions=tuple(row["suppressions"] or ()),
                preferences=decode_preferences(row["preferences"]),
                timezone=row["timezone"],
                blocked=blocked,
            )
        )
        start = end
    return subjects
