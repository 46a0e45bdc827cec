"""Bounces and complaints that come back as mail: delivery status notifications and feedback reports.

RFC 3464 (message/delivery-status in a multipart/report), RFC 3461 §4.4 (the envelope id), RFC 3463 (status codes),
RFC 5965 (feedback reports), RFC 6522 (multipart/report). Mail is not signed and anybody can send some, so what is read
here is worth no more than the reference in it; who takes the reports must say so (`reports.take`, `signed`).
"""

import re
from collections.abc import Iterable, Iterator
from email import message_from_bytes, policy
from email.message import Message
from email.utils import getaddresses

from tidings.providers.contract import BadReport, Fate, Reason, Report
from tidings.providers.report_text import clean, failure, find_reference, find_status

MOST_BYTES = 256 * 1024  # what is read of a bounce; what comes later is the mail that bounced
MOST_PARTS = 40  # more boundaries or mails in mails than this is no bounce: parsing is quadratic in them
MOST_RECIPIENTS = 20  # ours have one
MOST_TEXT = 16 * 1024

_NESTING = re.compile(rb"boundary\s*=|content-type:\s*(?:message|multipart)/", re.IGNORECASE)
_RETURNED = frozenset(
    ("message/rfc822", "text/rfc822-headers", "message/rfc822-headers", "message/global", "message/global-headers")
)
_BOUNCER = re.compile(r"\b(?:mailer-daemon|postmaster|mail-daemon|mail\.daemon)@", re.IGNORECASE)
_NOBODY = re.compile(
    r"user (?:is )?unknown|unknown user|no such (?:user|mailbox|recipient|address)|does ?n[o']t exist"
    r"|(?:mailbox|address|recipient) (?:not found|unavailable|unknown)|no mailbox here|invalid (?:mailbox|recipient)",
    re.IGNORECASE,
)
_REPLY = re.compile(r"(?<![0-9.])5[0-9][0-9](?=[ -])", re.ASCII)
_PARSING = (ValueError, LookupError, TypeError, AttributeError, RecursionError, AssertionError)
"""What the standard library's parser and its decoders may raise for hostile mail."""


def read(mail: bytes) -> list[Report]:
    """The reports in a mail; none for one that reports nothing final: a delay, an automatic reply, a stray letter.

    Takes a few milliseconds of computing at most. Raises BadReport, and nothing else, for what is no mail.
    """
    mail = mail[:MOST_BYTES]
    if not mail.strip() or b"\x00" in mail[:1024]:
        raise BadReport("This is not a mail.")
    if len(_NESTING.findall(mail)) > MOST_PARTS:
        raise BadReport("The mail has more parts than a bounce has.")
    try:
        message = message_from_bytes(mail, policy=policy.compat32)
        if not message.keys():
            raise BadReport("This is not a mail: it has no headers.")
        return list(_reports(message))
    except _PARSING as error:
        raise BadReport(f"The mail can't be read ({type(error).__name__}).") from None


def _reports(message: Message) -> Iterator[Report]:
    parts = list(message.walk())
    reference = find_reference(_ours(message, parts))
    for part in parts:
        if part.get_content_type() in ("message/delivery-status", "message/global-delivery-status"):
            yield from _statuses(part, reference)
            return
        if part.get_content_type() == "message/feedback-report":
            yield from _feedback(part, reference)
            return
    if _is_bounce(message):
        yield from _guess(message, parts, reference)


def _ours(message: Message, parts: Iterable[Message]) -> Iterator[str]:
    """Where a reference of ours may stand, the surest first: headers of the mail that came back, the envelope id that
    we gave, and the address that the bounce was sent to (a return path of its own for each mail, "VERP")."""
    for part in parts:
        kind = part.get_content_type()
        if kind in _RETURNED:
            returned = part.get_payload()
            if isinstance(returned, list) and returned and isinstance(returned[0], Message):
                yield from _headers(returned[0], "message-id", "x-tidings-reference", "return-path")
            else:
                lines = _text(part).splitlines()
                yield from (line for line in lines[:500] if line.lower().startswith(("message-id:", "x-tidings-ref")))
        elif kind in ("message/delivery-status", "message/global-delivery-status"):
            for block in _blocks(part):
                yield from _headers(block, "original-envelope-id")
        elif kind == "message/feedback-report":
            for block in _feedback_blocks(part):
                yield from _headers(block, "original-envelope-id", "original-mail-from")
    yield from _headers(message, "to", "delivered-to", "x-original-to", "in-reply-to", "references")


def _headers(message: Message, *names: str) -> Iterator[str]:
    for name in names:
        yield from (str(value) for value in message.get_all(name, [])[:20])


def _blocks(part: Message) -> list[Message]:
    """The groups of fields of a delivery status, which the parser reads as mails without a body."""
    payload = part.get_payload()
    return [block for block in payload if isinstance(block, Message)] if isinstance(payload, list) else []


def _statuses(part: Message, reference: str) -> Iterator[Report]:
    """RFC 3464 §2.3: one group of fields for each recipient, after the one about the mail as a whole."""
    for block in [each for each in _blocks(part) if "action" in each][:MOST_RECIPIENTS]:
        action = str(block.get("action", "")).strip().lower()
        said = str(block.get("diagnostic-code", ""))
        status = find_status(str(block.get("status", ""))) or find_status(said)
        address = _mailbox(str(block.get("original-recipient") or block.get("final-recipient") or ""))
        about = Report(Fate.FAILED, reference, address, detail=clean(said) or clean(status))
        if action == "delivered":
            yield Report(Fate.DELIVERED, reference, address)
        elif action == "failed":
            yield failure(status, about, unless_known=Fate.FAILED)


def _mailbox(field: str) -> str:
    """`rfc822; a@b` → a@b (RFC 3464 §2.3.1)."""
    return field.partition(";")[2].strip().strip("<>")


def _feedback_blocks(part: Message) -> list[Message]:
    blocks = _blocks(part)
    return blocks or [message_from_bytes(_text(part).encode("utf-8", "replace"), policy=policy.compat32)]


def _feedback(part: Message, reference: str) -> Iterator[Report]:
    """RFC 5965 §3.1. All but `not-spam` (§7.3 and RFC 6430) is a complaint, opt-outs are what they say."""
    for block in _feedback_blocks(part)[:1]:
        kind = str(block.get("feedback-type", "")).strip().lower()
        address = _mailbox(f";{block.get('original-rcpt-to', '')}")
        if kind.startswith("opt-out"):
            yield Report(Fate.OPTED_OUT, reference, address)
        elif kind and kind != "not-spam":
            yield Report(Fate.COMPLAINED, reference, address, detail=clean(kind))


def _is_bounce(message: Message) -> bool:
    """Whether a mail that is no report looks like one all the same, as those of old or odd servers do."""
    if str(message.get("auto-submitted", "")).lower().startswith("auto-replied"):
        return "x-failed-recipients" in message
    senders = [address for _, address in getaddresses([str(message.get("from", ""))[:1_000]])]
    return (
        "x-failed-recipients" in message
        or str(message.get("return-path", "")).strip() == "<>"
        or any(_BOUNCER.match(address) for address in senders)
    )


def _guess(message: Message, parts: Iterable[Message], reference: str) -> Iterator[Report]:
    """From the words for people, and only when they speak of a final failure."""
    words = next((_text(part) for part in parts if part.get_content_type() == "text/plain"), "")
    status = find_status(words)
    address = str(message.get("x-failed-recipients", "")).partition(",")[0].strip()
    about = Report(Fate.FAILED, reference, address)
    if status.startswith("5"):
        yield failure(status, about, unless_known=Fate.FAILED)
    elif not status and (reply := _REPLY.search(words)):
        nobody = reply[0] in ("550", "551", "553") and _NOBODY.search(words)
        fate, reason = (Fate.BOUNCED, Reason.INVALID_ADDRESS) if nobody else (Fate.FAILED, Reason.UNAVAILABLE)
        yield Report(fate, reference, address, None, reason)


def _text(part: Message) -> str:
    """The beginning of a part's text."""
    payload = part.get_payload(decode=True)
    return payload[:MOST_TEXT].decode("utf-8", "replace") if isinstance(payload, bytes) else ""
