"""What the routes use. Made by the composition root, carried by the application's state."""

from typing import Any

from litestar import Request
from msgspec import Struct

from tidings.addresses import Guard
from tidings.api.intake import Intake
from tidings.api.limits import Limits
from tidings.bus import Bus
from tidings.db import Pool
from tidings.projects import KeyRing, Principal
from tidings.queue import Queue
from tidings.settings import Settings

Call = Request[Principal, Any, Any]


class Services(Struct, frozen=True):
    """`keys` tells who calls; `intake` stores notifications; `limits` counts calls. `reader` is for lists
    and reports: a replica, if there is one, which may lag behind.

    `subscriptions`: where browsers' subscriptions may lead; None, like `vapid_public_key`, without Web Push.
    """

    settings: Settings
    db: Pool
    reader: Pool
    queue: Queue
    bus: Bus
    keys: KeyRing
    intake: Intake
    limits: Limits
    subscriptions: Guard | None
    vapid_public_key: str | None
    token_key: bytes
    receipt_key: bytes


def services(request: Request[Any, Any, Any]) -> Services:
    """The services of the application that got this request."""
    found: Services = request.app.state["services"]
    return found
