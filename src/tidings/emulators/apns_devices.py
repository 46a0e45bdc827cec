"""The devices that the emulated APNs knows, and device tokens that say what shall happen to them.

Any hexadecimal token is a good one unless it was registered otherwise, or begins with `facade`. Tokens must
be hexadecimal, so the words of other vendors' magic tokens are numbers here. What follows is free, so each
test can have its own; 64 digits are usual.

==================  ========  ====================================  =====  ===============================
token begins with   HTTP      reason                                taken  remark
==================  ========  ====================================  =====  ===============================
``facade40001`` …   400       ``apns_reasons.REASONS``, in order    no     01 BadCollapseId … 14
``facade40301`` …   403       in order                              no     01 BadCertificate … 08
``facade40401``     404       BadPath                               no
``facade40501``     405       MethodNotAllowed                      no
``facade41001``     410       ExpiredToken                          no     since just now
``facade41002``     410       Unregistered                          no     since just now
``facade41003``     410       Unregistered                          no     since 2020-01-01
``facade41004``     410       Unregistered                          no     without a timestamp
``facade41301``     413       PayloadTooLarge                       no
``facade42901``     429       TooManyProviderTokenUpdates           no
``facade42902``     429       TooManyRequests                       no
``facade42903``     429       TooManyRequests                       no     with Retry-After: 90
``facade50001``     500       InternalServerError                   no
``facade50301``     503       ServiceUnavailable                    no
``facade50302``     503       Shutdown                              no     and GOAWAY
``facade50303``     503       \\-                                    no     an HTML page
``facade00001``     cut       \\-                                    no     the connection is cut
``facade00002``     cut       \\-                                    yes    taken, then the connection is cut
``facade00003``     reset     \\-                                    no     RST_STREAM INTERNAL_ERROR
``facade00004``     never     \\-                                    no     no answer for two minutes
``facade00005``     200       \\-                                    yes    and GOAWAY
``facade00006``     cut, 200  \\-                                    yes    the first time it is cut
``facade00007``     reset     \\-                                    yes    the first time REFUSED_STREAM
``facade1<ms>``     200       \\-                                    yes    four digits: that much later
``facade2<n>``      503, 200  ServiceUnavailable                    yes    two digits: fails n times
==================  ========  ====================================  =====  ===============================
"""

import re
from collections import OrderedDict
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, Struct

from tidings.emulators import apns_reasons
from tidings.emulators.exchange import Drop, ErrorCode, Reset, Response
from tidings.emulators.faults import HANG, LOST, Effect

T = TypeVar("T")
MAGIC = "facade"
_REMEMBERED = 100_000
_OLD_MS = 1_577_836_800_000  # 2020-01-01
_TOKEN = re.compile(r"(?:[0-9a-fA-F]{2}){16,512}")
_HTML = Response(503, b"<html><body><h1>503 Service Unavailable</h1></body></html>\n")

_FIXED: dict[str, Effect] = {
    "41003": Effect(apns_reasons.gone("Unregistered", _OLD_MS)),
    "41004": Effect(apns_reasons.refusal("Unregistered")),
    "42903": Effect(apns_reasons.refusal("TooManyRequests", retry_after_s=90)),
    "50302": Effect(apns_reasons.refusal("Shutdown"), goaway=True),
    "50303": Effect(_HTML),
    "00001": Effect(Drop()),
    "00002": LOST,
    "00003": Effect(Reset(ErrorCode.INTERNAL_ERROR)),
    "00004": HANG,
    "00005": Effect(goaway=True),
}
_ONCE = {"00006": Effect(Drop()), "00007": Effect(Reset(ErrorCode.REFUSED_STREAM))}


class Device(Struct, frozen=True, forbid_unknown_fields=True):
    """A token that was registered. `since_ms`: when it ended (Unix milliseconds), None for just now."""

    token: Annotated[str, Meta(pattern=_TOKEN.pattern)]
    topic: str | None = None
    environment: Literal["production", "development"] | None = None
    state: Literal["good", "unregistered", "expired"] = "good"
    since_ms: int | None = None


class Devices:
    """The last 100,000 registered ones, and how often each flaky token has failed."""

    def __init__(self, environment: str) -> None:
        self._environment = environment
        self._known: OrderedDict[str, Device] = OrderedDict()
        self._failed: OrderedDict[str, int] = OrderedDict()

    def register(self, device: Device) -> None:
        """Know it so from now on. Twice is safe."""
        _remember(self._known, device.token.lower(), device)

    def problem(self, token: str, topic: str) -> Response | None:
        """Why a push can't go to this token, None when it can."""
        if not _TOKEN.fullmatch(token):
            return apns_reasons.refusal("BadDeviceToken")
        device = self._known.get(token.lower())
        if device is None:
            return None
        if device.environment not in (None, self._environment):
            return apns_reasons.refusal("BadDeviceToken")
        if device.topic not in (None, topic):
            return apns_reasons.refusal("DeviceTokenNotForTopic")
        if device.state == "good":
            return None
        return apns_reasons.gone("Unregistered" if device.state == "unregistered" else "ExpiredToken", device.since_ms)

    def effect(self, token: str) -> Effect | None:
        """What a magic token asks for, None for an ordinary one."""
        if not token.startswith(MAGIC):
            return None
        word = token[len(MAGIC) : len(MAGIC) + 5]
        if word in _ONCE:
            return self._failing(token, 1, _ONCE[word])
        if word in _FIXED:
            return _FIXED[word]
        if not (word.isascii() and word.isdecimal()):
            return None
        if word[0] == "1":
            return Effect(delay_s=int(word[1:]) / 1000)
        if word[0] == "2":
            unavailable = Effect(apns_reasons.refusal("ServiceUnavailable"))
            return self._failing(token, int(word[1:3]), unavailable)
        names = apns_reasons.REASONS.get(int(word[:3]), ())
        place = int(word[3:])
        if not 1 <= place <= len(names):
            return None
        name = names[place - 1]
        return Effect(apns_reasons.gone(name) if word[:3] == "410" else apns_reasons.refusal(name))

    def clear(self) -> None:
        """Forget the registered ones; flaky tokens start again."""
        self._known.clear()
        self._failed.clear()

    def _failing(self, token: str, times: int, failure: Effect) -> Effect | None:
        failed = self._failed.get(token, 0)
        if failed >= times:
            return None
        _remember(self._failed, token, failed + 1)
        return failure


def _remember(kept: OrderedDict[str, T], key: str, value: T) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)
