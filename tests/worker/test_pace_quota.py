"""The token bucket of an account: the quota, the share of urgent calls, and the rate that learns."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tidings.worker.breaker import RetryBudget
from tidings.worker.bucket import COMES_BACK_S, LESS, Bucket
from tidings.worker.flow import Flow


@given(
    per_s=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    share=st.floats(0, 1),
    asked=st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=200),
)
def test_never_more_than_the_burst_and_the_rate(
    per_s: float, burst: int, share: float, asked: list[tuple[float, bool]]
) -> None:
    bucket, now, taken = Bucket(per_s, burst, share, 100.0), 100.0, 0
    for passed_s, urgent in asked:
        now += passed_s
        wait_s = bucket.take(now, urgent=urgent)
        taken += wait_s == 0.0
        assert taken <= burst + (now - 100.0) * per_s + 1e-6
        assert wait_s >= 0.0
        if wait_s and urgent:
            assert bucket.take(now + wait_s + 1e-6, urgent=True) == 0.0, "what it said is true"
            taken += 1
            now += wait_s + 1e-6


def test_urgent_calls_find_tokens_when_the_others_have_used_theirs() -> None:
    bucket = Bucket(10.0, 10, 0.2, 0.0)
    assert sum(bucket.take(0.0, urgent=False) == 0.0 for _ in range(20)) == 8
    assert sum(bucket.take(0.0, urgent=True) == 0.0 for _ in range(20)) == 2
    taken = 0
    for step in range(1, 101):  # ten seconds, ten tokens each; both kinds ask for all of them
        assert bucket.take(step / 10, urgent=True) == 0.0
        taken += bucket.take(step / 10, urgent=False) == 0.0
    assert taken == 0


def test_too_fast_lowers_the_rate_and_it_comes_back_slowest_where_it_was_too_much() -> None:
    bucket = Bucket(1000.0, 1000, 0.2, 0.0)
    bucket.too_fast(10.0, 100.0, 5.0)
    assert bucket.slowed
    assert math.isclose(bucket.rate(15.0), 100.0 * LESS)
    half, full = bucket.rate(15.0 + COMES_BACK_S / 2), bucket.rate(15.0 + COMES_BACK_S)
    assert 90 < half < full
    assert math.isclose(full, 100.0)
    assert bucket.rate(15.0 + 1.5 * COMES_BACK_S) < 110
    assert bucket.rate(15.0 + 20 * COMES_BACK_S) == 1000.0
    assert not bucket.slowed


def test_a_rate_that_the_vendor_never_declared_is_forgotten_in_the_end() -> None:
    bucket = Bucket(None, 1, 0.2, 0.0)
    assert bucket.rate(10.0) == math.inf
    bucket.too_fast(10.0, 50.0, 1.0)
    assert bucket.rate(11.0) < 50.0
    assert bucket.take(11.0, urgent=True) == 0.0
    assert bucket.take(10_000.0, urgent=False) == 0.0
    assert not bucket.slowed
    assert bucket.rate(10_000.0) == math.inf


def test_two_refusals_in_a_row_lower_it_twice_and_a_longer_rest_does_not() -> None:
    bucket = Bucket(None, 1, 0.2, 0.0)
    bucket.too_fast(0.0, 100.0, 0.0)
    bucket.too_fast(0.0, 500.0, 0.0)
    assert math.isclose(bucket.rate(0.0), 100.0 * LESS**3)
    bucket.rest_on(0.0, 60.0)
    assert math.isclose(bucket.rate(60.0), 100.0 * LESS**3)


def test_repeats_are_earned_by_first_calls() -> None:
    budget = RetryBudget(0.1, 10)
    assert sum(budget.spend() for _ in range(100)) == 10
    for _ in range(50):
        budget.earn()
    assert 4 <= sum(budget.spend() for _ in range(100)) <= 5


def test_the_flow_counts_the_seconds_in_which_there_was_one() -> None:
    flow = Flow(0.0)
    assert not flow.known
    for second in (0, 1, 2, 50, 51):
        for n in range(100):
            flow.count(second + n / 100)
    flow.count(52.0)
    assert flow.known
    assert 90 <= flow.per_s <= 100
