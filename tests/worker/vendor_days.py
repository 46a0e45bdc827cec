"""A day at a vendor's in a moment: messages, retries and a pace on a clock that jumps from event to event."""

import heapq
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

from msgspec import Struct, field

from tidings.providers.contract import Outcome, Paused, Reason, Retry, Sent
from tidings.worker.limits import Limits
from tidings.worker.pace import Pace
from tidings.worker.pace_watch import OnChange
from tidings.worker.retry import Policy, next_step

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ASK_AGAIN_S = 0.1  # when all places are taken
MOST_WAITING = 100  # the others are turned away

# The vendor: a call that reaches it at this time → what it answers, and after how many seconds.
Vendor = Callable[[float], tuple[Outcome, float]]


class Call(Struct):
    """One call: when it began and ended, of which message, its how many-eth, what it brought."""

    began: float
    ended: float
    message: int
    number: int
    outcome: Outcome


class Day(Struct):
    """What happened. `finals`: the last state of each message that has one, and `answers` what deliveries saw."""

    calls: list[Call] = field(default_factory=list)
    finals: dict[int, str] = field(default_factory=dict)
    answers: list[tuple[float, Outcome]] = field(default_factory=list)
    refused: int = 0
    most_in_flight: int = 0

    def between(self, since: float, until: float) -> list[Call]:
        """The calls that began then."""
        return [call for call in self.calls if since <= call.began < until]


def spend(
    vendor: Vendor,
    arrivals: list[float],
    limits: Limits,
    *,
    seed: int = 0,
    until: float = 86_400.0,
    policy: Policy | None = None,
    on_change: OnChange | None = None,
) -> Day:
    """Messages come at `arrivals`; each is called for and repeated as the worker would, until `until`."""
    clock = [0.0]
    chance = random.Random(seed)
    policy = policy or Policy(8, 10.0)
    pace = Pace(limits, clock=lambda: clock[0], chance=chance.random, on_change=on_change)
    day = Day()
    order = count()
    # (when, order, message, its attempt, and for the end of a call: its beginning and outcome)
    events: list[tuple[float, int, int, int, tuple[float, Outcome] | None]] = []
    for message, at in enumerate(arrivals):
        heapq.heappush(events, (at, next(order), message, 1, None))

    def again(at: float, message: int, attempt: int) -> None:
        heapq.heappush(events, (at, next(order), message, attempt, None))

    waiting: set[int] = set()
    while events and events[0][0] <= until:
        clock[0], _, message, attempt, ended = heapq.heappop(events)
        now = clock[0]
        if ended is None:
            waiting.discard(message)
            answer = pace.ask(urgent=False, retry=attempt > 1)
            if isinstance(answer, float) and len(waiting) >= MOST_WAITING:
                answer = pace.turn_away(urgent=False)
            if answer is None:
                outcome, latency_s = vendor(now)
                heapq.heappush(events, (now + latency_s, next(order), message, attempt, (now, outcome)))
                day.most_in_flight = max(day.most_in_flight, pace.in_flight)
            elif isinstance(answer, float):
                waiting.add(message)
                again(now + min(max(answer, 1e-3), ASK_AGAIN_S), message, attempt)
            else:
                day.refused += 1
                assert isinstance(answer, Retry | Paused)
                assert answer.after_s
                again(now + answer.after_s, message, attempt)
            continue
        began, outcome = ended
        day.calls.append(Call(began, now, message, attempt, outcome))
        used = pace.leave(outcome, now - began, retry=attempt > 1)
        day.answers.append((now, used))
        ended_at = EPOCH + timedelta(seconds=now)
        step = next_step(used, attempt, policy, ended_at, EPOCH + timedelta(days=2), chance.random())
        if step.next_attempt_at is None:
            day.finals[message] = step.status
        else:
            again((step.next_attempt_at - EPOCH).total_seconds(), message, attempt + step.counts)
    assert pace.in_flight == 0 or events
    pace.close()
    return day


class Quota:
    """A vendor with a token bucket, that says 429 with Retry-After when it is empty."""

    def __init__(self, per_s: float, burst: int, retry_after_s: float | None, latency_s: float = 0.05) -> None:
        self.per_s, self.burst, self.retry_after_s, self.latency_s = per_s, burst, retry_after_s, latency_s
        self._tokens, self._at = float(burst), 0.0

    def __call__(self, now: float) -> tuple[Outcome, float]:
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_s)
        self._at = now
        if self._tokens < 1:
            return Retry(Reason.RATE_LIMITED, after_s=self.retry_after_s, account_wide=True), self.latency_s
        self._tokens -= 1
        return Sent(), self.latency_s
