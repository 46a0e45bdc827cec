"""Which channels a notification takes: all of those it names, or one after the other until one can deliver.

Stored as one short text, null for the usual ones: `email,sms` is both, `push>sms` is SMS only if push can't deliver.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from msgspec import Struct

Channel = Literal["push", "websocket", "email", "sms", "chat"]
PUSH, WEBSOCKET, EMAIL, SMS, CHAT = "push", "websocket", "email", "sms", "chat"
CHANNELS: tuple[Channel, ...] = ("push", "websocket", "email", "sms", "chat")
ALL: Literal["all"] = "all"

LIVE = frozenset({"pending", "sending", "sent", "delivered"})  # a delivery that has arrived, or may yet


class Route(Struct, frozen=True):
    """`fallback`: each of the channels only if those before it can't deliver."""

    channels: tuple[str, ...]
    fallback: bool = False


USUAL = Route((PUSH, WEBSOCKET))


def write(channels: Sequence[str] | Literal["all"] | None, fallback: Sequence[str] | None) -> str | None:
    """The text that is stored. At most one of the two may be given."""
    if fallback is not None:
        return ">".join(fallback)
    if channels is None:
        return None
    return ALL if channels == ALL else ",".join(channels)


@lru_cache(maxsize=1024)  # there are 650 different ones
def read(text: str | None) -> Route:
    """The route that a text stands for. A list of one is that one."""
    if text is None:
        return USUAL
    if text == ALL:
        return Route(CHANNELS)
    if ">" in text:
        return Route(tuple(text.split(">")), fallback=True)
    return Route(tuple(text.split(",")))


def shown(text: str | None) -> tuple[list[Channel] | Literal["all"] | None, list[Channel] | None]:
    """The text as the fields `channels` and `fallback` of the API."""
    if text is None or text == ALL:
        return (ALL if text else None), None
    route = read(text)
    names = [channel for channel in CHANNELS if channel in route.channels]
    names.sort(key=route.channels.index)
    return (None, names) if route.fallback else (names, None)


def next_channel(route: Route, statuses: Mapping[str, Collection[str]], suppressed: Collection[str]) -> str | None:
    """With `fallback`: the channel whose turn it is, if it was not tried yet.

    `statuses`: of what is recorded, by channel; `suppressed`: channels that had nothing to send to. None: one of them
    is under way or has arrived, or all were tried.
    """
    for channel in route.channels:
        if channel in statuses:
            if not LIVE.isdisjoint(statuses[channel]):
                return None
        elif channel not in suppressed:
            return channel
    return None
