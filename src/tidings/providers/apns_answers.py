"""What an answer of APNs means: `ROWS` is the whole table, the rest reads an answer for it.

Sources: Apple, "Handling notification responses from APNs"; an Apple engineer on which answers remove a token
(developer.apple.com/forums/thread/807380). `docs/providers/apns.md` holds the same table for operators.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from tidings.http import Answer, Failure, retry_after_s
from tidings.providers.apns_account import UNAVAILABLE_WAIT_S
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent

DEVICE_WAIT_S = 60.0
"""After TooManyRequests for one device. Apple gives no figure; this one is ours."""

TOKEN_REST_S = 1200.0
"""After TooManyProviderTokenUpdates: Apple counts updates per 20 minutes."""

RECONNECT_WAIT_S = 1.0
"""After a connection went away. The worker adds its own backoff and jitter."""

MAX_DETAIL = 200
_LAST_MS = 4_102_444_800_000  # 2100-01-01


class Then(StrEnum):
    """What the provider does at once, before it hands out the outcome."""

    NOTHING = "nothing"
    SIGN_ANEW = "sign_anew"  # sign another provider token and send again, once
    NEW_CONNECTION = "new_connection"  # send again, once, over a fresh connection
    AGAIN = "again"  # send again, once, over another connection
    CLOSE = "close"  # what is wrong is bound to the connection: the next call gets a fresh one


class Row(Struct, frozen=True):
    """One line of the table. `http` and `name` (Apple's `reason`) None: any. `wait_s` is for a Retry, None
    there means the account's wait after a 5xx.
    """

    http: int | None
    name: str | None
    kind: type[Retry] | type[Rejected] | type[Gone] | type[Paused]
    reason: Reason
    wait_s: float | None = None
    account_wide: bool = False
    then: Then = Then.NOTHING


def _message(http: int, *names: str) -> tuple[Row, ...]:
    return tuple(Row(http, name, Rejected, Reason.INVALID_MESSAGE) for name in names)


def _credentials(http: int, *names: str) -> tuple[Row, ...]:
    return tuple(Row(http, name, Paused, Reason.CREDENTIALS, then=Then.CLOSE) for name in names)


_UPDATES = "TooManyProviderTokenUpdates"

# The first row that matches is the answer. The last one matches everything, so there always is one.
ROWS: tuple[Row, ...] = (
    Row(400, "BadDeviceToken", Gone, Reason.INVALID_ADDRESS),
    Row(400, "DeviceTokenNotForTopic", Gone, Reason.SENDER_MISMATCH),
    *_message(400, "BadCollapseId", "BadExpirationDate", "BadMessageId", "BadPriority", "BadTopic"),
    *_message(400, "DuplicateHeaders", "InvalidPushType", "MissingDeviceToken", "MissingTopic"),
    *_message(400, "PayloadEmpty"),
    *_credentials(400, "TopicDisallowed"),
    Row(400, "IdleTimeout", Retry, Reason.CONNECTION, RECONNECT_WAIT_S, then=Then.NEW_CONNECTION),
    *_credentials(403, "BadCertificate", "BadCertificateEnvironment", "InvalidProviderToken"),
    *_credentials(403, "MissingProviderToken", "Forbidden"),
    # Documented with "Id"; the server has been seen to leave it out.
    *_credentials(403, "BadEnvironmentKeyIdInToken", "BadEnvironmentKeyInToken"),
    Row(403, "ExpiredProviderToken", Paused, Reason.CREDENTIALS, then=Then.SIGN_ANEW),
    Row(403, "UnrelatedKeyIdInToken", Paused, Reason.CREDENTIALS, then=Then.NEW_CONNECTION),
    *_message(404, "BadPath"),
    *_message(405, "MethodNotAllowed"),
    Row(410, "Unregistered", Gone, Reason.UNREGISTERED),
    Row(410, "ExpiredToken", Gone, Reason.UNREGISTERED),
    Row(413, "PayloadTooLarge", Rejected, Reason.MESSAGE_TOO_BIG),
    Row(429, "TooManyRequests", Retry, Reason.RATE_LIMITED, DEVICE_WAIT_S),
    Row(429, _UPDATES, Retry, Reason.RATE_LIMITED, TOKEN_REST_S, account_wide=True),
    Row(500, "InternalServerError", Retry, Reason.UNAVAILABLE, then=Then.AGAIN),
    Row(503, "ServiceUnavailable", Retry, Reason.UNAVAILABLE, then=Then.AGAIN),
    Row(503, "Shutdown", Retry, Reason.CONNECTION, RECONNECT_WAIT_S, then=Then.NEW_CONNECTION),
    # From here on Apple's word is missing or new to us, and the HTTP status decides.
    Row(400, None, Rejected, Reason.INVALID_MESSAGE),
    Row(403, None, Paused, Reason.CREDENTIALS, then=Then.CLOSE),
    Row(404, None, Rejected, Reason.INVALID_MESSAGE),
    Row(405, None, Rejected, Reason.INVALID_MESSAGE),
    Row(410, None, Gone, Reason.UNREGISTERED),
    Row(413, None, Rejected, Reason.MESSAGE_TOO_BIG),
    Row(429, None, Retry, Reason.RATE_LIMITED, DEVICE_WAIT_S),
    Row(None, None, Retry, Reason.UNAVAILABLE),  # 5xx, a redirect, an HTML page of something in between
)
_NAMED = {(row.http, row.name): row for row in ROWS if row.name is not None}
_BY_STATUS = {row.http: row for row in ROWS if row.name is None}


class Told(Struct, frozen=True):
    """What an error answer says, in whatever state its body is. `name` is empty when it names no reason."""

    http: int
    name: str
    since: datetime | None


def row_for(told: Told) -> Row:
    """The first row of the table that matches."""
    return _NAMED.get((told.http, told.name)) or _BY_STATUS.get(told.http) or _BY_STATUS[None]


def read(answer: Answer) -> Told:
    """An error answer, read: never raises, whatever the body is (JSON of any shape, HTML, nothing, cut)."""
    try:
        body = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        body = None
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    name = fields.get("reason")
    return Told(answer.status, name if isinstance(name, str) else "", _instant(fields.get("timestamp")))


def outcome_of(
    answer: Answer,
    secrets: tuple[str, ...],
    now: datetime,
    unavailable_wait_s: float = UNAVAILABLE_WAIT_S,
) -> Outcome:
    """The meaning of an answer. `secrets` (the device token, the provider token) are masked in its `detail`.

    `Gone.since` is Apple's `timestamp`: "the last time that the token wasn't valid for the topic". Who
    registered the same token later has a good one. `now` is for a `Retry-After` date; Apple documents no such
    header, and one that is there is respected.
    """
    if answer.status == 200:
        return Sent(answer.headers.get("apns-id"))
    told = read(answer)
    row = row_for(told)
    detail = _detail(told, secrets)
    if row.kind is Retry:
        asked_s = retry_after_s(answer.headers.get("retry-after"), now)
        own_s = unavailable_wait_s if row.wait_s is None else row.wait_s
        return Retry(row.reason, detail, own_s if asked_s is None else asked_s, row.account_wide)
    if row.kind is Gone:
        return Gone(row.reason, detail, told.since)
    return row.kind(row.reason, detail)


def outcome_of_failure(failure: Failure) -> Retry:
    """No answer: again over a fresh connection, with the same `apns-id` and collapse id."""
    reason = Reason.TIMEOUT if failure.timed_out else Reason.CONNECTION
    wait_s = RECONNECT_WAIT_S if failure.maybe_sent else None
    return Retry(reason, failure.detail, after_s=wait_s, maybe_taken=failure.maybe_sent)


def _detail(told: Told, secrets: tuple[str, ...]) -> str:
    name = " ".join(told.name.split())
    for secret in secrets:
        if len(secret) >= 8:
            name = name.replace(secret, "<hidden>")
    return f"{told.http} {name}".strip()[:MAX_DETAIL]


def _instant(value: Any) -> datetime | None:
    """Apple's milliseconds as an instant; None for what can't be one."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LAST_MS:
        return datetime.fromtimestamp(value / 1000, UTC)
    return None
