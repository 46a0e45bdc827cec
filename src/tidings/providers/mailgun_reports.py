"""What Mailgun reports: one signed event a post.

Sources: Mailgun, "Webhooks", "Securing webhooks" and "Events: event structure".
"""

import hashlib
import hmac
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field

from tidings.discreet import Discreet
from tidings.providers.contract import BadReport, Fate, Reason, Report
from tidings.providers.report_secrets import Secrets
from tidings.providers.report_text import clean, decode, failure, find_reference, find_status

WINDOW = timedelta(hours=12)  # Mailgun repeats a post that was not taken for 8 hours, with the first signature
AHEAD = timedelta(minutes=5)
MOST_TOKENS = 50_000

# Reasons of a permanent failure for which Mailgun did not even try.
_SUPPRESSED = {
    "suppress-bounce": Fate.BOUNCED,
    "suppress-complaint": Fate.COMPLAINED,
    "suppress-unsubscribe": Fate.OPTED_OUT,
}


class Tokens:
    """Which body each token came with. Mailgun signs time and token but not the event, so whoever has seen one post
    could send another event under its signature; here a token is worth one body. In this process, the latest ones."""

    def __init__(self, most: int = MOST_TOKENS) -> None:
        self._seen: OrderedDict[bytes, bytes] = OrderedDict()
        self._most = most

    def check(self, token: str, body: bytes) -> None:
        """Raises BadReport when the token came with another body. The same post again is fine."""
        key, digest = hashlib.sha256(token.encode()).digest(), hashlib.sha256(body).digest()
        if self._seen.setdefault(key, digest) != digest:
            raise BadReport("The token of this signature was used for another event.", forged=True)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)


class _Signature(Discreet, frozen=True):
    timestamp: str | int
    token: str
    signature: str


class _Message(Discreet, frozen=True):
    headers: dict[str, Any] = field(default_factory=dict)


class _Status(Struct, frozen=True):
    message: Any = None
    description: Any = None
    enhanced_code: Any = field(default=None, name="enhanced-code")


class Event(Discreet, frozen=True):
    """What happened, as far as it is of use here."""

    event: str
    recipient: str = ""
    severity: str = ""
    reason: str = ""
    message: _Message = _Message()
    delivery_status: _Status = field(default=_Status(), name="delivery-status")
    user_variables: dict[str, Any] | list[Any] = field(default_factory=dict, name="user-variables")


class _Post(Discreet, frozen=True):
    signature: _Signature
    event_data: Event = field(name="event-data")


def read(body: bytes, secrets: Secrets, tokens: Tokens, now: datetime) -> list[Report]:
    """The report in one post, if its event decides anything. Raises BadReport (`forged`: not Mailgun's signature)."""
    post = decode(body, _Post)
    verify(post.signature, secrets.secret, now)
    tokens.check(post.signature.token, body)
    return reports_of(post.event_data)


def verify(given: _Signature, key: str, now: datetime) -> None:
    """HMAC-SHA256 over timestamp and token, as hex."""
    timestamp = str(given.timestamp)
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        raise BadReport("The signature has no timestamp.", forged=True)
    wanted = hmac.new(key.encode(), (timestamp + given.token).encode(), "sha256").hexdigest()
    if not hmac.compare_digest(wanted.encode(), given.signature.encode()):
        raise BadReport("The signature is wrong.", forged=True)
    age_s = now.timestamp() - int(timestamp)
    if not -AHEAD.total_seconds() <= age_s <= WINDOW.total_seconds():
        raise BadReport("The signature is too old, or from the future.", forged=True)


def reports_of(event: Event) -> list[Report]:
    """What one event says; nothing for those that decide nothing, such as `opened` and temporary failures."""
    variables = event.user_variables
    ours = [*(variables.values() if isinstance(variables, dict) else ()), event.message.headers.get("message-id")]
    status = event.delivery_status
    about = Report(
        Fate.FAILED,
        reference=find_reference(ours),
        address=event.recipient,
        detail=clean(status.message) or clean(status.description) or clean(event.reason),
    )
    match event.event:
        case "delivered":
            return [_as(about, Fate.DELIVERED)]
        case "failed" if event.severity == "permanent":
            return _failed(about, event)
        case "rejected":
            return [_as(about, Fate.FAILED, Reason.INVALID_MESSAGE)]
        case "complained":
            return [_as(about, Fate.COMPLAINED)]
        case "unsubscribed":
            return [_as(about, Fate.OPTED_OUT)]
    return []


def _failed(about: Report, event: Event) -> list[Report]:
    fate = _SUPPRESSED.get(event.reason)
    if fate is Fate.BOUNCED:
        return [_as(about, fate, Reason.INVALID_ADDRESS)]
    if fate is not None:
        return [_as(about, Fate.FAILED, Reason.OPTED_OUT), _as(about, fate)]
    said = event.delivery_status
    status = find_status(said.enhanced_code) or find_status(said.message)
    return [failure(status, about, unless_known=Fate.BOUNCED if event.reason == "bounce" else Fate.FAILED)]


def _as(about: Report, fate: Fate, reason: Reason | None = None) -> Report:
    return Report(fate, about.reference, about.address, None, reason, about.detail)
