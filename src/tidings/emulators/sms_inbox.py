"""The telephones behind the emulated SMS vendors: what each received, who stopped whom, and what they text back.

| call | does |
|---|---|
| `GET /inboxes?limit=`, `DELETE /inboxes` | numbers that received something; forget all, opt-outs too |
| `GET /inboxes/{number}` | what one number received, oldest first |
| `POST /inboxes/{number}` | `{"text": "STOP", …}`: this number texts back, see `Reply` |

A reply reaches Tidings as the vendor's signed webhook.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Struct

from tidings import clock
from tidings.emulators.accepted import Accepted
from tidings.emulators.confirmations import is_loopback
from tidings.emulators.exchange import Request, Response
from tidings.providers.contract import Fate
from tidings.providers.sms_words import fate_of

INBOXES = "/inboxes"
_MAX_NUMBERS = 100_000
_MAX_MESSAGES = 100
_MAX_BYTES = 32 * 1024 * 1024
_MAX_LISTED = 1000
_JSON = (("content-type", "application/json"),)


class Received(Struct, frozen=True, gc=False):
    """One text message. `webhook`: where the vendor was told to report about it, "" for nowhere."""

    vendor: str
    message_id: str
    sender: str
    text: str
    segments: int
    at: datetime
    webhook: str = ""


class Reply(Struct, frozen=True, forbid_unknown_fields=True):
    """What a number texts back. `vendor`, `to` and `url` are those of the last message it received unless given:
    whom it answers, and where the vendor posts it."""

    text: str
    vendor: str | None = None
    to: str | None = None
    url: str | None = None


class Inboxes:
    """The last 100 messages of each of the last 100,000 numbers, and no more than 32 MiB of them in all.

    `replies`: for each vendor, what posts a text message that came in: from, to, text, URL.
    """

    def __init__(self, accepted: Accepted, local_only: bool) -> None:
        self.replies: dict[str, Callable[[str, str, str, str], None]] = {}
        self._accepted = accepted
        self._local_only = local_only
        self._kept: OrderedDict[str, list[Received]] = OrderedDict()
        self._bytes = 0
        self._stopped: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def receive(self, number: str, message: Received, reference: str | None) -> None:
        """A vendor took this message. `reference`: by which Tidings knows it, so that duplicates are counted."""
        self._accepted.note(reference, number)
        messages = self._kept.get(number)
        if messages is None:
            messages = self._kept[number] = []
        else:
            self._kept.move_to_end(number)
        messages.append(message)
        self._bytes += len(message.text)
        if len(messages) > _MAX_MESSAGES:
            self._bytes -= len(messages.pop(0).text)
        while self._bytes > _MAX_BYTES or len(self._kept) > _MAX_NUMBERS:
            self._bytes -= sum(len(each.text) for each in self._kept.popitem(last=False)[1])

    def messages(self, number: str) -> list[Received]:
        """What the number received, oldest first; empty for one that isn't known."""
        return list(self._kept.get(number, ()))

    def stopped(self, number: str, sender: str) -> bool:
        """Whether the number told this sender to stop. Vendors keep such a list of their own."""
        return (number, sender) in self._stopped

    def reply(self, number: str, reply: Reply) -> None:
        """The number texts back; STOP and START also change the vendor's own list. Raises ValueError when it is
        not known to whom, or by which vendor."""
        last = self._kept[number][-1] if number in self._kept else None
        vendor = reply.vendor or (last.vendor if last else "")
        sender = reply.to or (last.sender if last else "")
        url = reply.url or (last.webhook if last else "")
        if vendor not in self.replies or not sender or not url:
            raise ValueError("this number has received nothing to answer: name vendor, to and url")
        fate = fate_of(reply.text)
        if fate is Fate.OPTED_OUT:
            self._stopped[number, sender] = None
            if len(self._stopped) > _MAX_NUMBERS:
                self._stopped.popitem(last=False)
        elif fate is Fate.OPTED_IN:
            self._stopped.pop((number, sender), None)
        self.replies[vendor](number, sender, reply.text, url)

    def clear(self) -> None:
        """Forget all messages and all opt-outs."""
        self._kept.clear()
        self._stopped.clear()
        self._bytes = 0

    def answer(self, request: Request) -> Response:
        """Any call of the table above; 404 for others."""
        # As for the emulators' other control calls: no page in a browser on this machine may make them.
        if self._local_only and not is_loopback(f"http://{request.headers.get('host', '')}"):
            return _problem(421, "this emulator answers to localhost only")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            return _problem(415, "send application/json")
        number = unquote(request.path.removeprefix(INBOXES).strip("/"))
        try:
            match request.method:
                case "GET" if number:
                    return _json({"number": number, "messages": self.messages(number)})
                case "GET":
                    return _json(self._listing(request))
                case "DELETE" if not number:
                    self.clear()
                    return Response(204)
                case "POST" if number:
                    self.reply(number, msgspec.json.decode(request.body, type=Reply))
                    return Response(204)
        except ValueError as error:  # msgspec's errors are ValueErrors
            return _problem(400, str(error))
        return _problem(404, "no such call")

    def _listing(self, request: Request) -> dict[str, Any]:
        text = parse_qs(request.query).get("limit", [str(_MAX_LISTED)])[0]
        if not (text.isascii() and text.isdigit()):
            raise ValueError("limit must be a whole number")
        most = min(int(text[:9]), _MAX_LISTED)
        newest = [number for number, _ in zip(reversed(self._kept), range(most), strict=False)]
        inboxes = [{"number": number, "messages": len(self._kept[number])} for number in newest]
        return {"inboxes": inboxes, "total": len(self._kept)}


def now_received(vendor: str, message_id: str, sender: str, text: str, segments: int, webhook: str) -> Received:
    """A message that arrives at this moment."""
    return Received(vendor, message_id, sender, text, segments, clock.now(), webhook)


def _json(value: Any) -> Response:
    return Response(200, msgspec.json.encode(value), _JSON)


def _problem(status: int, detail: str) -> Response:
    return Response(status, msgspec.json.encode({"error": detail}), _JSON)
