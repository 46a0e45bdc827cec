"""From a message to the body of `messages:send` (FCM HTTP v1). Pure, and on the hot path of every push.

A device runs one platform, so only its part is written: `android` for Android, `apns` for Apple devices,
`webpush` for browsers. Overrides of the notification are laid over the common fields, field by field.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tidings.providers.contract import Message
from tidings.providers.fcm_overrides import MAX_TTL_S, FcmOverrides, key_problem, validate_overrides

__all__ = ["MAX_PAYLOAD_BYTES", "FcmOverrides", "build", "check_data", "payload_size", "validate_overrides"]

MAX_PAYLOAD_BYTES = 4096
"""Keys and values of one message to a device (ErrorCode page, INVALID_ARGUMENT)."""

ID_KEY = "tidings_id"
RECEIPT_KEY = "tidings_receipt"

_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_encode = msgspec.json.Encoder().encode


def build(message: Message) -> bytes:
    """The request body for `message`. The same message gives the same bytes, so a repeat is a true repeat.

    `ttl_s` is cut to FCM's four weeks. Values of `data` that are not strings are written as JSON texts, since
    FCM takes only strings. `message.overrides` must have passed `validate_overrides`.
    """
    data = {key: text if type(text) is str else _encode(text).decode() for key, text in message.data.items()}
    data[ID_KEY] = str(message.notification_id)
    if message.receipt_url is not None:
        data[RECEIPT_KEY] = message.receipt_url
    body: dict[str, Any] = {"token": message.address, "data": data}
    if message.title and message.body:
        body["notification"] = {"title": message.title, "body": message.body}
    elif message.title or message.body:
        body["notification"] = {"title": message.title} if message.title else {"body": message.body}
    visible = "notification" in body or bool(message.overrides and message.overrides.get("notification"))
    kind = message.device_type
    if kind == "android":
        body["android"] = _android(message, visible)
    elif kind == "ios":
        body["apns"] = _apns(message, visible)
    elif kind == "web":
        body["webpush"] = _webpush(message)
    else:
        body["android"] = _android(message, visible)
        body["apns"] = _apns(message, visible)
        body["webpush"] = _webpush(message)
    if message.overrides:
        if message.overrides.get("android_v2") is not None:
            body.pop("android", None)  # FCM refuses a message that has both
        _lay_over(body, message.overrides)
    return _encode({"message": body})


def check_data(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a notification's `data` for FCM: (JSON Pointer within `data`, one sentence) each.

    Keys that FCM reserves and keys that Tidings writes itself. Any JSON value may stand under the others.
    """
    problems = []
    for key in data:
        ours = key in (ID_KEY, RECEIPT_KEY)
        problem = f"the key {key!r} is reserved by Tidings" if ours else key_problem(key)
        if problem:
            problems.append(("/" + key.replace("~", "~0").replace("/", "~1"), problem))
    return problems


def payload_size(body: bytes) -> int:
    """How many bytes of `MAX_PAYLOAD_BYTES` a built body uses: keys and values of what travels to the device.

    That is notification, data and one platform's own part; addresses, headers and options are not counted.
    FCM does not publish its count: this one leaves close cases to FCM, and its refusal is understood too.
    A body of at most `MAX_PAYLOAD_BYTES` can't be too big: no need to ask.
    """
    message = msgspec.json.decode(body)["message"]
    shared = _size(message.get("notification")) + _size(message.get("data"))
    android, apns, webpush = (message.get(name) or {} for name in ("android", "apns", "webpush"))
    return shared + max(
        _size(android.get("notification")) + _size(android.get("data")),
        _size((message.get("android_v2") or {}).get("remote_notification")),
        _size(apns.get("payload")),
        _size(webpush.get("notification")) + _size(webpush.get("data")),
    )


def _android(message: Message, visible: bool) -> dict[str, Any]:
    key = message.collapse_key
    part: dict[str, Any] = {"priority": "HIGH" if message.urgent else "NORMAL", "ttl": f"{_ttl_s(message)}s"}
    # FCM keeps at most four collapse keys per device and drops the rest. A key made from the notification's
    # own id can't replace another notification, so it must not use one up; the tag shows a repeat only once.
    if key and not key.endswith(str(message.notification_id)):
        part["collapse_key"] = key
    if key and visible:
        part["notification"] = {"tag": key}
    return part


def _apns(message: Message, visible: bool) -> dict[str, Any]:
    ttl_s = _ttl_s(message)
    # 0: one try, nothing kept. Else the Unix second until which Apple keeps it.
    expires = int(message.created_at.timestamp()) + ttl_s if ttl_s else 0
    headers = {"apns-expiration": str(expires)}
    if message.collapse_key:
        headers["apns-collapse-id"] = _collapse_id(message.collapse_key)
    if visible:
        headers["apns-priority"] = "10"
        aps = {"mutable-content": 1} if message.receipt_url is not None else {}
    else:
        # Only data: FCM answers INVALID_ARGUMENT to priority 10, and without content-available no app wakes.
        headers["apns-priority"] = "5"
        headers["apns-push-type"] = "background"
        aps = {"content-available": 1}
    return {"headers": headers, "payload": {"aps": aps}} if aps else {"headers": headers}


def _webpush(message: Message) -> dict[str, Any]:
    headers = {"TTL": str(_ttl_s(message)), "Urgency": "high" if message.urgent else "normal"}
    if message.collapse_key:
        headers["Topic"] = _topic(message.collapse_key)
    return {"headers": headers}


def _ttl_s(message: Message) -> int:
    return max(0, min(MAX_TTL_S, int(message.ttl_s)))


def _collapse_id(key: str) -> str:
    """At most 64 bytes (APNs). A longer key, or one that no header can carry, is replaced by its hash, not
    cut: two keys with the same beginning must stay two."""
    if len(key) <= 64 and key.isascii() and key.isprintable():
        return key
    return hashlib.sha256(key.encode()).hexdigest()


def _topic(key: str) -> str:
    """At most 32 characters of the base64url alphabet (RFC 8030 §5.4); any other key by its hash."""
    if _TOPIC.fullmatch(key):
        return key
    return base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())[:32].decode()


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


def _size(value: Any) -> int:
    match value:
        case None:
            return 0
        case str():
            return len(value.encode())
        case dict():
            return sum(len(key.encode()) + _size(inner) for key, inner in value.items())
        case list():
            return sum(_size(inner) for inner in value)
        case _:
            return len(_encode(value))
