"""Waiting for a turn, on the real event loop: who goes first, how long, and what a cancelled call leaves behind."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import eventually
from tidings.metrics import REGISTRY
from tidings.providers.contract import Outcome, Paused, Reason, Retry, Sent
from tidings.worker.concurrency import Concurrency
from tidings.worker.limits import Limits
from tidings.worker.pace import Pace

PATIENT = Limits(most_at_once=2, start_at_once=2, least_at_once=1, longest_wait_s=20.0)
SENT = Sent("m")


@pytest.fixture
async def pace() -> AsyncIterator[Pace]:
    made = Pace(PATIENT)
    yield made
    made.close()


def read(metric: str, **labels: str) -> float:
    """Its value now, 0 before there is one."""
    return REGISTRY.get_sample_value(metric, labels) or 0.0


def in_a_minute() -> float:
    return asyncio.get_running_loop().time() + 60.0


async def queued(pace: Pace, *, urgent: bool = False) -> "asyncio.Task[Outcome | None]":
    """A call that waits by the time this returns."""
    waiting = asyncio.create_task(pace.enter(urgent=urgent, ends_at=in_a_minute()))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    return waiting


async def test_a_place_that_becomes_free_goes_to_the_urgent_one_and_then_in_order(pace: Pace) -> None:
    assert await pace.enter(urgent=False, ends_at=in_a_minute()) is None
    assert await pace.enter(urgent=True, ends_at=in_a_minute()) is None
    first, second, urgent = await queued(pace), await queued(pace), await queued(pace, urgent=True)
    pace.leave(SENT, 0.0, retry=False)
    assert await urgent is None
    assert not first.done()
    pace.leave(SENT, 0.0, retry=False)
    pace.leave(SENT, 0.0, retry=False)
    assert await first is None
    assert not second.done()
    pace.give_up()
    assert await second is None
    assert pace.in_flight == 1


async def test_a_waiting_call_that_is_cancelled_takes_nothing(pace: Pace) -> None:
    assert await pace.enter(urgent=False, ends_at=in_a_minute()) is None
    first, second, third = await queued(pace), await queued(pace), await queued(pace)
    first.cancel()
    await asyncio.sleep(0)
    pace.leave(SENT, 0.0, retry=False)  # the second has its place now, and does not know yet
    second.cancel()
    assert await third is None
    for cancelled in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await cancelled
    assert pace.in_flight == 1


async def test_those_who_wait_are_told_when_the_account_pauses(pace: Pace) -> None:
    assert await pace.enter(urgent=False, ends_at=in_a_minute()) is None
    waiting = [await queued(pace) for _ in range(5)]
    pace.leave(Paused(Reason.CREDENTIALS, after_s=60.0), 0.0, retry=False)
    for outcome in await asyncio.gather(*waiting):
        assert isinstance(outcome, Paused)
        assert outcome.reason is Reason.CREDENTIALS
    assert pace.in_flight == 0


async def test_a_token_is_waited_for_and_longer_than_allowed_nobody_waits() -> None:
    pace = Pace(Limits(rate_per_s=50.0, burst=1, longest_wait_s=20.0))
    for _ in range(5):
        assert await pace.enter(urgent=False, ends_at=in_a_minute()) is None
        pace.leave(SENT, 0.0, retry=False)
    pace.close()
    slow = Pace(Limits(rate_per_s=0.001, burst=1))
    assert await slow.enter(urgent=False, ends_at=in_a_minute()) is None
    answer = await slow.enter(urgent=False, ends_at=in_a_minute())
    assert isinstance(answer, Retry)
    assert (answer.reason, answer.account_wide, answer.maybe_taken) == (Reason.RATE_LIMITED, True, False)
    slow.close()


async def test_the_lease_of_the_work_ends_the_wait(pace: Pace) -> None:
    assert await pace.enter(urgent=False, ends_at=in_a_minute()) is None
    for ends_in_s in (-1.0, 0.02):
        ends_at = asyncio.get_running_loop().time() + ends_in_s
        assert isinstance(await pace.enter(urgent=False, ends_at=ends_at), Retry)
    assert pace.in_flight == 1


async def test_many_at_once_never_exceed_the_places_and_all_come_through() -> None:
    pace = Pace(msgspec.structs.replace(PATIENT, most_at_once=8, start_at_once=8))
    most = 0

    async def call(urgent: bool) -> None:
        nonlocal most
        assert await pace.enter(urgent=urgent, ends_at=in_a_minute()) is None
        most = max(most, pace.in_flight)
        await asyncio.sleep(0.001)
        pace.leave(SENT, 0.001, retry=False)

    pace.leave(SENT, 0.0, retry=False)
    await asyncio.gather(*(call(n % 7 == 0) for n in range(60)))
    assert most <= 8
    assert pace.in_flight == 0
    pace.close()


async def test_the_metrics_tell_the_state_and_forget_a_closed_pace() -> None:
    before = read("tidings_pace_accounts", provider="watched", what="paused")
    pace = Pace(PATIENT, provider="watched")
    assert read("tidings_pace_places", provider="watched") == 1.0
    assert await pace.enter(urgent=False, ends_at=in_a_minute()) is None
    pace.leave(Paused(Reason.CREDENTIALS, after_s=60.0), 0.0, retry=False)
    assert read("tidings_pace_accounts", provider="watched", what="paused") == before + 1
    assert isinstance(await pace.enter(urgent=False, ends_at=in_a_minute()), Paused)
    assert read("tidings_pace_held_back_total", provider="watched", what="paused") == 1
    pace.close()
    pace.close()
    assert read("tidings_pace_accounts", provider="watched", what="paused") == before
    assert read("tidings_pace_places", provider="watched") == 0.0


async def test_time_alone_brings_tokens_to_those_who_wait() -> None:
    pace = Pace(Limits(rate_per_s=100.0, burst=1, longest_wait_s=20.0))
    waiting = [asyncio.create_task(pace.enter(urgent=False, ends_at=in_a_minute())) for _ in range(5)]

    async def all_through() -> bool | None:
        return all(task.done() for task in waiting) or None

    await eventually(all_through)
    assert [task.result() for task in waiting] == [None] * 5
    pace.close()


@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 30.0)), max_size=300))
def test_the_limit_stays_between_its_bounds(ends: list[tuple[bool, float]]) -> None:
    learned = Concurrency(4, 16, 64, 1.0)
    now = 0.0
    for good, took_s in ends:
        now += took_s
        if good:
            learned.answered(now - took_s, now, in_flight=int(learned.limit))
        else:
            learned.cut(now - took_s, now)
        assert 4 <= learned.limit <= 64


def test_it_grows_while_used_shrinks_when_slow_and_recovers() -> None:
    learned = Concurrency(4, 8, 256, 1.0)
    now = 0.0

    def answers(count: int, took_s: float) -> None:
        nonlocal now
        for _ in range(count):
            now += took_s / learned.limit
            learned.answered(now - took_s, now, in_flight=int(learned.limit))

    for _ in range(100):
        learned.answered(now, now, in_flight=1)
    assert learned.limit == 8, "nobody needs more"
    answers(1000, 0.05)
    assert learned.limit == 256
    answers(3000, 5.0)
    assert learned.limit < 64, "a hundred times slower than at best"
    answers(60_000, 0.05)
    assert learned.limit > 200
