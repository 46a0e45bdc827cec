"""What a status or an error code of Vonage's SMS API means: `STATUSES` of a message, `ERRORS` of a receipt.

What is not in Vonage's own words is judged by its HTTP status: `sms_verdict.HTTP_STATUSES`.

Sources: Vonage, "SMS API errors" (the `status` of an answer), "SMS delivery error codes" (the `err-code` of a
delivery receipt). An answer is 200 even when a message was refused. `docs/providers/vonage.md` holds the same table.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import Struct, field

from tidings.http import Answer, retry_after_s
from tidings.providers.contract import Outcome, Sent
from tidings.providers.sms_verdict import (
    ABSENT,
    BAD_MESSAGE,
    BAD_NUMBER,
    BAD_SETUP,
    CREDENTIALS,
    DEACTIVATED,
    NO_CREDIT,
    NO_ROUTE,
    OPTED_OUT,
    RETRY_FLOOR_S,
    TOO_BIG,
    TOO_FAST,
    UNAVAILABLE,
    UNCLEAR,
    Verdict,
    masked,
    outcome,
    verdict_of_status,
)

STATUSES: dict[str, Verdict] = {
    "1": TOO_FAST,
    "2": BAD_MESSAGE,
    "3": BAD_MESSAGE,
    "4": CREDENTIALS,
    "5": UNAVAILABLE,
    "6": BAD_NUMBER,  # the prefix of the number is not known
    "7": OPTED_OUT,  # the number is barred
    "8": CREDENTIALS,  # the account is barred
    "9": NO_CREDIT,
    "10": TOO_FAST,
    "11": CREDENTIALS,  # the account has no SMS API
    "12": TOO_BIG,
    "14": CREDENTIALS,
    "15": NO_ROUTE,  # not from this sender to that country
    "22": BAD_MESSAGE,
    "23": BAD_SETUP,  # Vonage does not take our URL for reports
    "29": NO_ROUTE,  # a trial account, and the number is not on its list
    "32": CREDENTIALS,
    "33": DEACTIVATED,
}

ERRORS: dict[str, Verdict] = {
    "1": UNAVAILABLE,
    "2": ABSENT,
    "3": BAD_NUMBER,  # absent for good: Vonage asks that the number be removed
    "4": OPTED_OUT,  # barred by its user
    "5": UNAVAILABLE,  # number portability
    "6": BAD_MESSAGE,  # taken for spam
    "7": ABSENT,
    "8": UNAVAILABLE,
    "9": OPTED_OUT,  # "illegal number": the user asked this service for no messages
    "10": BAD_MESSAGE,
    "11": NO_ROUTE,
    "12": NO_ROUTE,
    "13": BAD_MESSAGE,  # the person's age
    "14": BAD_MESSAGE,  # blocked by the carrier
    "15": BAD_MESSAGE,  # prepaid without credit
    "99": UNAVAILABLE,
}


class _Part(Struct, frozen=True):
    status: str | int
    message_id: str = field(default="", name="message-id")
    error_text: str = field(default="", name="error-text")


class _Answer(Struct, frozen=True):
    messages: list[_Part]


_decode = msgspec.json.Decoder(_Answer).decode


def outcome_of(
    answer: Answer,
    secrets: Callable[[], tuple[str, ...]],
    now: datetime,
    *,
    own_sender: bool,
    floor_s: float = RETRY_FLOOR_S,
) -> Outcome:
    """The meaning of an answer. `secrets`, asked for only then, and telephone numbers are masked in its `detail`.

    A long text has one entry for each segment; when some were taken and some were not, a repeat would bring
    the taken ones twice, so the outcome says `maybe_taken`. `own_sender`: the notification named the sender
    itself. `now` is for a Retry-After with a date.
    `floor_s`: the least wait after a failure of the vendor's that names none.
    """
    asked_s = retry_after_s(answer.headers.get("retry-after"), now) if answer.status >= 400 else None
    try:
        parts = _decode(answer.body).messages
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        parts = []
    if not parts:
        return outcome(
            verdict_of_status(answer.status),
            str(answer.status),
            own_sender=own_sender,
            floor_s=floor_s,
            asked_s=asked_s,
        )
    bad = [part for part in parts if str(part.status) != "0"]
    if not bad:
        return Sent(parts[0].message_id or None)
    detail = masked(f"{answer.status} status {bad[0].status} {bad[0].error_text}", secrets())
    if len(bad) < len(parts):
        told = f"only {len(parts) - len(bad)} of {len(parts)} segments taken: {detail}"
        return outcome(UNCLEAR, told, own_sender=own_sender, floor_s=floor_s, asked_s=asked_s)
    verdict = STATUSES.get(str(bad[0].status)) or verdict_of_unknown(answer.status)
    return outcome(verdict, detail, own_sender=own_sender, floor_s=floor_s, asked_s=asked_s)


def verdict_of_unknown(http: int) -> Verdict:
    """What a status that Vonage has added since means: this message is refused, nothing else is concluded."""
    return BAD_MESSAGE if http < 400 else verdict_of_status(http)


def verdict_of_report(code: str) -> Verdict:
    """What a delivery receipt's `err-code` means; unknown ones: it failed, no more."""
    return ERRORS.get(code, UNAVAILABLE)
