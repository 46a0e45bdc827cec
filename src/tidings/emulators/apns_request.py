"""Headers and payload of a push, checked as APNs does ("Sending notification requests to APNs").

Where Apple's text leaves the answer open this is written from what senders report; it is marked `open`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
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
    full_topic, push_type = headers.get("apns-topic", ""), headers.get("apns-push-type")
    if not full_topic and default_topic:
        full_topic = default_topic + PUSH_TYPES.get(push_type or "", "")
    name = _bad_own(headers)
    topic, problem = _route(push_type, headers.get("apns-priority"), full_topic)
    if name is not None or problem is not None:
        return apns_reasons.refusal(name or problem or "")
    payload = _payload(request.body, _MAX_VOIP if push_type == "voip" else _MAX_PAYLOAD)
    if isinstance(payload, Response):
        return payload
    data = {key: str(payload[key]) for key in (ID_KEY, RECEIPT_KEY) if key in payload}
    return Push(token, topic, full_topic, data)


def _bad_own(headers: Mapping[str, str]) -> str | None:
    """What is wrong with the headers that differ from push to push. Equal names arrive joined by a comma,
    which no good value contains."""
    apns_id = headers.get("apns-id")
    if apns_id is not None and not _ID.fullmatch(apns_id):
        return "DuplicateHeaders" if "," in apns_id else "BadMessageId"
    expiration = headers.get("apns-expiration", "0")
    if not (expiration.isascii() and expiration.isdecimal() and len(expiration) < 12):
        return "DuplicateHeaders" if "," in expiration else "BadExpirationDate"
    if len(headers.get("apns-collapse-id", "").encode("latin-1")) > 64:
        return "BadCollapseId"
    return "DuplicateHeaders" if "," in headers.get("authorization", "") else None


@lru_cache(maxsize=1024)
def _route(push_type: str | None, priority: str | None, full_topic: str) -> tuple[str, str | None]:
    """The bundle id, and what is wrong with the headers that many pushes share."""
    if any("," in value for value in (push_type, priority, full_topic) if value):
        return "", "DuplicateHeaders"
    if push_type is not None and push_type not in PUSH_TYPES:
        return "", "InvalidPushType"
    if priority is not None and priority not in ("1", "5", "10"):
        return "", "BadPriority"
    if push_type == "background" and priority == "10":
        return "", "BadPriority"
    if not full_topic:
        return "", "MissingTopic"
    if push_type is None:
        suffixes = (suffix for suffix in PUSH_TYPES.values() if suffix and full_topic.endswith(suffix))
        suffix = next(suffixes, "")
    else:
        suffix = PUSH_TYPES[push_type]
    if not _TOPIC.fullmatch(full_topic) or not full_topic.endswith(suffix):
        return "", "BadTopic"  # For a missing suffix: open.
    return full_topic.removesuffix(suffix), None


def _payload(body: bytes, most: int) -> dict[str, Any] | Response:
    if len(body) > most:
        return apns_reasons.refusal("PayloadTooLarge")
    try:
        payload = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return apns_reasons.refusal("PayloadEmpty")  # For what is not a JSON object: open.
    return payload or apns_reasons.refusal("PayloadEmpty")
