"""What the routes use. Made by the composition root, carried by the application's state."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request

from tidings.addresses import Guard
from tidings.api.intake import Intake
from tidings.api.limits import Limits
from tidings.bus import Bus
from tidings.db import Pool
from tidings.discreet import Discreet
from tidings.projects import KeyRing, Principal
from tidings.providers.credentials import Outside
from tidings.providers.report_reader import ReportReader
from tidings.providers.report_secrets import Secrets
from tidings.queue import Queue
from tidings.settings import Settings
from tidings.vault import Vault

Call = Request[Principal, Any, Any]
ReportSecrets = Callable[[str, int], Awaitable[Secrets | None]]  # vendor, account id (0: the operator's)


class Services(Discreet, frozen=True):
    """`keys` tells who calls; `intake` stores notifications; `limits` counts calls. `reader` is for lists:
    a replica, if there is one, which may lag behind.

    `subscriptions`: where browsers' subscriptions may lead with the operator's account; None, like `vapid_public_key`,
    without one. A project's own: `client.web_push_of`.

    `report_secrets`: what proves that a report is that vendor's for that account; None (like `reports`): none are
    awaited. `unsubscribe_key`: empty, nobody can unsubscribe by a link.

    `vault`: seals credentials of projects' accounts; `outside`: where those accounts may lead;
    `chats`: where chat URLs of users may.
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
    vault: Vault | None = None
    unsubscribe_key: bytes = b""
    reports: ReportReader | None = None
    report_secrets: ReportSecrets | None = None
    outside: Outside = Outside()
    chats: Guard = Guard()


def services(request: Request[Any, Any, Any]) -> Services:
    """The services of the application that got this request."""
    found: Services = request.app.state["services"]
    return found
