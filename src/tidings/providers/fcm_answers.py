"""What an answer of FCM HTTP v1 means: `ROWS` is the whole table, the rest reads an answer for it.

Sources: the ErrorCode reference, "Scale to millions of messages" (retries), captured bodies of real answers.
`docs/providers/fcm.md` holds the same table for operators.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from tidings.discreet import Discreet
from tidings.http import Answer, Failure, clamp_wait_s, retry_after_s
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent

RETRY_FLOOR_S = 10.0
"""FCM asks that nothing be sent again sooner, if it names no time ("Scale to millions of messages")."""

QUOTA_WAIT_S = 60.0
"""The least first wait after a 429 without Retry-After (ErrorCode page, QUOTA_EXCEEDED)."""

MAX_DETAIL = 300

NONE = ""  # no FcmError in the answer (or UNSPECIFIED_ERROR, which says as little)
OTHER = "other"  # an FcmError that is not in the table: FCM has a new one


class About(StrEnum):
    """What an error is about, where the code alone does not tell."""

    ADDRESS = "address"
    SIZE = "size"
    DEVICE_RATE = "device_rate"
    ELSE = "else"


class Row(Struct, frozen=True):
    """One line of the table; it matches when all its conditions hold, None being no condition.

    `http`: first and last status. `fcm`: the FcmError code, `NONE` or `OTHER`. `wait_s`: for a Retry, when
    neither Retry-After nor RetryInfo names a time; None there means the caller's floor.
    """

    http: tuple[int, int]
    fcm: str | None
    about: About | None
    kind: type[Retry] | type[Rejected] | type[Gone] | type[Paused]
    reason: Reason
    wait_s: float | None = None
    account_wide: bool = False


_ANY, _4XX, _400, _401, _403, _404 = (0, 999), (400, 499), (400, 400), (401, 401), (403, 403), (404, 404)

# The first row that matches is the answer. The last one matches everything, so there always is one.
ROWS: tuple[Row, ...] = (
    Row(_4XX, "UNREGISTERED", None, Gone, Reason.UNREGISTERED),
    Row(_4XX, "SENDER_ID_MISMATCH", None, Gone, Reason.SENDER_MISMATCH),
    Row(_4XX, "INVALID_ARGUMENT", About.ADDRESS, Gone, Reason.INVALID_ADDRESS),
    Row(_4XX, "INVALID_ARGUMENT", About.SIZE, Rejected, Reason.MESSAGE_TOO_BIG),
    Row(_4XX, "INVALID_ARGUMENT", None, Rejected, Reason.INVALID_MESSAGE),
    Row(_4XX, "THIRD_PARTY_AUTH_ERROR", None, Paused, Reason.VENDOR_CREDENTIALS),
    Row(_4XX, "APNS_AUTH_ERROR", None, Paused, Reason.VENDOR_CREDENTIALS),  # its old name
    Row(_4XX, "QUOTA_EXCEEDED", About.DEVICE_RATE, Retry, Reason.RATE_LIMITED, QUOTA_WAIT_S),
    Row(_4XX, "QUOTA_EXCEEDED", None, Retry, Reason.RATE_LIMITED, QUOTA_WAIT_S, account_wide=True),
    Row(_ANY, "UNAVAILABLE", None, Retry, Reason.UNAVAILABLE),
    Row(_ANY, "INTERNAL", None, Retry, Reason.UNAVAILABLE),
    # From here on the HTTP status decides. Without an FcmError, 401, 403 and 404 are about the account.
    Row(_400, None, About.ADDRESS, Gone, Reason.INVALID_ADDRESS),
    Row(_400, None, About.SIZE, Rejected, Reason.MESSAGE_TOO_BIG),
    Row(_400, None, None, Rejected, Reason.INVALID_MESSAGE),
    Row(_401, NONE, None, Paused, Reason.CREDENTIALS),
    Row(_403, NONE, None, Paused, Reason.CREDENTIALS),
    Row(_404, NONE, None, Paused, Reason.WRONG_ACCOUNT),
    Row((401, 404), OTHER, None, Rejected, Reason.INVALID_MESSAGE),
    Row((413, 413), None, None, Rejected, Reason.MESSAGE_TOO_BIG),
    Row((429, 429), None, About.DEVICE_RATE, Retry, Reason.RATE_LIMITED, QUOTA_WAIT_S),
    Row((429, 429), None, None, Retry, Reason.RATE_LIMITED, QUOTA_WAIT_S, account_wide=True),
    Row(_ANY, None, None, Retry, Reason.UNAVAILABLE),  # 5xx, an HTML page, a redirect, a 200 without a name
)

_KNOWN = frozenset(row.fcm for row in ROWS if row.fcm)
_TOKEN_FIELDS = frozenset({"message.token", "message.fid"})
_TOKEN_WORDS = re.compile(r"\b(registration token|installation id)\b", re.IGNORECASE)
_SIZE_WORDS = re.compile(r"\btoo (big|large)\b", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,10})(\.\d{1,9})?s")


class Told(Discreet, frozen=True):
    """What an error answer says, in whatever state its body is. `fcm`: NONE, OTHER or a code of the table."""

    http: int
    fcm: str
    about: About
    text: str
    wait_s: float | None


class _Accepted(Struct, frozen=True):
    name: str


_decode_accepted = msgspec.json.Decoder(_Accepted).decode


def outcome_of(answer: Answer, secrets: tuple[str, ...], now: datetime, floor_s: float = RETRY_FLOOR_S) -> Outcome:
    """The meaning of an answer. `secrets` (the device token, the access token) are masked in its `detail`.

    `floor_s`: the least wait of a Retry for which the vendor names no time. `now` is for an HTTP-date.
    """
    if answer.status == 200:
        try:
            return Sent(_decode_accepted(answer.body).name)
        except (msgspec.DecodeError, UnicodeError):
            return Retry(Reason.UNAVAILABLE, "200, but not an answer of FCM", after_s=floor_s)
    told = read(answer, now)
    row = row_for(told)
    detail = mask(told.text, secrets)
    if row.kind is Retry:
        wait_s = told.wait_s if told.wait_s is not None else row.wait_s
        return Retry(row.reason, detail, floor_s if wait_s is None else wait_s, row.account_wide)
    return row.kind(row.reason, detail)


def outcome_of_failure(failure: Failure, floor_s: float = RETRY_FLOOR_S) -> Retry:
    """No answer: try again, and not before the floor if FCM may have the message already."""
    reason = Reason.TIMEOUT if failure.timed_out else Reason.CONNECTION
    maybe = failure.maybe_sent
    return Retry(reason, failure.detail, after_s=floor_s if maybe else None, maybe_taken=maybe)


def is_access_refused(answer: Answer) -> bool:
    """401 about our own access token, not about a key that Firebase holds (that one has an FcmError)."""
    return answer.status == 401 and _fcm_code(_details(_error(answer.body))) == NONE


def row_for(told: Told) -> Row:
    """The first row of the table that matches."""
    return next(row for row in ROWS if _matches(row, told))


def read(answer: Answer, now: datetime) -> Told:
    """An error answer, read: never raises, whatever the body is (JSON of any shape, HTML, nothing, cut)."""
    error = _error(answer.body)
    details = _details(error)
    status, message = _text(error.get("status")), _text(error.get("message"))
    violations = [*_listed(details, "google.rpc.BadRequest", "fieldViolations")]
    quotas = [*_listed(details, "google.rpc.QuotaFailure", "violations")]
    code = _fcm_code(details)
    waits = [wait for wait in (_header_wait(answer, now), _info_wait(details)) if wait is not None]
    words = [f"{_text(each.get('field'))} {_text(each.get('description'))}".strip() for each in violations]
    words += [_text(each.get("description")) for each in quotas]
    words += [_text(each.get("reason")) for each in _of_type(details, "google.firebase.fcm.v1.ApnsError")]
    head = " ".join(part for part in (str(answer.status), _raw_code(details) or status) if part)
    text = "; ".join(part for part in (message, *words) if part and part != message)
    return Told(
        http=answer.status,
        fcm=code,
        about=_about(message, violations, quotas),
        text=f"{head}: {text or message}" if (text or message) else head,
        wait_s=max(waits) if waits else None,
    )


def mask(text: str, secrets: tuple[str, ...]) -> str:
    """`text` on one line with every secret replaced, and then cut: half a secret would not be found.

    What is shorter than eight characters is no secret, and replacing it would garble the text.
    """
    for secret in secrets:
        if len(secret) >= 8:
            text = text.replace(secret, "<hidden>")
    text = " ".join(text.split())
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"


def _matches(row: Row, told: Told) -> bool:
    return (
        row.http[0] <= told.http <= row.http[1]
        and (row.fcm is None or row.fcm == told.fcm)
        and (row.about is None or row.about is told.about)
    )


def _about(message: str, violations: list[dict[str, Any]], quotas: list[dict[str, Any]]) -> About:
    fields = {_text(each.get("field")) for each in violations}
    if fields & _TOKEN_FIELDS:
        return About.ADDRESS
    # The message may quote what the caller wrote. When it names another field it is not about the token, so a
    # notification that speaks of a "registration token" can't disable a device.
    if not fields and _TOKEN_WORDS.search(message):
        return About.ADDRESS
    if not fields and _SIZE_WORDS.search(message):
        return About.SIZE
    told = " ".join(f"{_text(each.get('subject'))} {_text(each.get('description'))}" for each in quotas)
    return About.DEVICE_RATE if "device" in told.lower() else About.ELSE


def _header_wait(answer: Answer, now: datetime) -> float | None:
    return retry_after_s(answer.headers.get("retry-after"), now)


def _info_wait(details: list[dict[str, Any]]) -> float | None:
    for info in _of_type(details, "google.rpc.RetryInfo"):
        if found := _DURATION.fullmatch(_text(info.get("retryDelay"))):
            return clamp_wait_s(float(found[1] + (found[2] or "")))
    return None


def _fcm_code(details: list[dict[str, Any]]) -> str:
    code = _raw_code(details)
    if code in ("", "UNSPECIFIED_ERROR"):
        return NONE
    return code if code in _KNOWN else OTHER


def _raw_code(details: list[dict[str, Any]]) -> str:
    found = (_text(each.get("errorCode")) for each in _of_type(details, "google.firebase.fcm.v1.FcmError"))
    return next(found, "")


def _error(body: bytes) -> dict[str, Any]:
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    error = whole.get("error") if isinstance(whole, dict) else None
    return error if isinstance(error, dict) else {}


def _details(error: dict[str, Any]) -> list[dict[str, Any]]:
    details = error.get("details")
    return [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []


def _of_type(details: list[dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    return (each for each in details if _text(each.get("@type")).endswith(name))


def _listed(details: list[dict[str, Any]], name: str, key: str) -> Iterator[dict[str, Any]]:
    for each in _of_type(details, name):
        inner = each.get(key)
        if isinstance(inner, list):
            yield from (item for item in inner if isinstance(item, dict))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
