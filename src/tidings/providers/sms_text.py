"""The text of an SMS and the number it goes to: which encoding it takes, how many segments, what both may be.

Sources: 3GPP TS 23.038 §6.2.1 (the GSM 7-bit alphabet and its extension table), TS 23.040 §9.2.3.24 (the header
that joins segments), ITU-T E.164 for numbers.
"""

import re
from collections.abc import Iterable

from tidings.discreet import Discreet

MAX_CHARS = 1600
"""Twilio takes no longer text (error 21617), and what is longer no longer suits a phone."""

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")  # an escape goes before each of them: two septets
_GSM7 = _BASIC | _EXTENSION
# A segment holds 140 bytes; one of several gives 6 of them to the header that joins them.
_GSM7_ALONE, _GSM7_JOINED = 160, 153
_UCS2_ALONE, _UCS2_JOINED = 70, 67

_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
# What word processors write, and the character of the GSM alphabet that reads the same.
_LOOK_ALIKES = str.maketrans(
    {
        "‘": "'", "’": "'", "‚": "'", "‛": "'", "′": "'", "“": '"', "”": '"', "„": '"', "‟": '"', "″": '"',
        "«": '"', "»": '"', "‹": "<", "›": ">", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "−": "-",
        "…": "...", "•": "-", "`": "'", "´": "'", "\t": " ", "\u00a0": " ", "\u2002": " ", "\u2003": " ",
        "\u2009": " ", "\u202f": " ", "\u200b": "", "\u2060": "", "\ufeff": "",
    }
)  # fmt: skip


class NumberError(ValueError):
    """Not a telephone number that can be called from everywhere; the text says what is wrong, not the number."""


class Text(Discreet, frozen=True):
    """What is sent. `unicode`: it takes UCS-2. `segments`: as many as are paid for."""

    value: str
    unicode: bool
    segments: int


def compose(title: str, body: str, *, smart: bool = True) -> Text:
    """Title and body as one text, the title on a line of its own. Empty when there is neither.

    `smart`: typographic quotes, dashes and spaces become plain ones when that alone brings the whole text into
    the GSM alphabet. One curly apostrophe would halve what a segment holds; no other character is touched.
    """
    value = f"{title}\n{body}" if title and body else title or body
    if set(value) <= _GSM7:
        return Text(value, False, gsm7_segments(value))
    if smart:
        plain = value.translate(_LOOK_ALIKES)
        if set(plain) <= _GSM7:
            return Text(plain, False, gsm7_segments(plain))
    # Half a surrogate pair can't be encoded at all; a phone would show a box.
    value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return Text(value, True, ucs2_segments(value))


def is_gsm7(text: str) -> bool:
    """Whether every character is in the GSM 7-bit alphabet or its extension table."""
    return set(text) <= _GSM7


def gsm7_segments(text: str) -> int:
    """How many segments a text of the GSM alphabet takes: at least 1. No escape is parted from its character."""
    extended = sum(map(text.count, _EXTENSION))
    if len(text) + extended <= _GSM7_ALONE:
        return 1
    if not extended:
        return -(-len(text) // _GSM7_JOINED)
    return _fill((2 if character in _EXTENSION else 1 for character in text), _GSM7_JOINED)


def ucs2_segments(text: str) -> int:
    """How many segments a text takes in UCS-2: at least 1. No surrogate pair is split."""
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if units <= _UCS2_ALONE:
        return 1
    if units == len(text):
        return -(-units // _UCS2_JOINED)
    return _fill((2 if character > "\uffff" else 1 for character in text), _UCS2_JOINED)


def e164(text: str, region: str | None = None) -> str:
    """The number as E.164, such as +447700900123. `region`: ISO 3166 country of numbers without a country code.

    A number passes when its length is one that its country uses; whether it is in use only the vendor knows.
    Raises NumberError. Twice is safe: what comes out goes in.
    """
    import phonenumbers  # noqa: PLC0415 - 3 MB and 70 ms, which a start need not take

    if len(text) > 64:
        raise NumberError("a telephone number has at most 15 digits")
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        raise NumberError("not a telephone number; write it with + and the country code") from error
    if not phonenumbers.is_possible_number(number):
        raise NumberError("no telephone number of that country has this length")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def is_e164(text: str) -> bool:
    """Whether the text has the form of E.164. Cheap: the country's own rules are not looked at."""
    return _E164.fullmatch(text) is not None


def _fill(sizes: Iterable[int], room: int) -> int:
    segments, left = 1, room
    for size in sizes:
        if size > left:
            segments, left = segments + 1, room
        left -= size
    return segments
