"""What others quote of what they were told: to be masked in what is kept, or shown, of that.

A refusal is kept longer than the message: deleting a user erases what was said to them, but not what became of it. And
it is shown to operators, who need the vendor's reason but neither the address nor the text.
"""

import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

import msgspec

from tidings.providers.contract import Message
from tidings.providers.encoded_words import decoded

HIDDEN = "<hidden>"
LEAST = 6
"""What is shorter is no secret, and hiding it would garble the vendor's own words."""

PIECE = 16
"""Vendors cut what they quote, and servers wrap their lines: so many characters of a secret are hidden by themselves,
wherever they begin. Less could be the vendor's words as well."""

_ENUM = "Invalid enum value"
_MOST_SEARCHED = 2_000  # characters of an answer; what is kept of one is much shorter
_STEP = PIECE // 2
_PLACES = 20  # of one part, where it may stand in the secrets: who writes both must not keep us busy


def quotable(message: Message) -> tuple[str, ...]:
    """The texts of a message that are a person's, or a key to something: what it says, whom it goes to, and the links
    by which it is confirmed and unsubscribed from. Longest first, so that masking one leaves no piece of another.

    Of the overrides, which have a form, the values; of `data` the names of members, too.
    """
    links = (message.receipt_url, message.unsubscribe_url, message.reports_url)
    tokens = (link.rstrip("/").rpartition("/")[2] for link in (message.receipt_url, message.unsubscribe_url) if link)
    said = (message.title, message.body, message.data)
    own = (message.address, message.reference, message.collapse_key, *said, *links, *tokens)
    return longest_first((*_texts(own), *_values(message.overrides)))


def texts_of(*values: object) -> tuple[str, ...]:
    """Every text in JSON values, the names of members too: for `hide`, where there is no message any more."""
    return longest_first(_texts(values))


def longest_first(texts: Iterable[str]) -> tuple[str, ...]:
    """Each of them once, without empty ones."""
    return tuple(sorted({text for text in texts if text}, key=len, reverse=True))


def hide(text: str, secrets: Iterable[str], *, least: int = LEAST) -> str:
    """`text` on one line, with every secret of at least `least` characters masked.

    Also as URLs, forms, JSON and HTML write it, in other letters' case, and in pieces of `PIECE` characters. Encoded
    words are decoded, so that who masks addresses afterwards can see them. Cut the text afterwards, not before: the
    half of a secret is found only when it is long. What comes after `_MOST_SEARCHED` characters is left out. Pure; it
    takes a fraction of a millisecond, or some for secrets of 100 KB.
    """
    line = " ".join(text.split())
    whole, line = len(line), " ".join(decoded(line[:_MOST_SEARCHED]).split())
    # One line each, too: a server wraps what it quotes.
    hidden = longest_first(" ".join(form.split()) for secret in secrets for form in _forms(secret, line))
    lowered = line.lower()
    for secret in hidden:
        if len(secret) >= least and secret.lower() in lowered:
            line = re.sub(re.escape(secret), HIDDEN, line, flags=re.IGNORECASE)
            lowered = line.lower()
    line = _without_pieces(line, "\n".join(each for each in hidden if len(each) >= PIECE))
    return line if whole <= _MOST_SEARCHED else line[:-PIECE]  # which may be the beginning of a secret


def what_is_wrong(error: msgspec.ValidationError) -> str:
    """What msgspec says of values that were given, without the values: of those it quotes only what is no known word,
    and that may be a key which stands in the wrong place."""
    said = str(error)
    if not said.startswith(_ENUM):
        return said
    place = said.rfind(" - at `")
    return _ENUM + (said[place:] if place >= 0 else "")


def _forms(secret: str, line: str) -> Iterator[str]:
    """The secret as it may stand in `line`: in those forms that leave a trace there."""
    yield secret
    if secret.isalnum() and secret.isascii():
        return
    yield decoded(secret)
    sound = secret.encode("utf-8", "replace").decode()  # a lone surrogate can't be sent in any of these forms
    if "%" in line or "+" in line:
        yield from (quote(sound, safe=""), quote(sound), quote_plus(sound))
    if "&" in line:
        yield html.escape(sound)
    if "\\" in line:
        yield from (json.dumps(sound)[1:-1], json.dumps(sound, ensure_ascii=False)[1:-1])


def _without_pieces(line: str, secrets: str) -> str:
    """Every stretch of `PIECE` characters that `secrets` holds too, hidden. Of such a stretch there is an aligned part
    of half its length, so only those are looked for, and then how far it reaches."""
    kept: list[str] = []
    done = at = 0
    while at + _STEP <= len(line):
        start, end = at, at + _STEP
        at += _STEP
        place = secrets.find(line[start:end]) if start >= done else -1
        for _ in range(_PLACES):
            if place < 0:
                break
            first, last = _stretch(line, start, end, secrets, place, done)
            if last - first >= PIECE and HIDDEN not in line[first:last]:
                kept += (line[done:first], HIDDEN)
                done = last
                break
            place = secrets.find(line[start:end], place + 1)
    return "".join((*kept, line[done:]))


def _stretch(line: str, start: int, end: int, secrets: str, place: int, least: int) -> tuple[int, int]:
    """How far `line` and `secrets` agree around line[start:end], which stands in `secrets` at `place`."""
    behind = place + end - start
    while start > least and place > 0 and line[start - 1] == secrets[place - 1]:
        start, place = start - 1, place - 1
    while end < len(line) and behind < len(secrets) and line[end] == secrets[behind]:
        end, behind = end + 1, behind + 1
    return start, end


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value, the names of members too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts((*value.keys(), *value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _values(value: object) -> Iterator[str]:
    """Every text in a JSON value but the names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _values(inner)
