"""Storms at the vendor's, on a clock that jumps: too many requests (F13), failures and flapping (F14)."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.vendor_days import Day, Quota, Vendor, spend
from tidings.providers.contract import Outcome, Reason, Retry, Sent
from tidings.worker.limits import Limits
from tidings.worker.pace_watch import State

BEGINS, ENDS = 40.0, 180.0  # of a storm of failures, in seconds of the day


def evenly(per_s: float, lasts_s: float) -> list[float]:
    return [n / per_s for n in range(int(per_s * lasts_s))]


def share_of_refusals(day: Day, since: float, until: float) -> float:
    calls = day.between(since, until)
    return sum(not isinstance(call.outcome, Sent) for call in calls) / len(calls)


def assert_deadlines_kept(day: Day) -> None:
    """No call began between an answer that asked us to wait and its deadline."""
    deadline = 0.0
    moments = [(call.ended, call.outcome) for call in day.calls] + [(call.began, None) for call in day.calls]
    for at, outcome in sorted(moments, key=lambda moment: (moment[0], moment[1] is not None)):
        if outcome is None:
            assert at >= deadline - 1e-6
        elif isinstance(outcome, Retry) and outcome.account_wide and outcome.after_s is not None:
            deadline = max(deadline, at + outcome.after_s)


@settings(max_examples=8, deadline=None)
@given(
    per_s=st.sampled_from([5.0, 20.0, 40.0]),
    burst=st.sampled_from([1, 20, 500]),
    retry_after_s=st.sampled_from([1.0, 7.5, 60.0]),
    latency_s=st.sampled_from([0.01, 0.3]),
    seed=st.integers(0, 1000),
)
def test_f13_no_request_before_the_deadline_and_nothing_fails_for_it(
    per_s: float, burst: int, retry_after_s: float, latency_s: float, seed: int
) -> None:
    arrivals = evenly(per_s * 2, 60)
    day = spend(Quota(per_s, burst, retry_after_s, latency_s), arrivals, Limits(), seed=seed, until=400)
    assert_deadlines_kept(day)
    assert "failed" not in day.finals.values()
    assert max(call.number for call in day.calls) <= 4, "attempts are kept for failures that say something"


@pytest.mark.parametrize(("per_s", "burst", "retry_after_s"), [(20.0, 20, 2.0), (10.0, 10, 5.0), (10.0, 100, 10.0)])
def test_f13_the_rate_converges(per_s: float, burst: int, retry_after_s: float) -> None:
    day = spend(Quota(per_s, burst, retry_after_s), evenly(per_s * 3, 600), Limits(), until=600)
    assert share_of_refusals(day, 300, 600) < 0.05
    taken = sum(isinstance(call.outcome, Sent) for call in day.between(300, 600))
    assert taken > 0.6 * per_s * 300, "most of what the vendor allows is used"


def test_f13_a_declared_quota_is_kept_from_the_beginning() -> None:
    limits = Limits(rate_per_s=50.0, burst=50)
    day = spend(Quota(50.0, 60, 30.0), [0.0] * 3000, limits, until=600)
    assert share_of_refusals(day, 0, 600) == 0
    assert Counter(day.finals.values()) == {"sent": 3000}
    assert max(call.ended for call in day.calls) < 90, "60 s at the quota, and little more"


class Failing:
    """Fails a share of its calls between two moments, or by turns (`flaps_s`)."""

    def __init__(self, share: float, outcome: Outcome, latency_s: float, seed: int, flaps_s: float = 0.0) -> None:
        self._share, self._outcome, self._latency_s, self._flaps_s = share, outcome, latency_s, flaps_s
        self._random = random.Random(seed)

    def __call__(self, now: float) -> tuple[Outcome, float]:
        storm = BEGINS <= now < ENDS and (not self._flaps_s or int(now / self._flaps_s) % 2 == 0)
        if storm and self._random.random() < self._share:
            return self._outcome, self._latency_s
        return Sent(), 0.05


@settings(max_examples=8, deadline=None)
@given(
    share=st.floats(0.02, 1.0),
    failure=st.sampled_from(
        [(Retry(Reason.UNAVAILABLE), 0.05), (Retry(Reason.TIMEOUT), 10.0), (Retry(Reason.CONNECTION), 0.0)]
    ),
    flaps_s=st.sampled_from([0.0, 3.0, 20.0]),
    seed=st.integers(0, 1000),
)
def test_f14_a_storm_of_failures_is_not_answered_with_more_load(
    share: float, failure: tuple[Outcome, float], flaps_s: float, seed: int
) -> None:
    vendor: Vendor = Failing(share, *failure, seed, flaps_s)
    day = spend(vendor, evenly(10, 200), Limits(), seed=seed, until=3000)
    calls = day.between(BEGINS, ENDS)
    assert len(calls) <= 1.2 * 10 * (ENDS - BEGINS), "of what came in meanwhile"
    repeats = sum(call.number > 1 for call in calls)
    assert repeats <= 0.2 * len({call.message for call in calls}) + 10
    assert Counter(day.finals.values()) == {"sent": 10 * 200}, "and nothing is lost by it"


def test_f14_the_breaker_opens_and_probes_one_at_a_time() -> None:
    told: list[State] = []
    vendor = Failing(1.0, Retry(Reason.UNAVAILABLE), 0.05, 1)
    day = spend(vendor, evenly(20, 200), Limits(), until=2000, on_change=lambda state, _: told.append(state))
    assert State.OPEN in told
    assert told[-1] is State.CLOSED
    calls = sorted(day.between(BEGINS + 5, ENDS), key=lambda call: call.began)
    assert 3 <= len(calls) <= 20, "a few, less and less often"
    for first, second in itertools.pairwise(calls):
        assert second.began >= first.ended


def test_f14_those_held_back_return_spread_out() -> None:
    """Kolmogorov–Smirnov: the times at which they return differ little from an even spread."""
    vendor = Failing(1.0, Retry(Reason.UNAVAILABLE), 0.05, 1)
    day = spend(vendor, [61.0 + n / 1000 for n in range(4000)], Limits(), until=3000)
    back = sorted(call.began for call in day.calls if call.began >= ENDS and call.number == 1)
    assert len(back) > 3000
    low, high = back[0], back[-1]
    largest = max(abs((at - low) / (high - low) - n / len(back)) for n, at in enumerate(back))
    assert largest < 0.2
    assert high - low > 10, "a thousand a second came, and the account was never seen to take so many"
