"""GCRA against a plain token bucket, with a clock that is a number."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tidings.bus.limits import Buckets, Rate, Verdict, gcra, rate_limit_headers


@given(
    st.floats(0.1, 1000),
    st.integers(1, 20),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 20)), max_size=40),
)
def test_it_decides_like_a_token_bucket(per_s: float, burst: int, steps: list[tuple[float, int]]) -> None:
    rate = Rate(per_s, burst)
    now, tokens, full_at = 1000.0, float(burst), None
    for wait, cost in steps:
        now += wait
        tokens = min(burst, tokens + wait * per_s)
        verdict, full_at = gcra(full_at, now, rate, min(cost, burst))
        short = min(cost, burst) - tokens
        if abs(short) > 1e-4:  # else floats decide
            assert verdict.allowed == (short < 0)
        if verdict.allowed:
            tokens -= min(cost, burst)
            assert verdict.retry_after_s == 0
        else:
            assert math.isclose(verdict.retry_after_s, short / per_s, abs_tol=1e-3)
        assert abs(verdict.remaining - tokens) < 1 + 1e-3
        assert math.isclose(verdict.reset_s, (burst - tokens) / per_s, abs_tol=1e-3)


def test_the_key_that_was_asked_about_least_recently_makes_room() -> None:
    buckets, rate = Buckets(most_keys=2), Rate(0.001, 1)
    for key in ("a", "b", "a", "c"):
        buckets.allow(key, 5.0, rate, 1)
    assert not buckets.allow("a", 5.0, rate, 1).allowed
    assert not buckets.allow("c", 5.0, rate, 1).allowed
    assert buckets.allow("b", 5.0, rate, 1).allowed


def test_an_unknown_verdict_is_what_the_caller_says() -> None:
    unknown = Verdict.unknown(Rate(1, 1))
    assert unknown.permits(otherwise=True)
    assert not unknown.permits(otherwise=False)
    assert not unknown.allowed
    assert rate_limit_headers(unknown) == []
