"""The phones behind the emulated vendors: what each received, within bounds.

A phone is its address: a device token, or `/topics/<name>` and `/condition/<text>` for what was addressed so.
"""

from collections import OrderedDict
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from tidings import clock
from tidings.emulators.accepted import Accepted
from tidings.emulators.confirmations import Confirmations

_MAX_PHONES = 100_000
_MAX_MESSAGES = 100
_MAX_BYTES = 32 * 1024 * 1024
_CONFIRMING = "confirming-"

# Where a message carries its own id and the address of its receipt.
ID_KEY = "tidings_id"
RECEIPT_KEY = "tidings_receipt"


class Received(Struct, frozen=True, gc=False):
    """One message on one phone. `body`: the vendor request as it came, JSON."""

    message_id: str
    at: datetime
    body: bytes


class Phones:
    """The last 100 messages of each of the last 100,000 phones, and no more than 32 MiB of them in all.

    Beyond that the phone that was quiet the longest is forgotten; the counters keep counting.
    """

    def __init__(self, accepted: Accepted, confirmations: Confirmations) -> None:
        self._accepted = accepted
        self._confirmations = confirmations
        self._kept: OrderedDict[str, list[Received]] = OrderedDict()
        self._bytes = 0
        self._confirming: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def receive(self, token: str, message_id: str, body: bytes, data: dict[str, str]) -> None:
        """A vendor has taken `body` for this phone; `data` is the message's own data."""
        self._accepted.note(data.get(ID_KEY), token)
        messages = self._kept.get(token)
        if messages is None:
            messages = self._kept[token] = []
        else:
            self._kept.move_to_end(token)
        messages.append(Received(message_id, clock.now(), body))
        self._bytes += len(body)
        if len(messages) > _MAX_MESSAGES:
            self._bytes -= len(messages.pop(0).body)
        while self._bytes > _MAX_BYTES or len(self._kept) > _MAX_PHONES:
            self._bytes -= sum(len(message.body) for message in self._kept.popitem(last=False)[1])
        receipt = data.get(RECEIPT_KEY)
        if receipt and self.confirms(token):
            self._confirmations.later(receipt)

    def messages(self, token: str) -> list[Received]:
        """What the phone received, oldest first; empty for one that isn't known."""
        return list(self._kept.get(token, ()))

    def confirms(self, token: str) -> bool:
        """Whether the phone calls the receipt address of what it receives."""
        return token.startswith(_CONFIRMING) or token in self._confirming

    def register(self, token: str, confirms: bool) -> None:
        """Make a phone a confirming one, or not. Twice is safe."""
        self._confirming.pop(token, None)
        if confirms:
            self._confirming[token] = None
            if len(self._confirming) > _MAX_PHONES:
                self._confirming.popitem(last=False)

    def clear(self) -> None:
        """Forget all phones and what they received."""
        self._kept.clear()
        self._confirming.clear()
        self._bytes = 0

    def listing(self, limit: int) -> list[dict[str, Any]]:
        """The phones that received something last, newest first."""
        found: list[dict[str, Any]] = []
        for token in reversed(self._kept):
            if len(found) >= limit:
                break
            count = len(self._kept[token])
            found.append({"token": token, "messages": count, "confirms": self.confirms(token)})
        return found

    def shown(self, token: str) -> list[dict[str, Any]]:
        """A phone's messages as the API shows them."""
        return [
            {"message_id": item.message_id, "received_at": item.at, "request": msgspec.json.decode(item.body)}
            for item in self.messages(token)
        ]
