"""The provider behind the `websocket` channel: it hands a
notification to the bus, which knows the sockets."""

import asyncio
from datetime import datetime
from typing import Any

import msgspec

from tidings.bus import Bus, BusUnavailable
from tidings.discreet import Discreet
from tidings.providers.contract import Message, Outcome, Reason, Rejected, Retry, Sent

NOT_CONNECTED = Rejected(Reason.NOT_CONNECTED, "the user has no open socket")


class NotificationData(Discreet, frozen=True):
    """What a client gets as `data` of a notification frame. The same on every attempt."""

    id: int
    title: str
    body: str
    data: dict[str, Any]
    created_at: datetime


class GatewayProvider:
    """See `Provider`. Sent means that at least one socket took the
    frame; only an acknowledgement is a delivery.

    A notification for a user who was here a moment ago is kept by the bus for their return, whatever is
    answered. Sending the same notification twice is safe: the bus knows it by its id.
    """

    name = "gateway"
    emulated = False

    def __init__(self, bus: Bus, deadline_s: float | None = None) -> None:
        """`deadline_s`: a bound for a bus that does not keep its own (see `Bus`: about a second). None: no timer, whose
        making and cancelling costs a quarter of a call that finds nobody connected."""
        self._bus = bus
        self._deadline_s = deadline_s

    async def send(self, message: Message) -> Outcome:
        """One call of the bus."""
        data = msgspec.json.encode(
            NotificationData(message.notification_id, message.title, message.body, message.data, message.created_at)
        )
        publishing = self._bus.publish(message.project_id, message.user_id, message.notification_id, data)
        try:
            if self._deadline_s is None:
                sockets = await publishing
            else:
                sockets = await asyncio.wait_for(publishing, self._deadline_s)
        except TimeoutError:
            return Retry(Reason.TIMEOUT, "the bus did not answer in time")
        except BusUnavailable as error:
            return Retry(Reason.CONNECTION, str(error))
        return Sent() if sockets else NOT_CONNECTED

    async def close(self) -> None:
        """Nothing to let go: the bus belongs to who made it."""
