"""From a message to what a browser gets: the plain text (JSON) and the headers of the push. Pure, on the hot
path.

The JSON has one shape whether the browser shows it itself or a service worker does: `notification`, with the
names of the Notifications API, and `data`. In a declarative message (`web_push: 8030`, WebKit's marker)
Safari needs no service worker; every other browser hands the same JSON to the page's own.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from tidings.discreet import Discreet
from tidings.providers.contract import Message
from tidings.providers.webpush_overrides import MAX_TTL_S

ID_KEY = "tidings_id"
RECEIPT_KEY = "tidings_receipt"
PLAIN, DECLARATIVE = "application/octet-stream", "application/notification+json"

_SHOWN = (
    *("title", "body", "navigate", "icon", "badge", "image", "actions", "tag", "lang", "dir", "silent"),
    *("renotify", "requireInteraction", "timestamp", "vibrate"),
)
_NOTHING: Mapping[str, Any] = {}
_encode = msgspec.json.Encoder().encode


class Built(Discreet, frozen=True, gc=False):
    """A push before its encryption. `ttl`: seconds, as header text. `topic` "": the header is not sent."""

    plaintext: bytes
    ttl: str
    urgency: str
    topic: str
    content_type: str


def build(message: Message, now: datetime) -> Built:
    """The push for `message`. `message.overrides` must have passed `validate_overrides`.

    A repeat has the same tag and topic, so it replaces what it repeats; its TTL ends at the same moment.
    """
    over = message.overrides or _NOTHING
    shown: dict[str, Any] = {}
    if message.title:
        shown["title"] = message.title
    if message.body:
        shown["body"] = message.body
    for name in _SHOWN if over else ():
        if over.get(name) is not None:
            shown[name] = over[name]
    whole: dict[str, Any] = {}
    declarative = bool(over.get("declarative") and shown.get("title"))
    if declarative:
        # Without a title WebKit drops it as broken; a service worker can still make something of it.
        whole["web_push"] = 8030
        if over.get("mutable"):
            whole["mutable"] = True
    if shown:
        if message.collapse_key and "tag" not in shown:
            shown["tag"] = message.collapse_key
        whole["notification"] = shown
    if over.get("app_badge") is not None:
        # Where it belongs is not settled: WebKit's sample has a text inside, other senders a number outside.
        whole["app_badge"] = over["app_badge"]
        if shown:
            shown["app_badge"] = str(over["app_badge"])
    whole["data"] = _data(message, over)
    return Built(
        plaintext=_encode(whole),
        ttl=str(_ttl_s(message, over, now)),
        urgency=over.get("urgency") or ("high" if message.urgent else "normal"),
        topic=over.get("topic") or (topic_of(message.collapse_key) if message.collapse_key else ""),
        content_type=DECLARATIVE if declarative else PLAIN,
    )


def check_data(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a notification's `data`: (JSON Pointer within `data`, one sentence) each."""
    return [(f"/{key}", f"the key {key!r} is reserved by Tidings") for key in (ID_KEY, RECEIPT_KEY) if key in data]


def topic_of(key: str) -> str:
    """The `Topic` header for a collapse key: 32 characters of the base64url alphabet (RFC 8030 §5.4).

    Always a hash: Apple decodes a topic and refuses one of 4n+1 characters, and a key may say something about
    the person, which the push service need not read.
    """
    return base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())[:32].decode()


def _data(message: Message, over: Mapping[str, Any]) -> dict[str, Any]:
    data = {**message.data, **(over.get("data") or _NOTHING), ID_KEY: str(message.notification_id)}
    if message.receipt_url is not None:
        data[RECEIPT_KEY] = message.receipt_url
    return data


def _ttl_s(message: Message, over: Mapping[str, Any], now: datetime) -> int:
    """What is left of the time to live; 0 (now or never) only if that was asked for."""
    given = over.get("ttl")
    wanted_s = int(message.ttl_s if given is None else given)
    if wanted_s <= 0:
        return 0
    gone_s = int((now - message.created_at).total_seconds())
    return max(1, min(MAX_TTL_S, wanted_s - max(0, gone_s)))
