"""What happens after an attempt: a pure function of its outcome."""

from datetime import datetime, timedelta

from msgspec import Struct

from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent

LONGEST_WAIT_S = 3600.0


class Policy(Struct, frozen=True):
    """`attempts`: the most for one delivery. `base_s`: seconds before the second; doubled each time."""

    attempts: int = 8
    base_s: float = 10.0


class Step(Struct, frozen=True):
    """The next state of a delivery. `next_attempt_at` is set exactly when it stays pending.

    `counts`: False when the attempt said nothing about the message (the account was paused).
    """

    status: str
    next_attempt_at: datetime | None = None
    reason: Reason | None = None
    detail: str | None = None
    counts: bool = True


SENT = Step("sent")


def next_step(
    outcome: Outcome,
    attempt: int,
    policy: Policy,
    now: datetime,
    expires_at: datetime,
    jitter: float,
    *,
    once: bool = False,
    called: bool = True,
) -> Step:
    """Decide. `attempt` counts from 1; `jitter` is drawn from 0 to 1 by the caller.

    `once`: what the vendor may have taken is not sent again. `called`: False when pace refused the call; that is no
    attempt.
    """
    match outcome:
        case Sent():
            return SENT
        case Rejected(reason=Reason.NOT_CONNECTED, detail=detail):
            return Step("suppressed", None, Reason.NOT_CONNECTED, detail)
        case Rejected(reason, detail) | Gone(reason, detail):
            return Step("failed", None, reason, detail)
        case Paused(reason, detail, after_s):
            return _later(now, after_s * (1 + jitter / 4), expires_at, reason, detail, counts=False)
        case Retry(detail=detail, maybe_taken=True) if once:
            return Step("failed", None, Reason.UNKNOWN, detail)
        case Retry(reason, detail, after_s) if not called:  # pace has spread them already
            return _later(now, after_s or policy.base_s, expires_at, reason, detail, counts=False)
        case Retry(Reason.RATE_LIMITED, detail, after_s, account_wide=True):  # says nothing about the message
            wait_s = max(after_s or 0.0, policy.base_s) * (1 + jitter / 4)
            return _later(now, wait_s, expires_at, Reason.RATE_LIMITED, detail, counts=False)
        case Retry(reason, detail, after_s):
            if attempt >= policy.attempts:
                return Step("failed", None, reason, detail)
            wait_s = max(backoff_s(attempt, policy) * (1 + jitter), after_s or 0.0)
            return _later(now, wait_s, expires_at, reason, detail, counts=True)


def backoff_s(attempt: int, policy: Policy) -> float:
    """Seconds to wait at least after the given attempt failed, before jitter: base, twice, four times …"""
    return float(min(LONGEST_WAIT_S, policy.base_s * 2 ** min(attempt - 1, 30)))


def _later(now: datetime, wait_s: float, expires_at: datetime, reason: Reason, detail: str, *, counts: bool) -> Step:
    at = now + timedelta(seconds=wait_s)
    if at > expires_at:
        return Step("expired", None, reason, detail, counts)
    return Step("pending", at, reason, detail, counts)
