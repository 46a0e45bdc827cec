"""What Amazon SES reports, once SNS has carried it here and its signature is verified (`sns.py`).

Sources: Amazon SES Developer Guide, "Amazon SNS notification contents for Amazon SES" and "Contents of event data that
Amazon SES publishes to Amazon SNS"; its pages on bounces say that a transient one comes when SES has given up.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct, field

from tidings.discreet import Discreet
from tidings.providers.contract import BadReport, Fate, Reason, Report
from tidings.providers.report_text import MOST_REPORTS, clean, decode, failure, find_reference, find_status

_NO_COMPLAINT = "not-spam"  # RFC 5965 §7.3: somebody took the message out of the spam folder


class _Header(Discreet, frozen=True):
    name: str = ""
    value: str = ""


class _Common(Struct, frozen=True, rename="camel"):
    message_id: str = ""


class _Mail(Discreet, frozen=True, rename="camel"):
    message_id: str = ""
    source: str = ""
    destination: tuple[str, ...] = ()
    headers: tuple[_Header, ...] = ()
    common_headers: _Common = _Common()
    tags: dict[str, tuple[str, ...]] = field(default_factory=dict)


class _Recipient(Struct, frozen=True, rename="camel"):
    email_address: str = ""
    status: str | None = None
    diagnostic_code: str | None = None


class _Bounce(Struct, frozen=True, rename="camel"):
    bounce_type: str = ""
    bounce_sub_type: str = ""
    bounced_recipients: tuple[_Recipient, ...] = ()


class _Complaint(Struct, frozen=True, rename="camel"):
    complained_recipients: tuple[_Recipient, ...] = ()
    complaint_feedback_type: str | None = None


class _Delivery(Struct, frozen=True):
    recipients: tuple[str, ...] = ()


class _Reject(Struct, frozen=True):
    reason: Any = None


class _Event(Struct, frozen=True, rename="camel"):
    mail: _Mail
    notification_type: str = ""
    event_type: str = ""
    bounce: _Bounce | None = None
    complaint: _Complaint | None = None
    delivery: _Delivery | None = None
    reject: _Reject | None = None


def reports_of(message: str) -> list[Report]:
    """What one SES event says, a report for each recipient; nothing for those that decide nothing.

    Raises BadReport for what SES does not send. SES writes a text for people once, when a topic is set up.
    """
    if message.startswith("Successfully validated SNS topic"):
        return []
    event = decode(message.encode("utf-8", "replace"), _Event)
    found = list(_reports(event))
    if len(found) > MOST_REPORTS:
        raise BadReport("There are more recipients than SES takes.")
    return found


def _reports(event: _Event) -> Iterator[Report]:
    mail = event.mail
    reference = find_reference(_ours(mail))
    match event.event_type or event.notification_type:
        case "Bounce" if event.bounce:
            for one in event.bounce.bounced_recipients:
                about = _about(mail, reference, one.email_address, one.diagnostic_code)
                status = find_status(one.status) or find_status(one.diagnostic_code)
                yield from _bounced(about, event.bounce, status)
        case "Complaint" if event.complaint and event.complaint.complaint_feedback_type != _NO_COMPLAINT:
            for one in event.complaint.complained_recipients:
                yield _about(mail, reference, one.email_address, None, Fate.COMPLAINED)
        case "Delivery" if event.delivery:
            for address in event.delivery.recipients:
                yield _about(mail, reference, address, None, Fate.DELIVERED)
        case "Reject" | "Rendering Failure":
            said = event.reject.reason if event.reject else None
            for address in mail.destination:
                yield _about(mail, reference, address, said, Fate.FAILED, Reason.INVALID_MESSAGE)


def _ours(mail: _Mail) -> Iterable[str]:
    """Where a reference of ours may stand: tags, our Message-ID and headers, and the return path."""
    for values in mail.tags.values():
        yield from values
    yield mail.common_headers.message_id
    for header in mail.headers:
        if header.name.lower() == "message-id" or header.name.lower().startswith("x-"):
            yield header.value
    yield mail.source


def _bounced(about: Report, bounce: _Bounce, status: str) -> Iterator[Report]:
    if bounce.bounce_sub_type == "UnsubscribedRecipient":
        yield _with(about, Fate.FAILED, Reason.OPTED_OUT)
        yield _with(about, Fate.OPTED_OUT, None)
    elif bounce.bounce_type == "Permanent":
        yield failure(status, about)
    else:
        yield _with(about, Fate.FAILED, failure(status, about, unless_known=Fate.FAILED).reason)


def _about(
    mail: _Mail, reference: str, address: str, said: object, fate: Fate = Fate.FAILED, reason: Reason | None = None
) -> Report:
    return Report(fate, reference, address, mail.message_id or None, reason, clean(said))


def _with(about: Report, fate: Fate, reason: Reason | None) -> Report:
    return Report(fate, about.reference, about.address, about.provider_message_id, reason, about.detail)
