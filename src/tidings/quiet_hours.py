"""Quiet hours: when a user is not to be disturbed, by the clock on their wall."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

DAY_MIN = 24 * 60
# Found among the zones, but no places: no zone at all, the machine's own, and copies, some of them with leap seconds.
NO_PLACE = re.compile(r"Factory|localtime|posixrules|(?:posix|right)/.*")

# What to do instead. The name is not quoted: who mixed up fields may have written an address.
UNKNOWN_ZONE = "Not an IANA time zone. Use a name such as Europe/Zurich (capitals count), or null"

CLOCK_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)"
ZoneName = Annotated[
    str, Meta(min_length=1, max_length=64, description="An IANA time zone", examples=["Europe/Zurich"])
]


class QuietHours(
    Struct, frozen=True, forbid_unknown_fields=True, rename={"begins": "from", "ends": "until"}, kw_only=True
):
    """Quiet `from` that time of each day `until` that time, which may lie on the next day and is not quiet any more.

    `timezone`: null is the user's own; without one, UTC. `action`: what comes meanwhile is held until the end, or
    dropped.
    """

    begins: Annotated[str, Meta(pattern=CLOCK_TIME, examples=["22:00"])]
    ends: Annotated[str, Meta(pattern=CLOCK_TIME, examples=["07:00"])]
    timezone: ZoneName | None = None
    action: Literal["hold", "drop"] = "hold"


@lru_cache(maxsize=1024)  # there are about 600 zones
def zone(name: str) -> ZoneInfo | None:
    """The time zone of that IANA name, from the operating system or else from the package tzdata, which is installed
    along; None when neither has it."""
    if NO_PLACE.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # not found; not a name; a folder such as `Europe`, or one too long
        return None


def quiet_until(quiet: QuietHours, user_timezone: str | None, now: datetime) -> datetime | None:
    """When this quiet time ends, in UTC; None when it is not quiet at `now`. Pure.

    Quiet is every instant at which the user's clock shows a time from `begins` on and before `ends`, and the answer is
    the first instant after `now` that is not. So a time that the clock skips in spring is never waited for: quiet
    hours that would end in it end with the skip. Times that the clock shows twice in autumn are quiet twice.

    The zone is that of the quiet hours, else the user's, else UTC; a name that the machine does not know counts as
    none.
    """
    place: tzinfo = next((found for name in (quiet.timezone, user_timezone) if name and (found := zone(name))), UTC)
    begins, ends = _minute(quiet.begins), _minute(quiet.ends)
    at = now.astimezone(UTC)
    for _ in range(8):  # each turn ends the quiet time or passes a change of the clock: years see two of these
        local = at.astimezone(place)
        minute = local.hour * 60 + local.minute
        if (minute - begins) % DAY_MIN >= (ends - begins) % DAY_MIN:
            return None if at == now else at
        past = timedelta(seconds=local.second, microseconds=local.microsecond)
        end = at + timedelta(minutes=(ends - minute) % DAY_MIN) - past
        if end.astimezone(place).utcoffset() == local.utcoffset():
            return end
        at = _change(at, end, place)
    return at


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _change(before: datetime, after: datetime, place: tzinfo) -> datetime:
    """The first whole second in (before, after] at which the clock is set otherwise than at `before`."""
    offset = before.astimezone(place).utcoffset()
    low = before.replace(microsecond=0)
    seconds = int((after - low).total_seconds())
    first, last = 0, seconds
    while last - first > 1:
        middle = (first + last) // 2
        if (low + timedelta(seconds=middle)).astimezone(place).utcoffset() == offset:
            first = middle
        else:
            last = middle
    return low + timedelta(seconds=last)
