"""The `fcm` part of a notification: everything of an FCM v1 message beyond the common fields, typed.

Field names are FCM's own in snake_case (FCM v1 discovery document, revision 20261023). Unknown fields, wrong
types and values out of range are refused when the notification is accepted, with the path to the field.
What is not given is left out of the request, so that FCM's defaults and our common fields hold.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tidings.discreet import Discreet
from tidings.providers.quoted import what_is_wrong

MAX_TTL_S = 2_419_200
"""Four weeks: the longest that FCM keeps a message (android.ttl)."""

Duration = Annotated[str, Meta(pattern=r"^[0-9]{1,7}(\.[0-9]{1,9})?s$", examples=["3.5s"])]
Color = Annotated[str, Meta(pattern="^#[0-9a-fA-F]{6}$", examples=["#ff8800"])]
Label = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.~%-]{1,50}$")]
HttpsUrl = Annotated[str, Meta(pattern="^https://[^ ]+$", max_length=2048)]
Share = Annotated[float, Meta(ge=0, le=1)]
Instant = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0, le=2_147_483_647)]
Strings = dict[str, str]
Priority = Literal["NORMAL", "HIGH", "normal", "high"]

_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")


class _Part(Discreet, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A part of the message: None means not given."""


class FcmOptions(_Part, frozen=True):
    analytics_label: Label | None = None


class ApnsFcmOptions(_Part, frozen=True):
    analytics_label: Label | None = None
    image: str | None = None


class WebpushFcmOptions(_Part, frozen=True):
    link: HttpsUrl | None = None
    analytics_label: Label | None = None


class CommonNotification(_Part, frozen=True):
    """Replaces the notification's own title or body for FCM, and adds an image (on Android at most 1 MB)."""

    title: str | None = None
    body: str | None = None
    image: str | None = None


class LightColor(_Part, frozen=True):
    red: Share
    green: Share
    blue: Share
    alpha: Share = 1.0


class LightSettings(_Part, frozen=True, omit_defaults=False):
    """All three are needed; a colour without alpha is opaque."""

    color: LightColor
    light_on_duration: Duration
    light_off_duration: Duration


class AndroidNotification(_Part, frozen=True):
    """`title_loc_args` and `body_loc_args` need their key (firebase-admin refuses them without it)."""

    title: str | None = None
    body: str | None = None
    icon: str | None = None
    color: Color | None = None
    sound: str | None = None
    tag: str | None = None
    click_action: str | None = None
    body_loc_key: str | None = None
    body_loc_args: list[str] | None = None
    title_loc_key: str | None = None
    title_loc_args: list[str] | None = None
    channel_id: str | None = None
    ticker: str | None = None
    sticky: bool | None = None
    event_time: Instant | None = None
    local_only: bool | None = None
    notification_priority: (
        Literal["PRIORITY_MIN", "PRIORITY_LOW", "PRIORITY_DEFAULT", "PRIORITY_HIGH", "PRIORITY_MAX"] | None
    ) = None
    default_sound: bool | None = None
    default_vibrate_timings: bool | None = None
    default_light_settings: bool | None = None
    vibrate_timings: list[Duration] | None = None
    visibility: Literal["PRIVATE", "PUBLIC", "SECRET"] | None = None
    notification_count: Count | None = None
    light_settings: LightSettings | None = None
    image: str | None = None
    proxy: Literal["ALLOW", "DENY", "IF_PRIORITY_LOWERED"] | None = None
    bypass_proxy_notification: bool | None = None

    def __post_init__(self) -> None:
        if self.title_loc_args and not self.title_loc_key:
            raise ValueError("title_loc_args needs title_loc_key")
        if self.body_loc_args and not self.body_loc_key:
            raise ValueError("body_loc_args needs body_loc_key")


class Android(_Part, frozen=True):
    """`ttl`: 0s (now or never) to 2419200s (four weeks). At most four collapse keys wait for one device."""

    collapse_key: str | None = None
    priority: Priority | None = None
    ttl: Duration | None = None
    restricted_package_name: str | None = None
    data: Strings | None = None
    notification: AndroidNotification | None = None
    fcm_options: FcmOptions | None = None
    direct_boot_ok: bool | None = None
    bandwidth_constrained_ok: bool | None = None
    restricted_satellite_ok: bool | None = None

    def __post_init__(self) -> None:
        if self.ttl is not None and float(self.ttl[:-1]) > MAX_TTL_S:
            raise ValueError(f"ttl is longer than {MAX_TTL_S}s (four weeks)")
        if self.data is not None:
            refuse_forbidden(self.data)


class RemoteNotification(_Part, frozen=True):
    notification: AndroidNotification | None = None
    mutable_content: bool | None = None
    use_as_v1_data_message: bool | None = None


class BackgroundSync(_Part, frozen=True):
    """Has no fields of its own (discovery document)."""


class AndroidV2(_Part, frozen=True):
    """The newer Android part; takes the place of `android`, whose common fields are then not sent either."""

    remote_notification: RemoteNotification | None = None
    background_sync: BackgroundSync | None = None

    def __post_init__(self) -> None:
        if (self.remote_notification is None) == (self.background_sync is None):
            raise ValueError("android_v2 takes exactly one of remote_notification and background_sync")


class Apns(_Part, frozen=True):
    """`headers`: `apns-…` names. `payload`: `{"aps": {…}, …}`, merged into ours field by field."""

    headers: Strings | None = None
    payload: dict[str, Any] | None = None
    fcm_options: ApnsFcmOptions | None = None
    live_activity_token: str | None = None

    def __post_init__(self) -> None:
        check_headers(self.headers, prefix="apns-")
        if self.payload is not None and not isinstance(self.payload.get("aps", {}), dict):
            raise ValueError("payload.aps must be an object")


class WebAction(Discreet, frozen=True, kw_only=True, omit_defaults=True):
    action: str
    title: str
    icon: str | None = None


class WebNotification(Discreet, frozen=True, kw_only=True, omit_defaults=True):
    """The known options of the Web Notifications API; browsers' and callers' own may stand beside them."""

    title: str | None = None
    body: str | None = None
    icon: str | None = None
    badge: str | None = None
    image: str | None = None
    actions: list[WebAction] | None = None
    dir: Literal["auto", "ltr", "rtl"] | None = None
    lang: str | None = None
    renotify: bool | None = None
    requireInteraction: bool | None = None  # the Web API's own name
    silent: bool | None = None
    tag: str | None = None
    timestamp: int | float | None = None
    vibrate: int | list[int] | None = None


class Webpush(_Part, frozen=True):
    """`headers`: `TTL`, `Urgency`, `Topic`. `notification`: see `WebNotification`."""

    headers: Strings | None = None
    data: Strings | None = None
    notification: dict[str, Any] | None = None
    fcm_options: WebpushFcmOptions | None = None

    def __post_init__(self) -> None:
        check_headers(self.headers, prefix="")
        if self.data is not None:
            refuse_forbidden(self.data)
        if self.notification is not None:
            try:
                msgspec.convert(self.notification, WebNotification)
            except msgspec.ValidationError as error:
                raise ValueError(f"notification: {what_is_wrong(error)}") from None


class FcmOverrides(_Part, frozen=True):
    """What a caller may add to, or change in, the FCM message of one notification."""

    notification: CommonNotification | None = None
    android: Android | None = None
    android_v2: AndroidV2 | None = None
    apns: Apns | None = None
    webpush: Webpush | None = None
    fcm_options: FcmOptions | None = None

    def __post_init__(self) -> None:
        if self.android is not None and self.android_v2 is not None:
            raise ValueError("android and android_v2 exclude each other")


def validate_overrides(raw: dict[str, Any]) -> FcmOverrides:
    """`raw` as typed overrides; msgspec.ValidationError says what is wrong and where (`$.android.ttl`).

    To store or send them as JSON again: `msgspec.to_builtins(overrides)` leaves out what was not given.
    """
    return msgspec.convert(raw, FcmOverrides)


def key_problem(key: str) -> str | None:
    """Why FCM refuses this data key, None when it takes it (discovery document; ErrorCode page)."""
    if key in ("from", "message_type", "gcm"):
        return f"the key {key!r} is reserved by FCM"
    if key.startswith("google"):
        return "keys that begin with 'google' are reserved by FCM"
    if key.startswith("gcm.notification."):
        return "keys that begin with 'gcm.notification.' are reserved by FCM"
    return None


def refuse_forbidden(data: Strings) -> None:
    """ValueError for the first data key that FCM would refuse."""
    for key in data:
        if problem := key_problem(key):
            raise ValueError(f"data: {problem}")


def check_headers(headers: Strings | None, prefix: str) -> None:
    """ValueError for a header that can't be one, or whose name does not begin with `prefix`."""
    for name, value in (headers or {}).items():
        if not _HEADER_NAME.fullmatch(name) or not name.lower().startswith(prefix):
            raise ValueError(f"headers: {name[:64]!r} is not the name of a header that can be set here")
        if not (value.isascii() and value.isprintable() and len(value) <= 1024):
            raise ValueError(f"headers: {name!r} must be printable ASCII of at most 1024 characters")
