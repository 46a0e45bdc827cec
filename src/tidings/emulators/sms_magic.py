"""Telephone numbers that say what shall happen to them: every answer and every report of the SMS vendors.

Numbers of other shapes are good ones. `+1500555000n` are Twilio's own ("Test credentials"); the others follow
their pattern, and like those belong to nobody.

=====================  ==========================================================================================
number                 what happens
=====================  ==========================================================================================
``+15005550001``       Twilio: 21211, not a telephone number
``+15005550002``       Twilio: 21612, no route from the sender
``+15005550003``       Twilio: 21408, the country is not enabled
``+15005550004``       Twilio: 21610, opted out
``+15005550009``       Twilio: 21614, not a mobile number
``+150055CCCCC``       Twilio: 2CCCC the error 2CCCC at once (``+15005521608``); 3CCCC taken, and then reported
                       as undelivered with the error 3CCCC (``+15005530003``)
``+15005570SSS``       Vonage: the status SSS at once (``+15005570009`` is status 9)
``+15005571EEE``       Vonage: taken, and then reported as failed with err-code EEE (``+15005571003``)
``+15005560HHH``       either: the HTTP status HHH (``+15005560503``); 429 and 503 with Retry-After: 7
``+15005561001``       either: the connection is cut, not taken
``+15005561002``       either: taken, then the connection is cut
``+15005561003``       either: no answer for two minutes, then a cut
``+15005561004``       either: the stream is reset, not taken
``+15005561005``       either: taken, and the answer is no JSON
``+15005562nnn``       either: taken nnn × 10 ms later
``+15005563nnn``       either: taken, and never reported
``+15005564nnn``       either: failed with 503 the first time, then taken
=====================  ==========================================================================================
"""

from collections import OrderedDict
from collections.abc import Callable

from tidings.emulators.exchange import Drop, ErrorCode, Reset, Response
from tidings.emulators.faults import HANG, LOST, Effect

PREFIX = "+150055"
_OWN = {"50001": 21211, "50002": 21612, "50003": 21408, "50004": 21610, "50009": 21614}
_GARBAGE = Effect(Response(201, b"<ok/>", (("content-type", "text/plain"),)), accepted=True)
_BREAKS = {
    "001": Effect(Drop()),
    "002": LOST,
    "003": HANG,
    "004": Effect(Reset(ErrorCode.INTERNAL_ERROR)),
    "005": _GARBAGE,
}
_REMEMBERED = 100_000


def twilio_code(number: str) -> int | None:
    """The error that Twilio answers at once for this number, None for none."""
    rest = _rest(number)
    if rest in _OWN:
        return _OWN[rest]
    return int(rest) if rest.startswith("2") else None


def twilio_report(number: str) -> int | None:
    """The error that Twilio reports later about a message to this number, None: it arrives."""
    rest = _rest(number)
    return int(rest) if rest.startswith("3") else None


def vonage_status(number: str) -> str | None:
    """The status that Vonage answers at once for this number, None for 0."""
    rest = _rest(number)
    return str(int(rest[2:])) if rest.startswith("70") else None


def vonage_report(number: str) -> str | None:
    """The err-code that Vonage reports later about a message to this number, None: it arrives."""
    rest = _rest(number)
    return str(int(rest[2:])) if rest.startswith("71") else None


def silent(number: str) -> bool:
    """Whether no report ever comes about this number."""
    return _rest(number).startswith("63")


class MagicNumbers:
    """What both vendors do alike. `refusal`: the vendor's own body for an HTTP status and a Retry-After."""

    def __init__(self, refusal: Callable[[int, int | None], Response]) -> None:
        self._refusal = refusal
        self._failed: OrderedDict[str, None] = OrderedDict()

    def effect(self, number: str) -> Effect | None:
        """What the number asks for, None for an ordinary one."""
        rest = _rest(number)
        if not rest.startswith("6"):
            return None
        kind, figure = rest[1], rest[2:]
        if kind == "0" and 400 <= int(figure) <= 599:
            return Effect(self._refusal(int(figure), 7 if figure in ("429", "503") else None))
        if kind == "1":
            return _BREAKS.get(figure)
        if kind == "2":
            return Effect(delay_s=int(figure) / 100)
        if kind == "4" and number not in self._failed:
            self._failed[number] = None
            if len(self._failed) > _REMEMBERED:
                self._failed.popitem(last=False)
            return Effect(self._refusal(503, None))
        return None

    def forget(self) -> None:
        """Numbers that failed once do so again."""
        self._failed.clear()


def _rest(number: str) -> str:
    """The last five digits of a magic number, "" for another one."""
    rest = number.removeprefix(PREFIX)
    return rest if len(number) == 12 and len(rest) == 5 and rest.isascii() and rest.isdigit() else ""
