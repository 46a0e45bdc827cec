"""From a message to an APNs request: headers, topic and payload. Pure, and on the hot path of every push.

Sources: Apple, "Sending notification requests to APNs" (headers, topics), "Generating a remote notification"
(payload, sizes), "Pushing background updates to your App".
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tidings.discreet import Discreet
from tidings.providers.apns_account import ApnsAccount
from tidings.providers.apns_overrides import SUFFIXES
from tidings.providers.contract import Gone, Message, Reason, Rejected

MAX_PAYLOAD_BYTES = 4096
MAX_VOIP_BYTES = 5120
MAX_TTL_S = 2_592_000
"""30 days: the longest that APNs keeps a notification for a device that is away."""

ID_KEY = "tidings_id"
RECEIPT_KEY = "tidings_receipt"

# Apple does not promise a length, only hexadecimal; tokens of Live Activities are longer than others.
_TOKEN = re.compile(r"[0-9a-fA-F]{32,1024}")
_NOT_BY_CERTIFICATE = frozenset({"location", "liveactivity"})
_POWER_AWARE = frozenset({"background", "widgets", "controls"})
# The system replaces and repeats only what it shows or hands to the app as a background push.
_COLLAPSING = frozenset({"alert", "background"})
# The others have nothing to show a text in. None: not named, so an alert if there is a text.
_WITH_TEXT = frozenset({None, "alert", "voip", "liveactivity", "pushtotalk", "complication"})
_encode = msgspec.json.Encoder().encode
_ID_HASH = hashlib.blake2b(digest_size=16, person=b"tidings apns-id")
_NO_OVERRIDES: Mapping[str, Any] = {}


class Push(Discreet, frozen=True):
    """One request. `bundle_id` says whose connections carry it, `topic` is that with the push type's suffix.

    `apns_id`: the same on every attempt of one notification to one device. repr() hides address and payload.
    """

    token: str
    bundle_id: str
    topic: str
    push_type: str
    priority: str
    expiration: str
    collapse_id: str | None
    apns_id: str
    payload: bytes

    def __repr__(self) -> str:
        return f"Push({self.apns_id}, {self.push_type}, {self.topic!r})"


def build(message: Message, account: ApnsAccount) -> Push | Rejected | Gone:
    """The request for `message`, or why there can't be one. The same message gives the same request.

    `message.overrides` must have passed `validate_overrides`.
    """
    if not _TOKEN.fullmatch(message.address) or len(message.address) % 2:
        return Gone(Reason.INVALID_ADDRESS, "not a device token of APNs: those are hexadecimal")
    if "aps" in message.data:
        return Rejected(Reason.INVALID_MESSAGE, "the data key 'aps' is reserved by APNs")
    over = message.overrides or _NO_OVERRIDES
    aps = _aps(message, over)
    push_type = over.get("push_type") or _push_type(aps)
    _shape(aps, push_type, message)
    bundle_id = _bundle_id(over.get("topic") or account.topic, push_type)
    if bundle_id != account.topic and bundle_id not in account.more_topics:
        return Rejected(Reason.INVALID_MESSAGE, "apns.topic is not a bundle id of this account")
    if account.certificate and push_type in _NOT_BY_CERTIFICATE:
        return Rejected(Reason.INVALID_MESSAGE, f"{push_type} needs an account with a key, not a certificate")
    payload = _encode(_payload(message, over, aps, push_type))
    most = MAX_VOIP_BYTES if push_type == "voip" else MAX_PAYLOAD_BYTES
    if len(payload) > most:
        return Rejected(Reason.MESSAGE_TOO_BIG, f"{len(payload)} bytes of payload, APNs takes {most}")
    return Push(
        token=message.address,
        bundle_id=bundle_id,
        topic=bundle_id + SUFFIXES.get(push_type, ""),
        push_type=push_type,
        priority=str(over.get("priority") or (5 if push_type in _POWER_AWARE else 10)),
        expiration=_expiration(message),
        collapse_id=over.get("collapse_id") or _collapse_id(message.collapse_key, push_type),
        apns_id=apns_id(message.project_id, message.notification_id, message.device_id),
        payload=payload,
    )


def check_data(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a notification's `data` for APNs: (JSON Pointer in `data`, one sentence) each."""
    owners = {"aps": "APNs", ID_KEY: "Tidings", RECEIPT_KEY: "Tidings"}
    return [(f"/{key}", f"the key {key!r} is reserved by {owner}") for key, owner in owners.items() if key in data]


def apns_id(project_id: int, notification_id: int, device_id: int) -> str:
    """The UUID of one notification to one device (RFC 9562 §5.8: version 8, made from a hash of the three).

    Hashed, so that Apple's console does not show how many notifications there are.
    """
    hashed = _ID_HASH.copy()  # a third of the cost of a new one
    hashed.update(b"%d.%d.%d" % (project_id, notification_id, device_id))
    text = hashed.hexdigest()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def _aps(message: Message, over: Mapping[str, Any]) -> dict[str, Any]:
    aps: dict[str, Any] = {}
    title, body = message.title, message.body
    if (title or body) and over.get("push_type") in _WITH_TEXT:
        aps["alert"] = (
            {"title": title, "body": body} if title and body else {"title": title} if title else {"body": body}
        )
    given = over.get("aps")
    if given:
        _lay_over(aps, given)
    return aps


def _push_type(aps: Mapping[str, Any]) -> str:
    shown = aps.get("alert") is not None or aps.get("badge") is not None or aps.get("sound") is not None
    return "alert" if shown else "background"


def _shape(aps: dict[str, Any], push_type: str, message: Message) -> None:
    """What APNs or the device needs in `aps` for this type, unless the caller has said otherwise."""
    if push_type == "background":
        aps.setdefault("content-available", 1)
    elif push_type == "alert" and message.receipt_url is not None and "alert" in aps:
        # Wakes the app's notification service extension, which is what can call the receipt's address.
        aps.setdefault("mutable-content", 1)
    elif push_type == "liveactivity":
        # Older updates than the last one shown are ignored: the notification's own time keeps their order.
        aps.setdefault("timestamp", int(message.created_at.timestamp()))
    elif push_type in ("widgets", "controls"):
        aps.setdefault("content-changed", True)


def _payload(message: Message, over: Mapping[str, Any], aps: dict[str, Any], push_type: str) -> dict[str, Any]:
    payload = dict(message.data)
    extra = over.get("payload")
    if extra:
        _lay_over(payload, extra)
    payload[ID_KEY] = str(message.notification_id)
    if message.receipt_url is not None:
        payload[RECEIPT_KEY] = message.receipt_url
    if aps or push_type != "mdm":
        payload["aps"] = aps
    return payload


def _bundle_id(topic: str, push_type: str) -> str:
    """The bundle id of a topic that may come with its push type's suffix."""
    return topic.removesuffix(SUFFIXES[push_type]) if push_type in SUFFIXES else topic


def _expiration(message: Message) -> str:
    """Unix seconds until which APNs keeps it; 0: one try, nothing kept."""
    ttl_s = max(0, min(MAX_TTL_S, int(message.ttl_s)))
    return str(int(message.created_at.timestamp()) + ttl_s) if ttl_s else "0"


def _collapse_id(key: str, push_type: str) -> str | None:
    """At most 64 bytes. A longer key, or one that no header can carry, is replaced by its hash, not cut:
    two keys with the same beginning must stay two."""
    if not key or push_type not in _COLLAPSING:
        return None
    if len(key) <= 64 and key.isascii() and key.isprintable() and key == key.strip():
        return key
    return hashlib.sha256(key.encode()).hexdigest()


def _lay_over(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Write `over` into `under`: objects merge, everything else replaces. `over` is not changed or kept."""
    for key, value in over.items():
        if value is None:
            continue
        there = under.get(key)
        if isinstance(value, Mapping):
            merged = dict(there) if isinstance(there, dict) else {}
            _lay_over(merged, value)
            under[key] = merged
        else:
            under[key] = value
