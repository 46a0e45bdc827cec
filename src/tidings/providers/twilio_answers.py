"""What an answer or an error code of Twilio means: `CODES`, and for the rest `sms_verdict.HTTP_STATUSES`.

Sources: Twilio, "Error and warning dictionary" and "Message resource"; Twilio's changelog of 2024-07-10, which
split 21211, 21212, 21606 and 21614 into finer codes and warns that more may come. So a code that is not in the
table is judged by its HTTP status, and never costs an address. `docs/providers/twilio.md` holds the same table.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from tidings.http import Answer, retry_after_s
from tidings.providers.contract import Outcome, Sent
from tidings.providers.sms_verdict import (
    ABSENT,
    BAD_MESSAGE,
    BAD_NUMBER,
    BAD_SENDER,
    BAD_SETUP,
    CREDENTIALS,
    NO_ROUTE,
    OPTED_OUT,
    RETRY_FLOOR_S,
    TOO_BIG,
    TOO_FAST,
    UNAVAILABLE,
    Verdict,
    masked,
    outcome,
    verdict_of_status,
)

CODES: dict[int, Verdict] = {
    20003: CREDENTIALS,
    20005: CREDENTIALS,  # account not active
    20006: CREDENTIALS,  # access denied
    20404: BAD_SETUP,  # no such account
    20429: TOO_FAST,
    21211: BAD_NUMBER,
    21212: BAD_SENDER,
    21265: BAD_NUMBER,  # a short code
    21266: BAD_MESSAGE,  # to the sender itself
    21267: BAD_SENDER,  # a name, on a trial account
    21268: BAD_NUMBER,  # premium rate
    21408: NO_ROUTE,  # the country is not enabled
    21601: BAD_SENDER,
    21602: BAD_MESSAGE,
    21603: BAD_SENDER,
    21606: BAD_SENDER,
    21608: NO_ROUTE,  # a trial account, and the number is not verified
    21609: BAD_SETUP,  # Twilio does not take our URL for reports
    21610: OPTED_OUT,
    21611: TOO_FAST,  # the sender's queue is full
    21612: NO_ROUTE,  # not from this sender to this number
    21614: BAD_NUMBER,  # not a mobile number
    21617: TOO_BIG,
    21635: BAD_NUMBER,  # a landline
    21659: BAD_SENDER,
    21660: BAD_SENDER,
    21661: BAD_SENDER,
    21701: BAD_SENDER,  # no such messaging service
    21703: BAD_SENDER,  # a messaging service without senders
    # From here on mostly in reports; the carriers' words, translated by Twilio.
    30001: TOO_FAST,
    30002: CREDENTIALS,  # account suspended
    30003: ABSENT,
    30004: BAD_MESSAGE,  # blocked
    30005: BAD_NUMBER,
    30006: BAD_NUMBER,
    30007: BAD_MESSAGE,  # filtered
    30008: UNAVAILABLE,  # the carrier does not say why
    30010: BAD_MESSAGE,  # costs more than the most allowed
    30032: NO_ROUTE,  # toll-free number not verified
    30034: NO_ROUTE,  # number not registered for US A2P
    30036: ABSENT,  # its time to live passed
}

FAILED = frozenset({"failed", "undelivered", "canceled"})


class _Accepted(Struct, frozen=True):
    sid: str
    status: str = ""
    error_code: int | None = None


_decode_accepted = msgspec.json.Decoder(_Accepted).decode


def outcome_of(
    answer: Answer,
    secrets: Callable[[], tuple[str, ...]],
    now: datetime,
    *,
    own_sender: bool,
    floor_s: float = RETRY_FLOOR_S,
) -> Outcome:
    """The meaning of an answer. `secrets`, asked for only then, and telephone numbers are masked in its `detail`.

    `own_sender`: the notification named the sender itself. `now` is for a Retry-After with a date.
    `floor_s`: the least wait after a failure of the vendor's that names none.
    """
    if 200 <= answer.status < 300:
        try:
            accepted = _decode_accepted(answer.body)
        except (msgspec.DecodeError, UnicodeError):
            accepted = None
        if accepted is not None and accepted.sid:
            if accepted.status not in FAILED:
                return Sent(accepted.sid)
            told = f"{accepted.status} at once, {accepted.error_code or 'no code'}"
            return outcome(
                CODES.get(accepted.error_code or 0, BAD_MESSAGE), told, own_sender=own_sender, floor_s=floor_s
            )
    code, words = _error(answer.body)
    verdict = CODES.get(code) or verdict_of_status(answer.status)
    detail = masked(" ".join(part for part in (str(answer.status), str(code or ""), words) if part), secrets())
    asked_s = retry_after_s(answer.headers.get("retry-after"), now) if answer.status >= 400 else None
    return outcome(verdict, detail, own_sender=own_sender, floor_s=floor_s, asked_s=asked_s)


def verdict_of_report(code: int) -> Verdict:
    """What a message's error code means that is reported later; 0 and unknown codes: it failed, no more."""
    return CODES.get(code, UNAVAILABLE)


def _error(body: bytes) -> tuple[int, str]:
    """Code and words of an error, 0 and "" when it has none: any body at all may come."""
    try:
        whole: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return 0, ""
    if not isinstance(whole, dict):
        return 0, ""
    code = whole.get("code")
    # Newer services answer by RFC 9457: title and detail instead of message.
    words = next((text for key in ("message", "detail", "title") if isinstance(text := whole.get(key), str)), "")
    return (code if type(code) is int else 0), words
