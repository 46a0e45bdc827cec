"""The `webpush` part of a notification: what a browser can show beyond title and body, typed.

Names of notification options are those of the Notifications API (`NotificationOptions`) and of declarative
web push. Unknown fields, wrong types and values that a push service would refuse are refused when the
notification is accepted, with the path to the field. What is not given is left out.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tidings.discreet import Discreet

MAX_TTL_S = 2_419_200
"""Four weeks: the longest that FCM keeps a message; Mozilla and Apple keep it for 30 days."""

Address = Annotated[str, Meta(min_length=1, max_length=2048)]
Name = Annotated[str, Meta(max_length=255)]
Topic = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,32}$", examples=["parcel-17"])]
Milliseconds = Annotated[int, Meta(ge=0, le=10_000)]
Urgency = Literal["very-low", "low", "normal", "high"]


class _Part(Discreet, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A part of the message: None means not given."""


class Action(_Part, frozen=True):
    """A button. `navigate`: where it leads, in declarative messages."""

    action: Name
    title: Name
    icon: Address | None = None
    navigate: Address | None = None


class WebPushOverrides(_Part, frozen=True):
    """What a caller may add to, or change in, the Web Push message of one notification.

    `navigate`: the URL that a click opens; relative ones count from the scope of the service worker. `data`
    is laid over the notification's own. `topic`: at most 32 characters of the base64url alphabet; Apple
    decodes it, so one of 4n+1 characters is refused. `ttl`: seconds, instead of the notification's.
    `declarative`: the browser shows it without a service worker (Safari 18.4); needs `navigate`. `mutable`:
    the service worker may change a declarative one first. `app_badge`: the number on the icon.
    """

    title: str | None = None
    body: str | None = None
    navigate: Address | None = None
    icon: Address | None = None
    badge: Address | None = None
    image: Address | None = None
    actions: Annotated[list[Action], Meta(max_length=8)] | None = None
    tag: Name | None = None
    lang: Name | None = None
    dir: Literal["auto", "ltr", "rtl"] | None = None
    silent: bool | None = None
    renotify: bool | None = None
    requireInteraction: bool | None = None  # the Notifications API's own spelling
    timestamp: Annotated[int, Meta(ge=0)] | None = None
    vibrate: Annotated[list[Milliseconds], Meta(max_length=32)] | None = None
    data: dict[str, Any] | None = None
    app_badge: Annotated[int, Meta(ge=0, le=999_999)] | None = None
    urgency: Urgency | None = None
    topic: Topic | None = None
    ttl: Annotated[int, Meta(ge=0, le=MAX_TTL_S)] | None = None
    declarative: bool | None = None
    mutable: bool | None = None

    def __post_init__(self) -> None:
        if self.topic is not None and len(self.topic) % 4 == 1:
            raise ValueError("topic: Apple decodes it as base64url, which never has 4n+1 characters")
        if self.silent and self.vibrate:
            raise ValueError("vibrate: a silent notification can't vibrate")
        if self.renotify and self.tag == "":
            raise ValueError("renotify: needs a tag")
        if self.declarative and self.navigate is None:
            raise ValueError("navigate: a declarative message needs it")
        if self.mutable and not self.declarative:
            raise ValueError("mutable: only a declarative message is shown without the service worker")


def validate_overrides(raw: dict[str, Any]) -> WebPushOverrides:
    """`raw` as typed overrides; msgspec.ValidationError says what is wrong and where (`$.actions[0].title`).

    To store or send them as JSON again: `msgspec.to_builtins(overrides)` leaves out what was not given.
    """
    return msgspec.convert(raw, WebPushOverrides)
