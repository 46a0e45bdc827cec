"""What SendGrid reports: the Event Webhook, a signed list of events.

Sources: SendGrid, "Event Webhook Reference" and "Getting Started with the Event Webhook Security Features".
"""

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tidings.providers.contract import BadReport, Fate, Reason, Report
from tidings.providers.report_secrets import Secrets
from tidings.providers.report_text import MOST_REPORTS, clean, decode, failure, find_reference, find_status

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
WINDOW = timedelta(hours=48)  # SendGrid repeats a post that was not taken for a day
AHEAD = timedelta(minutes=5)  # for clocks that differ

# Of all fields of an event: what the vendor or the other side wrote, where no reference of ours can stand.
_NOT_OURS = frozenset({"email", "event", "reason", "response", "type", "url", "useragent", "ip", "status", "category"})

# Why SendGrid did not even try ("dropped"), by the beginning of its reason.
_DROPS: tuple[tuple[str, Fate], ...] = (
    ("bounced address", Fate.BOUNCED),
    ("invalid", Fate.BOUNCED),
    ("spam reporting address", Fate.COMPLAINED),
    ("unsubscribed address", Fate.OPTED_OUT),
)
_NOT_THE_ADDRESS = ("invalid smtpapi",)


def read(headers: Mapping[str, str], body: bytes, secrets: Secrets, now: datetime) -> list[Report]:
    """The reports in one post. Raises BadReport (`forged` when the signature is not SendGrid's, or is old)."""
    verify(headers, body, secrets.secret, now)
    events = decode(body, list[dict[str, Any]])
    if len(events) > MOST_REPORTS:
        raise BadReport("There are more events than SendGrid sends at once.")
    return [report for event in events for report in reports_of(event)]


def verify(headers: Mapping[str, str], body: bytes, public_key: str, now: datetime) -> None:
    """The signature is ECDSA on P-256 over the timestamp and the body, which must be the very bytes that came."""
    timestamp = headers.get(TIMESTAMP, "")
    try:
        signature = base64.b64decode(headers.get(SIGNATURE, ""), validate=True)
    except ValueError:
        raise BadReport("The signature is not base64.", forged=True) from None
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        raise BadReport("The signature has no timestamp.", forged=True)
    try:
        key = load_der_public_key(base64.b64decode(public_key, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        raise BadReport("SendGrid's verification key can't be read: take it from its page again.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BadReport("SendGrid's verification key is of the wrong kind: take it from its page again.")
    try:
        key.verify(signature, timestamp.encode() + body, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise BadReport("The signature is wrong.", forged=True) from None
    age_s = now.timestamp() - int(timestamp)
    if not -AHEAD.total_seconds() <= age_s <= WINDOW.total_seconds():
        raise BadReport("The signature is too old, or from the future.", forged=True)


def reports_of(event: Mapping[str, Any]) -> list[Report]:
    """What one event says; nothing for those that decide nothing, such as `deferred` and `open`."""
    kind, reason = event.get("event"), str(event.get("reason") or "")
    address = event.get("email")
    about = Report(
        Fate.FAILED,
        reference=find_reference(value for name, value in event.items() if name not in _NOT_OURS),
        address=address if isinstance(address, str) else "",
        provider_message_id=_text(event.get("sg_message_id")),
        detail=clean(event.get("reason")),
    )
    match kind:
        case "delivered":
            return [_as(about, Fate.DELIVERED)]
        case "bounce":
            blocked = event.get("type") == "blocked"
            status = find_status(event.get("status")) or find_status(reason)
            return [failure(status, about, unless_known=Fate.FAILED if blocked else Fate.BOUNCED)]
        case "dropped":
            return _dropped(about, reason.lower())
        case "spamreport":
            return [_as(about, Fate.COMPLAINED)]
        case "unsubscribe":
            return [_as(about, Fate.OPTED_OUT)]
    return []


def _dropped(about: Report, reason: str) -> list[Report]:
    if not reason.startswith(_NOT_THE_ADDRESS):
        for beginning, fate in _DROPS:
            if reason.startswith(beginning):
                if fate is Fate.BOUNCED:
                    return [_as(about, fate, Reason.INVALID_ADDRESS)]
                return [_as(about, Fate.FAILED, Reason.OPTED_OUT), _as(about, fate)]
    return [_as(about, Fate.FAILED, Reason.INVALID_MESSAGE)]


def _as(about: Report, fate: Fate, reason: Reason | None = None) -> Report:
    return Report(fate, about.reference, about.address, about.provider_message_id, reason, about.detail)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
