"""Checks one FCM v1 send request as Google does: first its form, then its meaning.

A good request costs one typed decode and a few comparisons. Only a refused one is decoded again and
explained.
"""

import re
from typing import Any

import msgspec
from msgspec import Struct

from tidings.emulators import fcm_errors
from tidings.emulators.exchange import Response
from tidings.emulators.fcm_explain import explain
from tidings.emulators.fcm_schema import REQUEST, struct

MAX_PAYLOAD = 4096
MAX_TOPIC_PAYLOAD = 2048
_MAX_TTL_S = 2_419_200
_MAX_TARGET = 4096  # Far above any real token; the vendor names no figure.
_TOPIC = re.compile(r"[a-zA-Z0-9\-_.~%]{1,900}")
_LABEL = re.compile(r"[a-zA-Z0-9\-_.~%]{1,50}")
_CONDITION = re.compile(r"'[a-zA-Z0-9\-_.~%]+' in topics")
# Forbidden keys of `data`: the discovery document and the ErrorCode page name slightly different sets.
_RESERVED = ("google.", "gcm.notification.")
_RESERVED_WHOLE = frozenset(("from", "message_type", "gcm", "google"))

_REQUEST_TYPE = struct(REQUEST)
_decode = msgspec.json.Decoder(_REQUEST_TYPE).decode


class Addressed(Struct, frozen=True, gc=False):
    """A request that passed. `target` is the token or fid; topics and conditions are `/topics/…`,
    `/condition/…`."""

    target: str
    data: dict[str, str]
    validate_only: bool


def check(body: bytes) -> Addressed | Response:
    """The request, or the 400 that Google would answer. Never raises for what a client can send."""
    try:
        request: Any = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        request = _second_look(body)
        if isinstance(request, Response):
            return request
    message = request.message
    if message is None:
        return fcm_errors.no_target()
    targets = (message.token, message.fid, message.topic, message.condition)
    given = [target for target in targets if target]
    if len(given) != 1:
        return _wrong_targets(given)
    refused = _meaning(message, len(body))
    if refused is not None:
        return refused
    target = given[0]
    if len(target) > _MAX_TARGET:
        return fcm_errors.invalid_token()
    if message.topic:
        target = f"/topics/{target}"
    elif message.condition:
        target = f"/condition/{target}"
    return Addressed(target, message.data or {}, bool(request.validate_only or request.validateOnly))


def _second_look(body: bytes) -> Any:
    """A request that the typed decoder refused: explained, or taken after all (numbers in quotes)."""
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return fcm_errors.invalid_argument(f"Invalid JSON payload received. {error}")
    found, plain = explain(raw, REQUEST)
    if found:
        return fcm_errors.bad_request(found)
    try:
        return msgspec.convert(plain, _REQUEST_TYPE, strict=False)
    except msgspec.ValidationError:
        return fcm_errors.invalid_argument()


def _wrong_targets(given: list[str]) -> Response:
    if not given:
        return fcm_errors.no_target()
    text = "Invalid value at 'message' (oneof), oneof field 'target' is already set."
    return fcm_errors.bad_request([("message", text)])


def _meaning(message: Any, size: int) -> Response | None:
    data, android = message.data, message.android
    refused = _data_keys(data, "message.data") if data else None
    if refused is None and android is not None:
        refused = _android(message, android)
    if refused is None and message.apns is not None:
        refused = _apns(message)
    if refused is None and (message.topic or message.condition):
        refused = _topic(message)
    if refused is None and (options := message.fcm_options or message.fcmOptions) is not None:
        refused = _label(options, "message.fcm_options")
    limit = MAX_TOPIC_PAYLOAD if message.topic or message.condition else MAX_PAYLOAD
    # A body that is short enough as a whole can't hold a payload that is too long.
    if refused is None and size > limit and _payload_bytes(message) > limit:
        refused = fcm_errors.invalid_argument()
    return refused


def _data_keys(data: dict[str, str], path: str) -> Response | None:
    for key in data:
        if key in _RESERVED_WHOLE or key.startswith(_RESERVED):
            return fcm_errors.bad_request([(path, f"Invalid data payload key: {key}")], fcm=True)
    return None


def _android(message: Any, android: Any) -> Response | None:
    if (message.android_v2 or message.androidV2) is not None:
        text = "Only one of android and android_v2 may be set."
        return fcm_errors.bad_request([("message.android_v2", text)], fcm=True)
    if android.ttl is not None and not 0 <= float(android.ttl[:-1]) <= _MAX_TTL_S:
        text = f"Invalid ttl {android.ttl}: it must lie between 0s and {_MAX_TTL_S}s."
        return fcm_errors.bad_request([("message.android.ttl", text)], fcm=True)
    shown = android.notification
    if shown is not None:
        for part in ("title", "body"):
            args = getattr(shown, f"{part}_loc_args") or getattr(shown, f"{part}LocArgs")
            if args and not (getattr(shown, f"{part}_loc_key") or getattr(shown, f"{part}LocKey")):
                text = f"{part}_loc_key is required when {part}_loc_args is set."
                return fcm_errors.bad_request([(f"message.android.notification.{part}_loc_key", text)], fcm=True)
    options = android.fcm_options or android.fcmOptions
    refused = _label(options, "message.android.fcm_options") if options is not None else None
    return refused or (_data_keys(android.data, "message.android.data") if android.data else None)


def _apns(message: Any) -> Response | None:
    """Data alone, sent to Apple, must have priority 5 (Firebase: setting message priority)."""
    headers = message.apns.headers or {}
    aps = (message.apns.payload or {}).get("aps")
    visible = isinstance(aps, dict) and any(key in aps for key in ("alert", "badge", "sound"))
    if headers.get("apns-priority") == "10" and message.notification is None and not visible:
        text = "Priority 10 is not allowed for a background message."
        return fcm_errors.bad_request([("message.apns.headers", text)], fcm=True)
    return None


def _topic(message: Any) -> Response | None:
    if message.topic and not _TOPIC.fullmatch(message.topic.removeprefix("/topics/")):
        return fcm_errors.bad_request([("message.topic", "Invalid topic name.")], fcm=True)
    topics = len(_CONDITION.findall(message.condition)) if message.condition else 1
    if not 1 <= topics <= 5:
        return fcm_errors.bad_request([("message.condition", "Invalid condition expression.")], fcm=True)
    return None


def _label(options: Any, path: str) -> Response | None:
    label = options.analytics_label or options.analyticsLabel
    if label and not _LABEL.fullmatch(label):
        text = "Invalid analytics label."
        return fcm_errors.bad_request([(f"{path}.analytics_label", text)], fcm=True)
    return None


def _payload_bytes(message: Any) -> int:
    """Keys and values of `data` and `notification`; Google doesn't publish the exact sum (see ErrorCode
    page)."""
    pairs = dict(message.data or {})
    if message.notification is not None:
        shown = message.notification
        pairs |= {"\0title": shown.title or "", "\0body": shown.body or "", "\0image": shown.image or ""}
    return sum(len(key.encode()) + len(value.encode()) for key, value in pairs.items())
