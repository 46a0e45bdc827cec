"""`next_step` is pure: every outcome, every edge."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.worker.retry import LONGEST_WAIT_S, Policy, backoff_s, next_step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
POLICY = Policy(attempts=4, base_s=10.0)


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        (Sent("m"), "sent", None),
        (Rejected(Reason.INVALID_MESSAGE, "d"), "failed", Reason.INVALID_MESSAGE),
        (Rejected(Reason.NOT_CONNECTED), "suppressed", Reason.NOT_CONNECTED),
        (Gone(Reason.UNREGISTERED, "d"), "failed", Reason.UNREGISTERED),
        (Paused(Reason.CREDENTIALS, "d"), "pending", Reason.CREDENTIALS),
        (Retry(Reason.UNAVAILABLE, "d"), "pending", Reason.UNAVAILABLE),
    ],
)
def test_each_outcome_has_its_step(outcome: Outcome, status: str, reason: Reason | None) -> None:
    step = next_step(outcome, 1, POLICY, NOW, LATER, 0.0)
    assert (step.status, step.reason) == (status, reason)
    assert (step.next_attempt_at is not None) == (status == "pending")


def test_waits_double_and_are_capped() -> None:
    assert [backoff_s(n, POLICY) for n in (1, 2, 3, 4)] == [10, 20, 40, 80]
    assert backoff_s(50, POLICY) == LONGEST_WAIT_S


def test_the_vendor_may_ask_for_more_but_not_for_less() -> None:
    more = next_step(Retry(Reason.RATE_LIMITED, after_s=120), 1, POLICY, NOW, LATER, 0.0)
    less = next_step(Retry(Reason.RATE_LIMITED, after_s=1), 1, POLICY, NOW, LATER, 0.0)
    assert more.next_attempt_at == NOW + timedelta(seconds=120)
    assert less.next_attempt_at == NOW + timedelta(seconds=10)


def test_the_last_attempt_fails_for_good() -> None:
    assert next_step(Retry(Reason.TIMEOUT), POLICY.attempts - 1, POLICY, NOW, LATER, 0.0).status == "pending"
    assert next_step(Retry(Reason.TIMEOUT), POLICY.attempts, POLICY, NOW, LATER, 0.0).status == "failed"


def test_a_retry_after_the_end_of_its_life_is_expired_now() -> None:
    step = next_step(Retry(Reason.UNAVAILABLE), 1, POLICY, NOW, NOW + timedelta(seconds=9), 0.0)
    assert (step.status, step.reason) == ("expired", Reason.UNAVAILABLE)


def test_a_pause_does_not_use_up_an_attempt() -> None:
    step = next_step(Paused(Reason.CREDENTIALS, after_s=60), POLICY.attempts, POLICY, NOW, LATER, 0.0)
    assert (step.status, step.counts) == ("pending", False)


def test_a_call_that_was_not_made_waits_as_long_as_its_pace_says_and_is_no_attempt() -> None:
    step = next_step(Retry(Reason.UNAVAILABLE, after_s=1), POLICY.attempts, POLICY, NOW, LATER, 1.0, called=False)
    assert (step.status, step.counts, step.next_attempt_at) == ("pending", False, NOW + timedelta(seconds=1))


def test_an_account_that_is_too_fast_uses_up_no_attempt() -> None:
    outcome = Retry(Reason.RATE_LIMITED, after_s=60, account_wide=True)
    step = next_step(outcome, POLICY.attempts, POLICY, NOW, LATER, 0.0)
    assert (step.status, step.counts, step.next_attempt_at) == ("pending", False, NOW + timedelta(seconds=60))


def test_what_may_have_been_taken_is_not_sent_again_where_once_is_the_rule() -> None:
    for maybe_taken, status in ((True, "failed"), (False, "pending")):
        outcome = Retry(Reason.CONNECTION, maybe_taken=maybe_taken)
        assert next_step(outcome, 1, POLICY, NOW, LATER, 0.0, once=True).status == status
        assert next_step(outcome, 1, POLICY, NOW, LATER, 0.0).status == "pending"


@given(st.integers(1, 100), st.floats(0, 1), st.floats(0, 7200) | st.none())
def test_no_retry_is_ever_early(attempt: int, jitter: float, after_s: float | None) -> None:
    policy = Policy(attempts=200, base_s=10.0)
    step = next_step(Retry(Reason.UNAVAILABLE, after_s=after_s), attempt, policy, NOW, LATER, jitter)
    assert step.next_attempt_at is not None
    waited_s = (step.next_attempt_at - NOW).total_seconds()
    assert max(10.0, after_s or 0) - 0.001 <= waited_s <= max(2 * LONGEST_WAIT_S, after_s or 0) + 0.001
