"""What a push service's answer means: `ROWS` is the whole table, the rest reads an answer for it.

Every service speaks in its own way: Mozilla in JSON with an `errno` (autopush, errors.md), Apple in JSON with
a `reason`, FCM in plain text or HTML, Windows in headers. `docs/providers/webpush.md` has the same table for
operators.
"""

import re
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from tidings.discreet import Discreet
from tidings.http import Answer, Failure, retry_after_s
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent

KEPT_HEADERS = ("retry-after", "location", "apns-id", "x-wns-error-description", "x-wns-status")

RATE_WAIT_S = 60.0
"""The least first wait after a 429 or 406 that names no time."""

MAX_DETAIL = 300
MAX_ID = 64


class About(StrEnum):
    """What an error is about, where the status alone does not tell."""

    SUBSCRIPTION = "subscription"
    KEY_MISMATCH = "key_mismatch"
    CREDENTIALS = "credentials"
    SIZE = "size"
    RATE = "rate"
    ELSE = "else"


# Mozilla's errno and Apple's reason. Unlisted ones leave the decision to the status.
_ERRNO = {
    102: About.SUBSCRIPTION,
    103: About.SUBSCRIPTION,
    104: About.SIZE,
    105: About.SUBSCRIPTION,
    106: About.SUBSCRIPTION,
    109: About.CREDENTIALS,
}
_REASONS = {
    "VapidPkHashMismatch": About.KEY_MISMATCH,
    "BadJwtToken": About.CREDENTIALS,
    "BadVapidPublicKey": About.CREDENTIALS,
    "BadAuthorizationHeader": About.CREDENTIALS,
    "Unsubscribed": About.SUBSCRIPTION,
    "Unregistered": About.SUBSCRIPTION,
    "ExpiredToken": About.SUBSCRIPTION,
    "BadPath": About.SUBSCRIPTION,
    "PayloadTooLarge": About.SIZE,
    "TooManyRequests": About.RATE,
}
_WORDS: tuple[tuple[re.Pattern[str], About], ...] = (
    # FCM, 403: the credentials do not correspond to those used to create the subscriptions.
    (re.compile(r"do not correspond to the credentials used to create", re.IGNORECASE), About.KEY_MISMATCH),
    # Mozilla, 401: the subscription (a "v2" endpoint) is bound to another key.
    (re.compile(r"(vapid )?(public )?key (mismatch|does not match)", re.IGNORECASE), About.KEY_MISMATCH),
    (re.compile(r"UnauthorizedRegistration", re.IGNORECASE), About.CREDENTIALS),  # FCM, 400
)


class Row(Struct, frozen=True):
    """One line of the table; it matches when all its conditions hold, None being no condition.

    `http`: first and last status. `wait_s`: for a Retry without Retry-After; None there means the caller's
    floor.
    """

    http: tuple[int, int]
    about: About | None
    kind: type[Retry] | type[Rejected] | type[Gone] | type[Paused]
    reason: Reason
    wait_s: float | None = None


_4XX = (400, 499)

# The first row that matches is the answer. The last one matches everything, so there always is one.
ROWS: tuple[Row, ...] = (
    Row((404, 404), None, Gone, Reason.UNREGISTERED),  # RFC 8030 §7.3
    Row((410, 410), None, Gone, Reason.UNREGISTERED),  # what services send in practice
    Row(_4XX, About.KEY_MISMATCH, Gone, Reason.SENDER_MISMATCH),
    Row((400, 403), About.SUBSCRIPTION, Gone, Reason.UNREGISTERED),
    Row((400, 400), About.CREDENTIALS, Paused, Reason.PUSH_SERVICE_CREDENTIALS),
    Row((400, 400), About.SIZE, Rejected, Reason.MESSAGE_TOO_BIG),
    Row((401, 401), None, Paused, Reason.PUSH_SERVICE_CREDENTIALS),
    Row((403, 403), None, Paused, Reason.PUSH_SERVICE_CREDENTIALS),
    Row((406, 406), None, Retry, Reason.RATE_LIMITED, RATE_WAIT_S),  # Windows
    Row((429, 429), None, Retry, Reason.RATE_LIMITED, RATE_WAIT_S),
    Row((413, 413), None, Rejected, Reason.MESSAGE_TOO_BIG),
    Row((408, 408), None, Retry, Reason.UNAVAILABLE),
    Row((425, 425), None, Retry, Reason.UNAVAILABLE),
    Row(_4XX, None, Rejected, Reason.INVALID_MESSAGE),
    Row((0, 999), None, Retry, Reason.UNAVAILABLE),  # 5xx, and a redirect, which is never followed
)


class Told(Discreet, frozen=True):
    """What an error answer says, in whatever state its body is."""

    http: int
    about: About
    text: str
    wait_s: float | None


def outcome_of(answer: Answer, secrets: tuple[str, ...], now: datetime, floor_s: float = 10.0) -> Outcome:
    """The meaning of an answer. `secrets` (the endpoint, the token) are masked in its `detail`.

    `floor_s`: the least wait of a Retry for which the service names no time. `now` is for an HTTP-date.
    """
    if answer.status in (200, 201, 202, 204):
        return Sent(_message_id(answer))
    told = read(answer, now)
    row = row_for(told)
    detail = mask(told.text, secrets)
    if row.kind is Retry:
        least_s = floor_s if row.wait_s is None else row.wait_s
        return Retry(row.reason, detail, least_s if told.wait_s is None else told.wait_s)
    return row.kind(row.reason, detail)


def outcome_of_failure(failure: Failure, floor_s: float) -> Retry:
    """No answer: try again, and not before the floor if the service may have the message already."""
    reason = Reason.TIMEOUT if failure.timed_out else Reason.CONNECTION
    maybe = failure.maybe_sent
    return Retry(reason, failure.detail, after_s=floor_s if maybe else None, maybe_taken=maybe)


def is_about_device(answer: Answer) -> bool:
    """429 for too many messages to one subscription (Apple), not for the rate of them all."""
    return answer.status == 429 and _about(None, _text(_fields(answer.body).get("reason")), "") is About.RATE


def row_for(told: Told) -> Row:
    """The first row of the table that matches."""
    return next(row for row in ROWS if row.http[0] <= told.http <= row.http[1] and row.about in (None, told.about))


def read(answer: Answer, now: datetime) -> Told:
    """An error answer, read: never raises, whatever the body is (JSON of any shape, HTML, nothing, cut)."""
    fields = _fields(answer.body)
    reason, message = _text(fields.get("reason")), _text(fields.get("message"))
    errno = fields.get("errno")
    said = f"errno {errno}" if type(errno) is int else reason
    wns = answer.headers.get("x-wns-error-description") or answer.headers.get("x-wns-status") or ""
    body = "" if fields else _plain(answer.body)
    text = message or _text(fields.get("error")) or wns or body
    head = f"{answer.status} {said}".strip()
    return Told(
        http=answer.status,
        about=_about(errno, reason, f"{message} {body}"),
        text=f"{head}: {text}" if text else head,
        wait_s=retry_after_s(answer.headers.get("retry-after"), now),
    )


def mask(text: str, secrets: tuple[str, ...]) -> str:
    """`text` on one line with every secret replaced, and then cut: half a secret would not be found."""
    for secret in secrets:
        if len(secret) >= 8:
            text = text.replace(secret, "<hidden>")
    text = " ".join(text.split())
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"


def _about(errno: Any, reason: str, text: str) -> About:
    for pattern, about in _WORDS:
        if pattern.search(text):
            return about
    if type(errno) is int and errno in _ERRNO:
        return _ERRNO[errno]
    return _REASONS.get(reason, About.ELSE)


def _message_id(answer: Answer) -> str | None:
    """Apple's own id, or the end of the message's URL; a long one by its hash, for who has it can delete the
    message (RFC 8030 §7.2)."""
    found = answer.headers.get("apns-id") or answer.headers.get("location", "").rstrip("/").rpartition("/")[2]
    if not found:
        return None
    return found if len(found) <= MAX_ID and found.isprintable() else sha256(found.encode()).hexdigest()


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return fields if type(fields) is dict else {}


def _plain(body: bytes) -> str:
    """A text answer as it is; of a page, its words."""
    return re.sub(r"<[^>]{0,500}>", " ", body[:4096].decode(errors="replace")).strip()


def _text(value: Any) -> str:
    return value if type(value) is str else ""
