"""The `apns` part of a notification: everything of an APNs request beyond the common fields, typed.

Names inside `aps` are Apple's own, hyphens and all ("Generating a remote notification", "Starting and
updating Live Activities with ActivityKit push notifications"). Unknown fields, wrong types and values out of
range are refused when the notification is accepted, with the path to the field. What is not given is not
sent.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tidings.discreet import Discreet

PushType = Literal[
    "alert",
    "background",
    "voip",
    "complication",
    "fileprovider",
    "location",
    "liveactivity",
    "pushtotalk",
    "widgets",
    "controls",
    "mdm",
]

# What a push type adds to the bundle id to make the topic; the others add nothing.
SUFFIXES: dict[str, str] = {
    "voip": ".voip",
    "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider",
    "location": ".location-query",
    "liveactivity": ".push-type.liveactivity",
    "pushtotalk": ".voip-ptt",
    "widgets": ".push-type.widgets",
    "controls": ".push-type.controls",
}

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[int, Meta(ge=0, le=9_999_999_999)]
Flag = Annotated[int, Meta(ge=0, le=1)]
Badge = Annotated[int, Meta(ge=0, le=2_147_483_647)]
Topic = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,254}$")]
CollapseId = Annotated[str, Meta(pattern=r"^[ -~]{1,64}$")]


class _Part(Discreet, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, rename="kebab"):
    """A part of the payload: None means not given."""


class Alert(_Part, frozen=True):
    """Laid over the notification's own title and body. The `…-loc-args` need their key.

    `sound` stands here only for Live Activities; elsewhere it is beside the alert.
    """

    title: str | None = None
    subtitle: str | None = None
    body: str | None = None
    launch_image: str | None = None
    title_loc_key: str | None = None
    title_loc_args: list[str] | None = None
    subtitle_loc_key: str | None = None
    subtitle_loc_args: list[str] | None = None
    loc_key: str | None = None
    loc_args: list[str] | None = None
    sound: str | None = None

    def __post_init__(self) -> None:
        pairs = (
            ("title-loc-args", self.title_loc_args, self.title_loc_key),
            ("subtitle-loc-args", self.subtitle_loc_args, self.subtitle_loc_key),
            ("loc-args", self.loc_args, self.loc_key),
        )
        for name, args, key in pairs:
            if args and not key:
                raise ValueError(f"{name} needs {name.removesuffix('args')}key")


class CriticalSound(_Part, frozen=True, omit_defaults=False):
    """A sound that plays even when the device is muted; the app needs Apple's entitlement for it."""

    critical: Flag = 1
    name: str = "default"
    volume: Share = 1.0


class Aps(_Part, frozen=True):
    """The `aps` dictionary. `badge` 0 clears it. Times are Unix seconds.

    From `timestamp` on it is for Live Activities: `event` is needed there, and `content-state` with it.
    """

    alert: str | Alert | None = None
    badge: Badge | None = None
    sound: str | CriticalSound | None = None
    thread_id: str | None = None
    category: str | None = None
    content_available: Flag | None = None
    mutable_content: Flag | None = None
    target_content_id: str | None = None
    interruption_level: Literal["passive", "active", "time-sensitive", "critical"] | None = None
    relevance_score: Annotated[float, Meta(ge=0)] | None = None
    filter_criteria: str | None = None
    content_changed: bool | None = None
    timestamp: Seconds | None = None
    event: Literal["start", "update", "end"] | None = None
    content_state: dict[str, Any] | None = None
    stale_date: Seconds | None = None
    dismissal_date: Seconds | None = None
    attributes_type: str | None = None
    attributes: dict[str, Any] | None = None
    input_push_channel: str | None = None
    input_push_token: Flag | None = None


class ApnsOverrides(Discreet, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a caller may add to, or change in, the APNs request of one notification.

    `topic`: another bundle id of the account. `payload`: keys that stand beside `aps`; they are laid over the
    notification's own data. `priority`: 10 now, 5 when it suits the device's battery, 1 without waking it.
    """

    aps: Aps | None = None
    push_type: PushType | None = None
    priority: Literal[1, 5, 10] | None = None
    topic: Topic | None = None
    collapse_id: CollapseId | None = None
    payload: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.payload is not None and "aps" in self.payload:
            raise ValueError("payload: aps has a field of its own")
        aps = self.aps or Aps()
        if self.push_type == "background":
            if self.priority == 10:
                raise ValueError("priority of a background push must be 5 or 1: APNs refuses 10")
            if aps.alert is not None or aps.badge is not None or aps.sound is not None:
                raise ValueError("aps: a background push has no alert, badge or sound")
        if (self.push_type == "liveactivity") != (aps.event is not None):
            raise ValueError("aps: event and push_type liveactivity need each other")
        if aps.event is None and (aps.relevance_score or 0) > 1:
            raise ValueError("aps: relevance-score is at most 1, except for Live Activities")
        if aps.event in ("start", "update") and aps.content_state is None:
            raise ValueError(f"aps: event {aps.event} needs content-state")
        if aps.event == "start" and (aps.attributes_type is None or aps.attributes is None):
            raise ValueError("aps: event start needs attributes-type and attributes")


def validate_overrides(raw: dict[str, Any]) -> ApnsOverrides:
    """`raw` as typed overrides; msgspec.ValidationError says what is wrong and where (`$.aps.badge`).

    To store or send them as JSON again: `msgspec.to_builtins(overrides)` leaves out what was not given.
    """
    return msgspec.convert(raw, ApnsOverrides)
