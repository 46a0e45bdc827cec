"""The mailboxes behind the emulated relay: what each received, within bounds, and whether its signature is good."""

import logging
from collections import OrderedDict
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from importlib import import_module
from typing import Any

from msgspec import Struct

from tidings import clock
from tidings.emulators.accepted import Accepted

_MAX_MAILBOXES = 100_000
_MAX_MAILS = 100
_MAX_BYTES = 32 * 1024 * 1024
_MAX_RECORDS = 1000
_MAX_SHOWN = 200_000

# Where a mail carries the id of its notification.
ID_HEADER = b"\r\nX-Tidings-Id:"

# dkimpy logs why a signature is not good; here that is an answer, not an event.
_quiet = logging.getLogger("tidings.emulators.dkim")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


class Received(Struct, frozen=True, gc=False):
    """One mail in one mailbox. `raw`: as it came, without dot-stuffing. `queue_id`: what the sender was told."""

    queue_id: str
    at: datetime
    return_path: str
    recipient: str
    raw: bytes


class Mailboxes:
    """The last 100 mails of each of the last 100,000 mailboxes, and no more than 32 MiB of them in all.

    Beyond that the mailbox that was quiet the longest is forgotten; the counters keep counting. Addresses are
    compared in lower case.
    """

    def __init__(self, accepted: Accepted) -> None:
        self._accepted = accepted
        self._kept: OrderedDict[str, list[Received]] = OrderedDict()
        self._bytes = 0
        self._records: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def receive(self, mail: Received) -> None:
        """Put a mail into its mailbox. Mail of the relay itself (return path "") is not counted as accepted."""
        if mail.return_path:
            self._accepted.note(_id_of(mail.raw), mail.recipient)
        address = mail.recipient.lower()
        mails = self._kept.get(address)
        if mails is None:
            mails = self._kept[address] = []
        else:
            self._kept.move_to_end(address)
        mails.append(mail)
        self._bytes += len(mail.raw)
        if len(mails) > _MAX_MAILS:
            self._bytes -= len(mails.pop(0).raw)
        while self._bytes > _MAX_BYTES or len(self._kept) > _MAX_MAILBOXES:
            self._bytes -= sum(len(one.raw) for one in self._kept.popitem(last=False)[1])

    def mails(self, address: str) -> list[Received]:
        """What the mailbox received, oldest first; empty for one that isn't known."""
        return list(self._kept.get(address.lower(), ()))

    def clear(self) -> None:
        """Forget all mailboxes and what they received; DNS records stay."""
        self._kept.clear()
        self._bytes = 0

    def publish(self, name: str, record: str) -> None:
        """Put a TXT record into the emulated DNS (`selector._domainkey.example.org`). Twice is safe."""
        self._records[name.rstrip(".").lower()] = record
        if len(self._records) > _MAX_RECORDS:
            self._records.popitem(last=False)

    def listing(self, limit: int) -> list[dict[str, Any]]:
        """The mailboxes that received something last, newest first."""
        found: list[dict[str, Any]] = []
        for address in reversed(self._kept):
            if len(found) >= limit:
                break
            found.append({"address": address, "messages": len(self._kept[address])})
        return found

    def shown(self, address: str) -> list[dict[str, Any]]:
        """A mailbox' mails as the API shows them."""
        return [self._show(mail) for mail in self.mails(address)]

    def verdict(self, raw: bytes) -> bool | None:
        """Whether the mail's DKIM signature is good by the emulated DNS; None: it has none."""
        if b"dkim-signature:" not in raw.partition(b"\r\n\r\n")[0].lower():
            return None

        def look_up(name: bytes, timeout: int = 5) -> bytes | None:
            record = self._records.get(name.decode(errors="replace").rstrip(".").lower())
            return record.encode() if record is not None else None

        # Imported when first needed: it brings a DNS client along, 10 MB that most processes never use.
        dkim = import_module("dkim")
        return bool(dkim.verify(raw, logger=_quiet, dnsfunc=look_up))

    def _show(self, mail: Received) -> dict[str, Any]:
        parsed = BytesParser(policy=policy.default).parsebytes(mail.raw)
        return {
            "message_id": mail.queue_id,
            "received_at": mail.at,
            "return_path": mail.return_path,
            "to": mail.recipient,
            "subject": str(parsed.get("subject", "")),
            "text": _part(parsed, "plain"),
            "html": _part(parsed, "html"),
            "headers": [[name, str(value)] for name, value in parsed.items()],
            "dkim": self.verdict(mail.raw),
            "raw": mail.raw[:_MAX_SHOWN].decode(errors="replace"),
        }


def put(boxes: Mailboxes, queue_id: str, return_path: str, recipient: str, raw: bytes) -> None:
    """Put a mail that came just now into its mailbox."""
    boxes.receive(Received(queue_id, clock.now(), return_path, recipient, raw))


def _part(parsed: EmailMessage, subtype: str) -> str | None:
    part = parsed.get_body((subtype,))
    if part is None:
        return None
    content = part.get_content()
    return content.replace("\r\n", "\n") if isinstance(content, str) else None


def _id_of(raw: bytes) -> str | None:
    head = raw[: raw.find(b"\r\n\r\n") + 2]
    start = head.find(ID_HEADER)
    if start < 0:
        return None
    start += len(ID_HEADER)
    return head[start : head.find(b"\r\n", start)].strip().decode("ascii", errors="replace")
