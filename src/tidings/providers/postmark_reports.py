"""What Postmark reports: one event a post, with a user name and password in the webhook's URL as the only proof.

Sources: Postmark, "Webhooks overview: protecting your webhook", "Bounce webhook", "Delivery webhook", "Spam complaint
webhook", "Subscription change webhook", and "Bounce types" of the Bounce API.
"""

import base64
import hmac
from collections.abc import Mapping
from typing import Any

from tidings.discreet import Discreet
from tidings.providers.contract import BadReport, Fate, Reason, Report
from tidings.providers.report_secrets import Secrets
from tidings.providers.report_text import clean, decode, failure, find_reference, find_status

# Types of bounces. Those that are not here fail the message: the address may be good another time.
_UNDECIDED = {"Transient", "DnsError", "AutoResponder", "Subscribe", "ChallengeVerification"}  # Postmark tries again
_DEAD = {"HardBounce", "BadEmailAddress", "ManuallyDeactivated"}
_ABOUT_THE_MESSAGE = {"SpamNotification", "VirusNotification", "Blocked", "DMARCPolicy", "SMTPApiError"}
_ABOUT_THE_MESSAGE |= {"TemplateRenderingFailed", "InboundError"}
_SUPPRESSIONS = {
    "HardBounce": Fate.BOUNCED,
    "SpamComplaint": Fate.COMPLAINED,
    "ManualSuppression": Fate.OPTED_OUT,
}


_NAMES = {
    "record_type": "RecordType",
    "type": "Type",
    "email": "Email",
    "recipient": "Recipient",
    "message_id": "MessageID",
    "details": "Details",
    "description": "Description",
    "metadata": "Metadata",
    "suppress_sending": "SuppressSending",
    "suppression_reason": "SuppressionReason",
}


class Event(Discreet, frozen=True, rename=_NAMES):
    """What happened, as far as it is of use here."""

    record_type: str
    type: str = ""
    email: str = ""
    recipient: str = ""
    message_id: str | None = None
    details: Any = None
    description: Any = None
    metadata: dict[str, Any] | None = None
    suppress_sending: bool = False
    suppression_reason: str | None = None


def read(headers: Mapping[str, str], body: bytes, secrets: Secrets) -> list[Report]:
    """The report in one post, if it decides anything. Raises BadReport (`forged`: not the right user and password)."""
    verify(headers, secrets)
    return reports_of(decode(body, Event))


def verify(headers: Mapping[str, str], secrets: Secrets) -> None:
    """HTTP basic authentication (RFC 7617)."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    wanted = base64.b64encode(f"{secrets.username}:{secrets.secret}".encode())
    if not secrets.secret or scheme.lower() != "basic" or not hmac.compare_digest(wanted, given.strip().encode()):
        raise BadReport("The user name or password in the URL of the webhook is wrong.", forged=True)


def reports_of(event: Event) -> list[Report]:
    """What one event says; nothing for those that decide nothing, such as `Open`."""
    about = Report(
        Fate.FAILED,
        reference=find_reference((event.metadata or {}).values()),
        address=event.recipient or event.email,
        provider_message_id=event.message_id,
        detail=clean(event.details) or clean(event.description),
    )
    match event.record_type:
        case "Delivery":
            return [_as(about, Fate.DELIVERED)]
        case "Bounce":
            return _bounced(about, event)
        case "SpamComplaint":
            return [_as(about, Fate.COMPLAINED)]
        case "SubscriptionChange" if not event.suppress_sending:
            return [_as(about, Fate.OPTED_IN)]
        case "SubscriptionChange":
            return [_as(about, _SUPPRESSIONS.get(event.suppression_reason or "", Fate.OPTED_OUT))]
    return []


def _bounced(about: Report, event: Event) -> list[Report]:
    if event.type in _UNDECIDED:
        return []
    if event.type == "SpamComplaint":
        return [_as(about, Fate.COMPLAINED)]
    if event.type == "Unsubscribe":
        return [_as(about, Fate.OPTED_OUT)]
    if event.type in _ABOUT_THE_MESSAGE:
        return [_as(about, Fate.FAILED, Reason.INVALID_MESSAGE)]
    if event.type in _DEAD:
        return [failure(find_status(event.details), about)]
    return [_as(about, Fate.FAILED, Reason.UNAVAILABLE)]


def _as(about: Report, fate: Fate, reason: Reason | None = None) -> Report:
    return Report(fate, about.reference, about.address, about.provider_message_id, reason, about.detail)
