"""What an SMS vendor's code means, as a value that serves twice: for the answer to a call, and for a report later."""

import re

from msgspec import Struct

from tidings.http import Failure
from tidings.providers.contract import Fate, Gone, Outcome, Paused, Reason, Rejected, Report, Retry
from tidings.providers.quoted import hide

ROUTE_WAIT_S = 3600.0
CREDIT_WAIT_S = 600.0
"""An account out of credit is tried again after ten minutes: somebody has to pay first."""

RETRY_FLOOR_S = 10.0
"""The least wait after a failure of the vendor's that names no time. No vendor gives a figure; this one is ours."""

MAX_DETAIL = 300

# A route (this country, this kind of sender) is closed to the account; the account still works for other numbers,
# so only what goes that way waits: `worker/pace.py` never stops a whole account for this reason.
ROUTE = Reason.VENDOR_CREDENTIALS

_DIGITS = re.compile(r"\+?[0-9]{7,}")


class Verdict(Struct, frozen=True):
    """What a code leads to. `wait_s`: for Retry and Paused, None: the usual wait (for UNAVAILABLE the floor).

    `sender`: it is about who sends. When a notification named its own sender, that notification is at fault,
    not the account. `maybe_taken`: see `contract.Retry`.
    """

    kind: type[Retry] | type[Rejected] | type[Gone] | type[Paused]
    reason: Reason
    wait_s: float | None = None
    account_wide: bool = False
    sender: bool = False
    maybe_taken: bool = False


BAD_NUMBER = Verdict(Gone, Reason.INVALID_ADDRESS)
DEACTIVATED = Verdict(Gone, Reason.UNREGISTERED)
OPTED_OUT = Verdict(Gone, Reason.OPTED_OUT)
BAD_MESSAGE = Verdict(Rejected, Reason.INVALID_MESSAGE)
TOO_BIG = Verdict(Rejected, Reason.MESSAGE_TOO_BIG)
BAD_SENDER = Verdict(Paused, Reason.WRONG_ACCOUNT, sender=True)
BAD_SETUP = Verdict(Paused, Reason.WRONG_ACCOUNT)
NO_ROUTE = Verdict(Paused, ROUTE, ROUTE_WAIT_S, sender=True)
CREDENTIALS = Verdict(Paused, Reason.CREDENTIALS)
NO_CREDIT = Verdict(Paused, Reason.CREDENTIALS, CREDIT_WAIT_S)
TOO_FAST = Verdict(Retry, Reason.RATE_LIMITED, account_wide=True)
ABSENT = Verdict(Retry, Reason.UNAVAILABLE, 900.0)  # switched off, or out of reach: a quarter of an hour at least
UNAVAILABLE = Verdict(Retry, Reason.UNAVAILABLE)
UNCLEAR = Verdict(Retry, Reason.UNAVAILABLE, maybe_taken=True)

# First and last HTTP status, for an answer that says nothing in the vendor's own words; the last row takes everything.
HTTP_STATUSES: tuple[tuple[int, int, Verdict], ...] = (
    (401, 401, CREDENTIALS),
    (402, 402, NO_CREDIT),
    (403, 403, CREDENTIALS),
    (404, 404, BAD_SETUP),
    (408, 408, UNAVAILABLE),
    (413, 413, TOO_BIG),
    (429, 429, TOO_FAST),
    (400, 499, BAD_MESSAGE),
    # A gateway that lost, or no longer awaited, the answer of the server behind it.
    (502, 502, UNCLEAR),
    (504, 504, UNCLEAR),
    (200, 299, UNCLEAR),  # taken, it seems, but not in the vendor's words
    (0, 999, UNAVAILABLE),
)


def verdict_of_status(status: int) -> Verdict:
    """What an HTTP status means when no code of the vendor's own table comes with it."""
    return next(verdict for first, last, verdict in HTTP_STATUSES if first <= status <= last)


def outcome(
    verdict: Verdict, detail: str, *, own_sender: bool, floor_s: float, asked_s: float | None = None
) -> Outcome:
    """The verdict as the outcome of a call. `own_sender`: the notification named its sender itself.

    `floor_s`: the least wait after a failure of the vendor's. `asked_s`: the wait that the vendor asked for, which
    counts before ours.
    """
    if verdict.sender and own_sender:
        return Rejected(Reason.INVALID_MESSAGE, detail)
    wait_s = verdict.wait_s if asked_s is None else asked_s
    if verdict.kind is Retry:
        if wait_s is None and verdict.reason is Reason.UNAVAILABLE:
            wait_s = floor_s
        return Retry(verdict.reason, detail, wait_s, verdict.account_wide, verdict.maybe_taken)
    if verdict.kind is Paused:
        return Paused(verdict.reason, detail) if wait_s is None else Paused(verdict.reason, detail, wait_s)
    return verdict.kind(verdict.reason, detail)


def outcome_of_failure(failure: Failure, floor_s: float = RETRY_FLOOR_S) -> Retry:
    """No answer. The vendor may have the message, and has no key that would make a repeat harmless, unless the
    connection was never made."""
    reason = Reason.TIMEOUT if failure.timed_out else Reason.CONNECTION
    after_s = floor_s if failure.maybe_sent else None
    return Retry(reason, failure.detail, after_s=after_s, maybe_taken=failure.maybe_sent)


def reports(
    verdict: Verdict, *, reference: str, address: str, provider_message_id: str | None, detail: str
) -> list[Report]:
    """The verdict as the vendor's later word: that this message did not arrive, and what holds for its number."""
    if verdict.kind is not Gone:
        if not reference:
            return []
        return [Report(Fate.FAILED, reference, address, provider_message_id, verdict.reason, detail)]
    if verdict.reason is not Reason.OPTED_OUT:
        return [Report(Fate.BOUNCED, reference, address, provider_message_id, verdict.reason, detail)]
    told = [Report(Fate.OPTED_OUT, "", address, provider_message_id, verdict.reason, detail)] if address else []
    if reference:
        told.append(Report(Fate.FAILED, reference, address, provider_message_id, verdict.reason, detail))
    return told


def masked(text: str, secrets: tuple[str, ...] = ()) -> str:
    """`text` on one line, bounded, without secrets and without anything that looks like a telephone number."""
    text = _DIGITS.sub("<number>", hide(text, secrets))
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
