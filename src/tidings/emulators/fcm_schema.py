"""The fields of an FCM v1 send request, as one table (discovery document `fcm.v1`, revision 20261023).

The table is used twice: it makes the msgspec types that decode a good request in one pass, and it
explains what is wrong with a bad one in Google's words (`fcm_explain.py`). Names stand in snake_case; the
camelCase spelling of each is accepted too, as protobuf's JSON mapping wants it, and so is null for "not set".
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

DURATION = r"^-?\d{1,12}(\.\d{1,9})?s$"
_COLOUR = {"red": "number", "green": "number", "blue": "number", "alpha": "number"}


class Choice(Struct, frozen=True):
    """An enum: `kind` is the protobuf name that Google's error text gives."""

    kind: str
    values: tuple[str, ...]


class Shape(Struct, frozen=True):
    """A message: its fields by snake_case name."""

    name: str
    fields: dict[str, "Field"]


# A scalar by its name, an enum, a message, or (one-element tuple) a list of a scalar.
Field = str | Choice | Shape | tuple[str]


def _choice(kind: str, *values: str) -> Choice:
    return Choice(f"type.googleapis.com/google.firebase.fcm.v1.{kind}", values)


_FCM_OPTIONS = Shape("FcmOptions", {"analytics_label": "text"})

_ANDROID_NOTIFICATION = Shape(
    "AndroidNotification",
    {
        **dict.fromkeys(("title", "body", "icon", "color", "sound", "tag", "click_action"), "text"),
        **dict.fromkeys(("body_loc_key", "title_loc_key", "channel_id", "ticker", "image"), "text"),
        "body_loc_args": ("text",),
        "title_loc_args": ("text",),
        "event_time": "timestamp",
        **dict.fromkeys(("sticky", "local_only", "default_sound", "default_vibrate_timings"), "flag"),
        **dict.fromkeys(("default_light_settings", "bypass_proxy_notification"), "flag"),
        "notification_priority": _choice(
            "AndroidNotification.NotificationPriority",
            *("PRIORITY_UNSPECIFIED", "PRIORITY_MIN", "PRIORITY_LOW", "PRIORITY_DEFAULT", "PRIORITY_HIGH"),
            "PRIORITY_MAX",
        ),
        "vibrate_timings": ("duration",),
        "visibility": _choice(
            "AndroidNotification.Visibility", "VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"
        ),
        "notification_count": "whole",
        "light_settings": Shape(
            "LightSettings",
            {
                "color": Shape("Color", dict(_COLOUR)),
                "light_on_duration": "duration",
                "light_off_duration": "duration",
            },
        ),
        "proxy": _choice("AndroidNotification.Proxy", "PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"),
    },
)

_ANDROID = Shape(
    "AndroidConfig",
    {
        "collapse_key": "text",
        # The Admin SDKs send lower case, the reference names upper case; both pass.
        "priority": _choice("AndroidMessagePriority", "NORMAL", "HIGH", "normal", "high"),
        "ttl": "duration",
        "restricted_package_name": "text",
        "data": "texts",
        "notification": _ANDROID_NOTIFICATION,
        "fcm_options": _FCM_OPTIONS,
        "direct_boot_ok": "flag",
        "bandwidth_constrained_ok": "flag",
        "restricted_satellite_ok": "flag",
    },
)

_MESSAGE = Shape(
    "Message",
    {
        **dict.fromkeys(("name", "token", "fid", "topic", "condition"), "text"),
        "data": "texts",
        "notification": Shape("Notification", {"title": "text", "body": "text", "image": "text"}),
        "android": _ANDROID,
        # Its inner messages are too new to be known in full, so they are only required to be objects.
        "android_v2": "object",
        "apns": Shape(
            "ApnsConfig",
            {
                "headers": "texts",
                "payload": "object",
                "fcm_options": Shape("ApnsFcmOptions", {"analytics_label": "text", "image": "text"}),
                "live_activity_token": "text",
            },
        ),
        "webpush": Shape(
            "WebpushConfig",
            {
                "headers": "texts",
                "data": "texts",
                "notification": "object",
                "fcm_options": Shape("WebpushFcmOptions", {"link": "text", "analytics_label": "text"}),
            },
        ),
        "fcm_options": _FCM_OPTIONS,
    },
)

REQUEST = Shape("SendMessageRequest", {"validate_only": "flag", "message": _MESSAGE})

_SCALARS: dict[str, Any] = {
    "text": str,
    "flag": bool,
    "whole": Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
    "number": float,
    "duration": Annotated[str, Meta(pattern=DURATION)],
    "timestamp": str,
    "texts": dict[str, str],
    "object": dict[str, Any],
}


def camel(name: str) -> str:
    """`collapse_key` → `collapseKey`, `android_v2` → `androidV2`."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)


def _type(field: Field) -> Any:
    if isinstance(field, Shape):
        return struct(field)
    if isinstance(field, Choice):
        return Literal[field.values]
    return list[_type(field[0])] if isinstance(field, tuple) else _SCALARS[field]  # type: ignore[misc]


def struct(shape: Shape) -> type[Struct]:
    """A struct with every field in both spellings, all of them optional, unknown ones refused."""
    members: list[tuple[str, Any, Any]] = []
    for name, field in shape.fields.items():
        kind = _type(field) | None
        members += [(spelling, kind, None) for spelling in dict.fromkeys((name, camel(name)))]
    return msgspec.defstruct(shape.name, members, forbid_unknown_fields=True, frozen=True, kw_only=True)
