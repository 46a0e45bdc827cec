"""Events: facts that happened. Endpoints (webhooks) receive them."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from tidings.db import Connection, Pool, affected, load
from tidings.discreet import Discreet

SQL = load("events")

MOST_FORGOTTEN = 5_000  # in one statement, so that it ends soon


class EventType(StrEnum):
    """Every kind of event. `docs/events.md` explains each."""

    DEVICE_REGISTERED = "device.registered"  # a device token was registered, moved or refreshed
    ADDRESS_SUPPRESSED = "address.suppressed"  # it bounced, complained, said STOP, or was put on the list by a call
    ADDRESS_RELEASED = "address.released"  # it may be written to again
    DELIVERY_BOUNCED = "delivery.bounced"  # the vendor reports later: no mail can reach that address
    DELIVERY_FAILED = "delivery.failed"  # the vendor reports later: this message did not arrive
    DELIVERY_COMPLAINED = "delivery.complained"  # the person called it spam
    DELIVERY_OPTED_OUT = "delivery.opted_out"  # the person told the vendor to send no more
    DEVICE_UNREGISTERED = "device.unregistered"  # removed by the caller, or the vendor says that it is gone
    PREFERENCES_CHANGED = "preferences.changed"  # what a user allows, or their quiet hours, by a call or a link
    PROVIDER_EXPIRING = "provider.expiring"  # the certificate of an account ends soon


class Event(Discreet, frozen=True):
    project_id: int
    type: EventType
    data: dict[str, Any]


async def append(db: Pool | Connection, events: Sequence[Event]) -> None:
    """Write events down. Call it in the transaction of what happened."""
    if events:
        await db.execute(
            SQL["append"],
            [event.project_id for event in events],
            [str(event.type) for event in events],
            [msgspec.json.encode(event.data).decode() for event in events],
        )


async def forget(db: Pool, days: int) -> int:
    """Let some events go that are older; answers how many, at most `MOST_FORGOTTEN`."""
    return affected(await db.execute(SQL["forget"], days, MOST_FORGOTTEN))
