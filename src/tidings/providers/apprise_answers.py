"""What became of a chat message: `ROWS` is the table, read from the last call that its service made of it.

Apprise itself answers true or false. What the service said stands in the calls that `apprise_http` has kept. Sources:
the services' own pages, as the fixtures of the tests name them. `docs/providers/apprise.md` has the same table for
operators.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from tidings.addresses import AddressRefused
from tidings.http import Answer, Failure, clamp_wait_s, retry_after_s
from tidings.providers.contract import Gone, Outcome, Reason, Rejected, Retry, Sent
from tidings.providers.quoted import hide

MAX_DETAIL = 300
RATE_WAIT_S = 30.0
"""After a 429 that names no time. Slack, Discord and Telegram all count by seconds to a minute."""


class Row(Struct, frozen=True):
    """One line of the table; it matches when all its conditions hold.

    `http`: first and last status. `words`: a pattern that the answer's text must hold, None being no condition.
    `vendor`: only for services at their vendor's place (True), only for servers of somebody's own (False), or both.
    """

    http: tuple[int, int]
    words: str | None
    vendor: bool | None
    kind: type[Retry] | type[Rejected] | type[Gone]
    reason: Reason
    maybe_taken: bool = False


# The first row that matches is the answer. The last one matches everything, so there always is one.
ROWS: tuple[Row, ...] = (
    Row((200, 299), r"rate_?limited", None, Retry, Reason.RATE_LIMITED),  # Slack's Web API says no with a 200
    Row((200, 299), r"channel_not_found|is_archived|account_inactive|token_revoked", True, Gone, Reason.UNREGISTERED),
    Row((200, 299), r"invalid_auth|not_authed|missing_scope|not_in_channel", True, Rejected, Reason.CREDENTIALS),
    Row((200, 299), r"msg_too_long", True, Rejected, Reason.MESSAGE_TOO_BIG),
    Row((200, 299), None, None, Retry, Reason.UNAVAILABLE, maybe_taken=True),
    Row((429, 429), None, None, Retry, Reason.RATE_LIMITED),
    Row((403, 403), r"blocked by the user|user is deactivated", True, Gone, Reason.OPTED_OUT),  # Telegram
    Row((400, 403), r"chat not found|kicked|deactivated|upgraded to a supergroup", True, Gone, Reason.UNREGISTERED),
    Row((400, 403), r"no_active_hooks|channel_is_archived|invalid_token", True, Gone, Reason.UNREGISTERED),  # Slack
    Row((400, 400), r"too long|too_long|2000 or fewer", None, Rejected, Reason.MESSAGE_TOO_BIG),
    Row((401, 401), None, None, Rejected, Reason.CREDENTIALS),
    Row((403, 403), None, None, Rejected, Reason.CREDENTIALS),
    Row((410, 410), None, None, Gone, Reason.UNREGISTERED),
    Row((404, 404), None, True, Gone, Reason.UNREGISTERED),
    Row((404, 405), None, None, Rejected, Reason.WRONG_ACCOUNT),  # of one's own: perhaps only being set up
    Row((413, 413), None, None, Rejected, Reason.MESSAGE_TOO_BIG),
    Row((408, 408), None, None, Retry, Reason.UNAVAILABLE),
    Row((425, 425), None, None, Retry, Reason.UNAVAILABLE),
    Row((400, 499), None, None, Rejected, Reason.INVALID_MESSAGE),
    Row((502, 502), None, None, Retry, Reason.UNAVAILABLE, maybe_taken=True),
    Row((504, 504), None, None, Retry, Reason.UNAVAILABLE, maybe_taken=True),
    Row((0, 999), None, None, Retry, Reason.UNAVAILABLE),  # other 5xx, and redirects: none is followed
)


def outcome_of(
    taken: bool,
    seen: Sequence[Answer | Failure | AddressRefused],
    address: str,
    *,
    vendor: bool,
    now: datetime,
    secrets: tuple[str, ...] = (),
) -> Outcome:
    """The outcome of one message. `taken`: what Apprise said. `address`, piece by piece, and `secrets` are masked in
    the detail. `vendor`: the service is at its vendor's place. `now` is for a `Retry-After` that is a date.
    """
    if taken:
        return Sent()
    last = seen[-1] if seen else None
    if last is None:
        return Rejected(Reason.INVALID_MESSAGE, "the service's adapter made no call of it")
    if isinstance(last, AddressRefused):
        return Rejected(Reason.FORBIDDEN_ADDRESS, str(last))
    if isinstance(last, Failure):
        return outcome_of_failure(last)
    text = last.body.decode(errors="replace")
    row = row_for(last.status, text, vendor)
    detail = masked(f"{last.status}: {text}" if text else str(last.status), address, secrets)
    if row.kind is Retry:
        wait_s = wait_of(last, now)
        if wait_s is None and row.reason is Reason.RATE_LIMITED:
            wait_s = RATE_WAIT_S
        return Retry(row.reason, detail, wait_s, maybe_taken=row.maybe_taken)
    return row.kind(row.reason, detail)


def outcome_of_failure(failure: Failure) -> Retry:
    """No answer: try again. Chat services know no idempotency key, so `maybe_taken` says what is known."""
    reason = Reason.TIMEOUT if failure.timed_out else Reason.CONNECTION
    return Retry(reason, failure.detail, maybe_taken=failure.maybe_sent)


def row_for(status: int, text: str, vendor: bool) -> Row:
    """The first row of the table that matches."""
    return next(row for row in ROWS if _matches(row, status, text, vendor))


def wait_of(answer: Answer, now: datetime) -> float | None:
    """Seconds that the service asks to wait, clamped: `Retry-After`, or Discord's and Telegram's word in the body."""
    waits = [retry_after_s(answer.headers.get("retry-after"), now)]
    try:
        told: Any = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        told = None
    if isinstance(told, dict):
        parameters = told.get("parameters")
        inner = parameters.get("retry_after") if isinstance(parameters, dict) else None
        for value in (told.get("retry_after"), inner):
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
                waits.append(clamp_wait_s(float(value)))
    known = [wait for wait in waits if wait is not None]
    return max(known) if known else None


def masked(text: str, address: str, secrets: tuple[str, ...] = ()) -> str:
    """`text` on one line, every piece of the chat URL and every secret replaced, then cut: half a secret would not be
    found."""
    text = hide(text, (*re.split(r"[/:@?&=#,]+", address + "/" + unquote(address)), *secrets))
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"


def _matches(row: Row, status: int, text: str, vendor: bool) -> bool:
    return (
        row.http[0] <= status <= row.http[1]
        and (row.vendor is None or row.vendor is vendor)
        and (row.words is None or re.search(row.words, text, re.IGNORECASE) is not None)
    )
