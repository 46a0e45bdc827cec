"""What vendors report later: deliveries that arrived or did not, and addresses that must not be written to.

A report names its delivery by the reference that we gave the vendor, which is signed; or it names an address alone.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tidings import clock, deliveries, events, suppressions, tasks
from tidings.db import Connection, Pool, load, transaction
from tidings.deliveries import Confirmation
from tidings.discreet import Discreet
from tidings.events import Event, EventType
from tidings.providers.contract import Fate, Reason, Report
from tidings.providers.quoted import hide, texts_of
from tidings.signing import BadToken, Receipt, verify_receipt
from tidings.suppressions import Wanted, canonical

SQL = load("reports")

# Providers by channel: a project that has an account of its own does not share the operator's.
PROVIDERS = {"email": ["smtp"], "sms": ["twilio", "vonage"]}

ENDING = {Fate.FAILED, Fate.BOUNCED}
_EVENTS = {
    Fate.FAILED: EventType.DELIVERY_FAILED,
    Fate.BOUNCED: EventType.DELIVERY_BOUNCED,
    Fate.COMPLAINED: EventType.DELIVERY_COMPLAINED,
    Fate.OPTED_OUT: EventType.DELIVERY_OPTED_OUT,
}
_REASONS = {
    Fate.BOUNCED: "bounced",
    Fate.COMPLAINED: "complained",
    Fate.OPTED_OUT: "opted_out",
    Fate.OPTED_IN: "opted_out",  # what it takes back
}


class TooEarly(Exception):
    """A report came before the worker has recorded that it sent the message. Nothing was stored; take it again."""


class Believed(Struct, frozen=True):
    """A report whose reference is true."""

    report: Report
    receipt: Receipt

    @property
    def key(self) -> tuple[int, str, int]:
        return self.receipt.notification_id, self.receipt.channel, self.receipt.device_id


async def take(
    db: Pool | Connection, project_id: int | None, found: Sequence[Report], receipt_key: bytes, *, signed: bool = True
) -> int:
    """Store what vendors report, all of it or none; answers how many reports were believed. Twice is safe.

    `project_id`: whose account it is; a report about another project's delivery is not believed. None: the operator's,
    which may report about all. A report without a reference concerns the project, or all that share that account.
    `signed` False: anybody may have written it (mail). Then only references count, and an address only if it is that
    of the delivery's user. Raises `TooEarly`.
    """
    about_deliveries = _believed(found, project_id, receipt_key)
    about_addresses = [report for report in found if signed and not report.reference and report.address]
    if not (about_deliveries or about_addresses):
        return 0
    async with transaction(db) as connection:
        if about_deliveries:
            await _record(connection, await _without_what_was_said(connection, about_deliveries), signed)
        if about_addresses:
            await _suppress(connection, project_id, about_addresses)
    return len(about_deliveries) + len(about_addresses)


def _believed(found: Sequence[Report], project_id: int | None, receipt_key: bytes) -> list[Believed]:
    """The reports with a true reference of this project, in the order in which rows are locked everywhere."""
    believed = []
    for report in found:
        try:
            receipt = verify_receipt(receipt_key, report.reference)
        except BadToken:
            continue
        if project_id in (None, receipt.project_id):
            believed.append(Believed(report, receipt))
    return sorted(believed, key=lambda one: one.key)


async def _without_what_was_said(connection: Connection, believed: Sequence[Believed]) -> list[Believed]:
    """The same without what a vendor quotes of the notification: details are kept longer, and events carry them."""
    ids = sorted({one.receipt.notification_id for one in believed if one.report.detail})
    if not ids:
        return list(believed)
    said = {
        row["id"]: texts_of(
            row["title"], row["body"], msgspec.json.decode(row["data"]), msgspec.json.decode(row["overrides"] or "null")
        )
        for row in await connection.fetch(SQL["said"], ids)
    }
    return [
        replace(
            one, report=replace(one.report, detail=hide(one.report.detail, said.get(one.receipt.notification_id, ())))
        )
        for one in believed
    ]


async def _record(connection: Connection, believed: Sequence[Believed], signed: bool) -> None:
    ids = sorted({one.receipt.notification_id for one in believed})
    await deliveries.one_at_a_time(connection, ids)
    arrived = [one.receipt for one in believed if one.report.fate is Fate.DELIVERED]
    await deliveries.confirm(
        connection, [Confirmation(r.project_id, r.notification_id, r.channel, r.device_id) for r in arrived]
    )
    failed = await _fail(connection, [one for one in believed if one.report.fate in ENDING])
    users = await _whose(connection, believed)
    addresses = {one: _address(one, users.get(one.receipt.notification_id), signed) for one in believed}
    wanted = {
        one: Wanted(one.receipt.project_id, one.receipt.channel, address, reason, one.report.detail or None)
        for one, address in addresses.items()
        if address and (reason := _REASONS.get(one.report.fate))
    }
    added = await suppressions.add(
        connection, [suppression for one, suppression in wanted.items() if one.report.fate is not Fate.OPTED_IN]
    )
    await suppressions.opt_in(
        connection, [suppression for one, suppression in wanted.items() if one.report.fate is Fate.OPTED_IN]
    )
    new = [one for one in believed if one.key in failed and one.report.fate in ENDING]
    new += [
        one for one in believed if one.report.fate in (Fate.COMPLAINED, Fate.OPTED_OUT) and wanted.get(one) in added
    ]
    await events.append(connection, [_event(one, users) for one in new])


async def _fail(connection: Connection, believed: Sequence[Believed]) -> set[tuple[int, str, int]]:
    """End these deliveries; answers which ones were not ended yet."""
    if not believed:
        return set()
    by_key = {one.key: one for one in believed}.values()
    rows = await connection.fetch(
        SQL["fail"],
        [one.receipt.project_id for one in by_key],
        [one.receipt.notification_id for one in by_key],
        [one.receipt.channel for one in by_key],
        [one.receipt.device_id for one in by_key],
        [str(one.report.reason or Reason.UNAVAILABLE) for one in by_key],
        [one.report.detail or None for one in by_key],
    )
    ended = {(row["notification_id"], row["channel"], row["device_id"]) for row in rows}
    left = [one.receipt for one in by_key if one.key not in ended]
    if left and await connection.fetchval(
        SQL["early"],
        [receipt.project_id for receipt in left],
        [receipt.notification_id for receipt in left],
        [receipt.channel for receipt in left],
        [receipt.device_id for receipt in left],
    ):
        raise TooEarly
    ids = sorted({key[0] for key in ended})
    await deliveries.derive(connection, ids)
    for row in await connection.fetch(SQL["fallen"], ids):
        await deliveries.go_on(connection, row["ids"])
        await tasks.create(connection, row["project_id"], "fallback", row["lane"], row["ids"], clock.now())
    return ended


class User(Discreet, frozen=True):
    """Whom a delivery was for; 0 and "" when there is no such user any more. repr() shows no address."""

    id: int
    address: str

    def __repr__(self) -> str:
        return f"User({self.id})"


async def _whose(connection: Connection, believed: Sequence[Believed]) -> dict[int, User]:
    wanted = [one.receipt for one in believed if one.report.fate is not Fate.DELIVERED]
    rows = await connection.fetch(
        SQL["whose"],
        [receipt.project_id for receipt in wanted],
        [receipt.notification_id for receipt in wanted],
        [receipt.channel for receipt in wanted],
    )
    return {row["notification_id"]: User(row["user_id"], row["address"] or "") for row in rows}


def _address(one: Believed, user: User | None, signed: bool) -> str | None:
    """Which address is meant: the one that the report names, else the user's own.

    An unsigned report that names another address than the user's means none: it may have been forwarded, the user may
    have another address by now, or somebody makes it up.
    """
    channel = one.receipt.channel
    named, own = canonical(channel, one.report.address), canonical(channel, user.address if user else "")
    if signed and named:
        return named
    theirs = named is None or (own is not None and named.lower() == own.lower())
    return own if theirs else None


def _event(one: Believed, users: dict[int, User]) -> Event:
    user = users.get(one.receipt.notification_id)
    data = {
        "notification_id": one.receipt.notification_id,
        "user_id": user.id if user else None,
        "channel": one.receipt.channel,
        "reason": one.report.reason,
        "detail": one.report.detail or None,
    }
    return Event(one.receipt.project_id, _EVENTS[one.report.fate], data)


async def _suppress(connection: Connection, project_id: int | None, found: Sequence[Report]) -> None:
    """Reports about addresses alone, such as STOP. In the order in which they came: the last word counts."""
    sharing: dict[str, list[int]] = {}
    for report in found:
        channel = "email" if "@" in report.address else "sms"
        address, reason = canonical(channel, report.address), _REASONS.get(report.fate)
        if address is None or reason is None:
            continue
        if channel not in sharing:
            sharing[channel] = [project_id] if project_id else await _sharing(connection, channel)
        wanted = [Wanted(each, channel, address, reason, report.detail or None) for each in sharing[channel]]
        await (suppressions.opt_in if report.fate is Fate.OPTED_IN else suppressions.add)(connection, wanted)


async def _sharing(connection: Connection, channel: str) -> list[int]:
    return [row["id"] for row in await connection.fetch(SQL["sharing"], PROVIDERS[channel])]
