"""The browsers behind the emulated push service: their keys, what reached them, and what waits for them.

A browser decrypts with its own keys (RFC 8291), which is the proof that a real one could. While it is offline
the service keeps its messages as RFC 8030 wants it: until their TTL ends, one for each topic.
"""

import base64
import os
import secrets
import time
from collections import OrderedDict
from datetime import datetime
from hmac import digest
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from tidings import clock
from tidings.emulators.accepted import Accepted
from tidings.emulators.confirmations import Confirmations
from tidings.emulators.phones import ID_KEY, RECEIPT_KEY
from tidings.emulators.webpush_checks import Terms

MAX_BROWSERS = 100_000
_MAX_MESSAGES = 100
_MAX_BYTES = 32 * 1024 * 1024
_CONFIRMING = "confirming-"


class Undecryptable(ValueError):
    """The body is not what RFC 8188 and 8291 make for this browser. A real one would drop it silently."""


class Push(Struct, frozen=True, gc=False):
    """One message as it came. `body` is encrypted, b"" for an empty push; `until`: monotonic seconds."""

    message_id: str
    body: bytes
    content_type: str
    terms: Terms
    until: float


class Received(Struct, frozen=True, gc=False):
    """One message in a browser. `text` None: it could not be decrypted, `problem` says why."""

    message_id: str
    at: datetime
    content_type: str
    terms: Terms
    text: str | None
    problem: str = ""


class Browser:
    """One subscription in one browser, with its keys."""

    def __init__(self, name: str, server_key: str | None, confirms: bool, online: bool) -> None:
        self.name = name
        self.server_key = server_key
        self.confirms = confirms or name.startswith(_CONFIRMING)
        self.online = online
        self.subscribed = True
        self.auth = os.urandom(16)
        self.received: list[Received] = []
        self.waiting: list[Push] = []
        self._key = generate_private_key(SECP256R1())
        self.p256dh = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def subscription(self, origin: str) -> dict[str, Any]:
        """As `PushSubscription.toJSON()` gives it."""
        keys = {"p256dh": _text(self.p256dh), "auth": _text(self.auth)}
        return {"endpoint": f"{origin}/push/{self.name}", "expirationTime": None, "keys": keys}

    def decrypt(self, body: bytes) -> bytes:
        """The plain text of one aes128gcm record. Raises Undecryptable."""
        salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20] if len(body) > 20 else 0
        sender, sealed = body[21 : 21 + length], body[21 + length :]
        if length != 65 or not 17 < len(sealed) <= size:
            raise Undecryptable("not one whole record")
        try:
            public = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), sender)
        except ValueError as error:
            raise Undecryptable("the sender's key is no point of P-256") from error
        shared = self._key.exchange(ECDH(), public)
        info = b"WebPush: info\x00" + self.p256dh + sender + b"\x01"
        ikm = digest(digest(self.auth, shared, "sha256"), info, "sha256")
        prk = digest(salt, ikm, "sha256")
        key = digest(prk, b"Content-Encoding: aes128gcm\x00\x01", "sha256")[:16]
        nonce = digest(prk, b"Content-Encoding: nonce\x00\x01", "sha256")[:12]
        try:
            record = AESGCM(key).decrypt(nonce, sealed, None).rstrip(b"\x00")
        except InvalidTag as error:
            raise Undecryptable("encrypted for other keys, or damaged") from error
        if record[-1:] != b"\x02":
            raise Undecryptable("no delimiter of a last record")
        return record[:-1]


class Browsers:
    """At most 100,000, each with its last 100 messages, and no more than 32 MiB of messages in all.

    Beyond that the browser that was quiet the longest is forgotten.
    """

    def __init__(self, accepted: Accepted, confirmations: Confirmations) -> None:
        self._accepted = accepted
        self._confirmations = confirmations
        self._kept: OrderedDict[str, Browser] = OrderedDict()
        self._bytes = 0
        self.undecryptable = 0

    def __len__(self) -> int:
        return len(self._kept)

    def create(
        self,
        name: str | None = None,
        server_key: str | None = None,
        confirms: bool = False,
        online: bool = True,
    ) -> Browser:
        """A browser that has just subscribed; one of the same name is replaced. `server_key`: the
        `applicationServerKey` that it subscribed with, None: it takes messages of every sender."""
        browser = Browser(name or secrets.token_urlsafe(24), server_key, confirms, online)
        self._forget(browser.name)
        self._kept[browser.name] = browser
        self._trim()
        return browser

    def get(self, name: str) -> Browser | None:
        """The browser of that name."""
        return self._kept.get(name)

    def newest(self, limit: int) -> list[Browser]:
        """The browsers that received something last, newest first."""
        names = list(self._kept)[: -limit - 1 : -1]
        return [self._kept[name] for name in names]

    def take(self, browser: Browser, push: Push) -> None:
        """The push service has taken a message: deliver it, or keep it while the browser is offline."""
        if browser.online:
            self._deliver(browser, push)
        elif push.terms.ttl_s > 0:
            if push.terms.topic:
                browser.waiting = [each for each in browser.waiting if each.terms.topic != push.terms.topic]
            browser.waiting = [*browser.waiting, push][-_MAX_MESSAGES:]

    def cancel(self, message_id: str) -> bool:
        """The sender takes back a message that waits (RFC 8030 §7.2). False: there is none."""
        for browser in self._kept.values():
            for push in browser.waiting:
                if push.message_id == message_id:
                    browser.waiting.remove(push)
                    return True
        return False

    def go(self, browser: Browser, online: bool) -> None:
        """Online: what waits and has not expired is delivered, oldest first. Twice is safe."""
        browser.online = online
        if online:
            waiting, browser.waiting = browser.waiting, []
            for push in waiting:
                if push.until > time.monotonic():
                    self._deliver(browser, push)

    def clear(self) -> None:
        """Forget all browsers and what they received."""
        self._kept.clear()
        self._bytes = self.undecryptable = 0

    def _deliver(self, browser: Browser, push: Push) -> None:
        text, problem = None, ""
        try:
            text = browser.decrypt(push.body).decode() if push.body else ""
        except (Undecryptable, UnicodeDecodeError) as error:
            problem = str(error)
            self.undecryptable += 1
        data = _data(text)
        tidings_id = data.get(ID_KEY)
        self._accepted.note(tidings_id if isinstance(tidings_id, str) else None, browser.name)
        self._bytes += len(text or "")
        browser.received.append(Received(push.message_id, clock.now(), push.content_type, push.terms, text, problem))
        if len(browser.received) > _MAX_MESSAGES:
            self._bytes -= len(browser.received.pop(0).text or "")
        if browser.name in self._kept:
            self._kept.move_to_end(browser.name)
        self._trim()
        receipt = data.get(RECEIPT_KEY)
        if browser.confirms and isinstance(receipt, str):
            self._confirmations.later(receipt)

    def _trim(self) -> None:
        while self._kept and (self._bytes > _MAX_BYTES or len(self._kept) > MAX_BROWSERS):
            self._forget(next(iter(self._kept)))

    def _forget(self, name: str) -> None:
        browser = self._kept.pop(name, None)
        if browser is not None:
            self._bytes -= sum(len(each.text or "") for each in browser.received)


def shown(received: Received) -> dict[str, Any]:
    """A message as the API shows it; `message` is the plain text as JSON, None when it is none."""
    return {
        "message_id": received.message_id,
        "received_at": received.at,
        "content_type": received.content_type,
        "ttl": received.terms.ttl_s,
        "urgency": received.terms.urgency,
        "topic": received.terms.topic,
        "text": received.text,
        "message": _json(received.text),
        "problem": received.problem,
    }


def _data(text: str | None) -> dict[str, Any]:
    whole = _json(text)
    data = whole.get("data") if isinstance(whole, dict) else None
    return data if isinstance(data, dict) else {}


def _json(text: str | None) -> Any:
    try:
        return msgspec.json.decode(text or "null")
    except (msgspec.DecodeError, RecursionError):
        return None


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
