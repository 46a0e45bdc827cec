"""Headers and payload of a push, checked as APNs does ("Sending notification requests to APNs").

Where Apple's text leaves the answer open this is written from what senders report; it is marked `open`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from tidings.emulators import apns_reasons
from tidings.emulators.exchange import Request, Response
from tidings.emulators.phones import ID_KEY, RECEIPT_KEY

# Push type and what it adds to the bundle id.
PUSH_TYPES: Final[dict[str, str]] = {
    "alert": "",
    "background": "",
    "mdm": "",
    "voip": ".voip",
    "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider",
    "location": ".location-query",
    "liveactivity": ".push-type.liveactivity",
    "pushtotalk": ".voip-ptt",
    "widgets": ".push-type.widgets",
    "controls": ".push-type.controls",
}
_MAX_PAYLOAD = 4096
_MAX_VOIP = 5120
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TOPIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
# Equal names arrive joined by a comma, which no good value of these contains.
_SINGLE = ("apns-id", "apns-topic", "apns-priority", "apns-expiration", "apns-push-type", "authorization")


class Push(Struct, frozen=True):
    """A push that is well formed. `topic` is the bundle id, `full_topic` the header with its suffix."""

    token: str
    topic: str
    full_topic: str
    data: dict[str, str]


def check(request: Request, default_topic: str | None = None) -> Push | Response:
    """The push, or the refusal. `default_topic`: of the certificate, when the connection showed one."""
    if request.method != "POST":
        return apns_reasons.refusal("MethodNotAllowed")
    token = request.path.removeprefix("/3/device/")
    if token == request.path and request.path != "/3/device":
        return apns_reasons.refusal("BadPath")
    if token in ("", request.path):
        return apns_reasons.refusal("MissingDeviceToken")
    headers = request.headers
    name = _bad_header(headers)
    if name is not None:
        return apns_reasons.refusal(name)
    push_type = headers.get("apns-push-type")
    full_topic = headers.get("apns-topic") or (
        default_topic + PUSH_TYPES[push_type or "alert"] if default_topic else ""
    )
    if not full_topic:
        return apns_reasons.refusal("MissingTopic")
    suffix = PUSH_TYPES[push_type] if push_type is not None else ""
    if not _TOPIC.fullmatch(full_topic) or not full_topic.endswith(suffix):
        return apns_reasons.refusal("BadTopic")  # For a missing suffix: open.
    payload = _payload(request.body, _MAX_VOIP if push_type == "voip" else _MAX_PAYLOAD)
    if isinstance(payload, Response):
        return payload
    topic = full_topic.removesuffix(suffix) if push_type is not None else _bundle_id(full_topic)
    data = {key: str(payload[key]) for key in (ID_KEY, RECEIPT_KEY) if key in payload}
    return Push(token, topic, full_topic, data)


def _bad_header(headers: Mapping[str, str]) -> str | None:
    if any("," in headers.get(name, "") for name in _SINGLE):
        return "DuplicateHeaders"
    push_type, priority = headers.get("apns-push-type"), headers.get("apns-priority")
    if push_type is not None and push_type not in PUSH_TYPES:
        return "InvalidPushType"
    apns_id = headers.get("apns-id")
    if apns_id is not None and not _ID.fullmatch(apns_id):
        return "BadMessageId"
    if len(headers.get("apns-collapse-id", "").encode("latin-1")) > 64:
        return "BadCollapseId"
    expiration = headers.get("apns-expiration", "0")
    if not (expiration.isascii() and expiration.isdecimal() and len(expiration) < 12):
        return "BadExpirationDate"
    if priority is not None and priority not in ("1", "5", "10"):
        return "BadPriority"
    if push_type == "background" and priority == "10":
        return "BadPriority"
    return None


def _payload(body: bytes, most: int) -> dict[str, Any] | Response:
    if len(body) > most:
        return apns_reasons.refusal("PayloadTooLarge")
    try:
        payload = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return apns_reasons.refusal("PayloadEmpty")  # For what is not a JSON object: open.
    return payload or apns_reasons.refusal("PayloadEmpty")


def _bundle_id(full_topic: str) -> str:
    suffixes = (suffix for suffix in PUSH_TYPES.values() if suffix and full_topic.endswith(suffix))
    return full_topic.removesuffix(next(suffixes, ""))
