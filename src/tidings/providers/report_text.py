"""What all readers of reports share: bodies decoded within bounds, references found, texts made harmless."""

import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from tidings.providers.contract import BadReport, Fate, Reason, Report

T = TypeVar("T")

MOST_REPORTS = 5_000  # in one body: vendors gather some, but what is longer is not theirs
MOST_DETAIL = 200  # characters

# As `signing.sign_receipt` writes them; whether one is true is for the key to say, not for this pattern.
_REFERENCE = re.compile(
    r"(?<![A-Za-z0-9_.-])[1-9][0-9]{0,18}\.[1-9][0-9]{0,18}\.[a-z]\.(?:0|[1-9][0-9]{0,18})\.[A-Za-z0-9_-]{22}"
    r"(?![A-Za-z0-9_-])",
    re.ASCII,
)
_ADDRESS = re.compile(
    r"[^\s<>\"'():;,]+@[^\s<>\"'():;,]+|(?<![0-9A-Za-z.])\+?[0-9][0-9 ()-]{7,17}[0-9](?![0-9A-Za-z.])"
)
_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://\S+")
_STATUS = re.compile(r"(?<![0-9.])([245])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9.])", re.ASCII)

# RFC 3463, section 3, for class 5. What is not here says that this message failed, and nothing about the address.
_DEAD = {"1.1", "1.2", "1.3", "1.6", "1.10"}
_REASONS = {"3.4": Reason.MESSAGE_TOO_BIG, "2.3": Reason.MESSAGE_TOO_BIG}


def decode(body: bytes, kind: type[T]) -> T:
    """A body of JSON. Raises BadReport when it is not, or does not have the form; unknown fields are let pass."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadReport("The body is not what the vendor sends.") from None


def find_reference(texts: Iterable[object]) -> str:
    """The first reference of ours in these texts, "" when there is none. What is not text is passed over.

    Look only where we have put it: a text that someone else wrote may hold a reference that someone else was given.
    """
    for text in texts:
        if isinstance(text, str) and (found := _REFERENCE.search(text[:10_000])):
            return found[0]
    return ""


def clean(text: object) -> str:
    """A vendor's words as they may be kept: one line, bounded, without addresses, links, references of ours and
    control characters. What the message said, only the caller can know (`quoted.hide`)."""
    if not isinstance(text, str):
        return ""
    words = " ".join(text[: 4 * MOST_DETAIL].split())
    kept = "".join(letter for letter in words if letter.isprintable())
    for pattern in (_LINK, _REFERENCE, _ADDRESS):
        kept = pattern.sub("…", kept)
    return kept[:MOST_DETAIL].strip()


def find_status(text: object) -> str:
    """The first enhanced status code (RFC 3463) in a text, such as 5.1.1; "" when there is none."""
    found = _STATUS.search(text[:4_000]) if isinstance(text, str) else None
    return found[0] if found else ""


def judge(status: str, *, unless_known: Fate = Fate.BOUNCED) -> tuple[Fate, Reason]:
    """What a final failure with this enhanced status means. `unless_known`: the vendor's own verdict without one.

    Only 5.1.x of those that speak of the mailbox make an address bad: a full mailbox empties, and one that refuses us
    for policy (5.7.x) takes mail from others.
    """
    kind, _, rest = status.partition(".")
    if not rest:
        return unless_known, Reason.INVALID_ADDRESS if unless_known is Fate.BOUNCED else Reason.UNAVAILABLE
    if kind == "5" and rest in _DEAD:
        return Fate.BOUNCED, Reason.INVALID_ADDRESS
    if kind == "5" and rest in _REASONS:
        return Fate.FAILED, _REASONS[rest]
    if kind == "5" and rest.startswith(("6.", "7.")):
        return Fate.FAILED, Reason.INVALID_MESSAGE
    if kind == "5" and rest in ("0.0", "1.0"):  # "other": no more is known than the vendor says
        return judge("", unless_known=unless_known)
    return Fate.FAILED, Reason.UNAVAILABLE


def failure(status: str, report: Report, *, unless_known: Fate = Fate.BOUNCED) -> Report:
    """`report` with the fate and reason that the status gives."""
    fate, reason = judge(status, unless_known=unless_known)
    return msgspec.structs.replace(report, fate=fate, reason=reason)
