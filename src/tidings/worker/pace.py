"""How fast an account may be used: `Pace` asks everything that has a say before a call, and tells it all after.

holds.py          not at all: paused, resting, failing, or in doubt; one call goes first as a probe
concurrency.py    so many calls in flight, learned from latency and failures
bucket.py         so many a second: the declared quota, and what was learned when the vendor said "too fast"
breaker.py        when failures open the circuit, and how many repeats there are meanwhile
mass_failure.py   whether refused addresses are believed
waiting.py        the queue of those that wait a moment; who would wait longer is sent back with a time
"""

import asyncio
import math
import random
import time
from collections.abc import Callable

from tidings.providers.contract import Gone, Outcome, Paused, Reason, Retry, Sent
from tidings.worker.breaker import WORRYING, RetryBudget, Row, Window, failed
from tidings.worker.bucket import Bucket
from tidings.worker.concurrency import Concurrency
from tidings.worker.flow import Flow, Spread
from tidings.worker.holds import CLOCKS_S, Hold, Holds, Kind, too_fast
from tidings.worker.leases import Lease, Leases
from tidings.worker.limits import Limits
from tidings.worker.mass_failure import Doubt, blames_address
from tidings.worker.pace_watch import OnChange, State, Watch
from tidings.worker.waiting import Answer, Waiting

USUAL_PER_S = 100.0  # for whom nothing slower is known: those that were held back return at this rate
SOONEST_S = 1.0  # to come back
LONGEST_SPREAD_S = 3600.0  # for a quota that the vendor declared
LONGEST_GUESS_S = 600.0  # for one that was learned, and may have become better by then
MORE = 2.0  # … so more of them come than it would take: half an hour of too little would cost more than a vain question
CALM_S = 30.0  # without too many failures, until repeated calls are free again
PROBE_S = 2.0  # until a probe that is on its way may be back


class Pace:
    """The pace of one provider account in one process, on one event loop; all lanes share it.

    Each `enter` that answered None is followed by one `leave` or one `give_up`. `clock` gives seconds and never goes
    back; `chance` numbers from 0 to 1. `provider` labels the metrics. `lease`: see `leases.py`, None: the quota is all
    ours. `close` it in the end.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        provider: str = "other",
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        on_change: OnChange | None = None,
        lease: Lease | None = None,
    ) -> None:
        now = clock()
        self._limits = limits
        self._clock = clock
        self._chance = chance
        self._in_flight = 0
        self._concurrency = Concurrency(
            limits.least_at_once, limits.start_at_once, limits.most_at_once - limits.reserved, limits.slow_s
        )
        self._bucket = Bucket(limits.rate_per_s, limits.at_once, limits.urgent_share, now)
        self._window = Window(limits.failing_window_s, now)
        self._row = Row(limits.failing_volume)
        self._budget = RetryBudget(limits.retry_share, limits.spare_retries)
        self._doubt = Doubt(limits.believed, limits.suspicious)
        self._holds = Holds(limits, chance)
        self._flow = Flow(now)
        self._spread = Spread()
        self._counts_from = -math.inf  # failures of calls that began before say nothing any more
        self._slowed_at = -math.inf
        self._calm_at = -math.inf  # until then repeated calls are rationed
        self._waiting = Waiting(self.ask, self.give_up)
        self._watch = Watch(provider, on_change)
        self._places = int(self._concurrency.limit)  # for those that are not urgent
        self._most = limits.most_at_once
        self._watch.places(self._places)
        self._leases: Leases | None = None
        if lease is not None and limits.shared and limits.rate_per_s is not None:
            self._leases = Leases(self._bucket, lease, limits, clock=clock, granted=self._waiting.deal)

    @property
    def state(self) -> State:
        """Of the account, as far as this process knows."""
        return self._watch.state

    @property
    def in_flight(self) -> int:
        """Calls that entered and have not left."""
        return self._in_flight

    async def enter(self, *, urgent: bool, ends_at: float, retry: bool = False) -> Outcome | None:
        """None: make the call now. Otherwise the outcome to use instead of one; it says nothing about the message.

        Waits for its turn, no longer than `Limits.longest_wait_s`, nor than `ends_at` (the event loop's clock), and
        not at all when it would be in vain. `urgent`: may use the reserved part, and goes before the others. `retry`:
        of a delivery that was called for before; rationed while the vendor fails. Cancelling it is safe.
        """
        first_s = math.inf
        if not self._waiting.any or (urgent and not self._waiting.ahead(urgent=True)):
            answer = self.ask(urgent=urgent, retry=retry)
            if not isinstance(answer, float):
                return answer
            first_s = answer
        now = self._clock()
        most_s = min(self._limits.longest_wait_s, ends_at - asyncio.get_running_loop().time())
        if self._expected_s(first_s, now, urgent) <= most_s:
            waited = await self._waiting.wait(urgent=urgent, retry=retry, first_s=first_s, most_s=most_s)
            self._watch.waited(self._clock() - now)
            if not isinstance(waited, float):
                return waited
        return self.turn_away(urgent=urgent)

    def ask(self, *, urgent: bool, retry: bool = False) -> Answer:
        """`enter` without waiting. A number: not yet; seconds until a token is there, infinity: when a call ends."""
        now = self._clock()
        if self._holds.any:
            return self._ask_for_probe(now, urgent)
        if self._in_flight >= (self._most if urgent else self._places):
            return math.inf
        if retry and self._rationed(now):
            return self._come_back("repeats", Reason.UNAVAILABLE, "repeats wait while the vendor fails", now, 0, urgent)
        wait_s = self._bucket.take(now, urgent=urgent)
        if self._leases is not None and not self._bucket.slowed:
            self._leases.look(now)
        if wait_s:
            return wait_s
        if retry and self._worrying(now):
            self._budget.spend()
        self._in_flight += 1
        return None

    def turn_away(self, *, urgent: bool) -> Outcome:
        """The outcome for who was told by `ask` to wait, and does not."""
        now = self._clock()
        if self._holds.any and (hold := self._holds.keeps_back(now)) is not None:
            return self._kept_back(hold, now, urgent)
        if self._in_flight < self._places:
            return self._come_back("quota", Reason.RATE_LIMITED, "the quota of the account is used up", now, 0, urgent)
        detail = "as many calls as the account takes now are on their way"
        return self._come_back("places", Reason.RATE_LIMITED, detail, now, 0, urgent)

    def leave(self, outcome: Outcome, duration_s: float, *, retry: bool) -> Outcome:
        """The call is over after so many seconds. Answers the outcome to be used, which is nearly always this one.

        A refused address becomes `Paused` when it can't be believed: so many were refused and none accepted that the
        account itself must be at fault. The device of such a delivery is to be left as it is.
        """
        now = self._clock()
        began = now - duration_s
        in_flight = self._in_flight
        if in_flight:
            self._in_flight = in_flight - 1
        if not retry:
            self._budget.earn()
        if type(outcome) is Sent and not self._holds.any:
            self._doubt.refused = 0
            self._window.count(now, failed=False)
            self._row.answered()
            self._flow.count(now)
            self._concurrency.answered(began, now, in_flight)
        else:
            outcome = self._learn(outcome, began, now, in_flight)
            self._watch.look(self._holds)
        places = int(self._concurrency.limit)
        if places != self._places:
            self._places = places
            self._watch.places(places)
        if self._waiting.any:
            self._waiting.deal()
        return outcome

    def give_up(self) -> None:
        """The call was cancelled, and nothing is known of it: the place is free again."""
        if self._in_flight:
            self._in_flight -= 1
        self._holds.give_up()
        if self._waiting.any:
            self._waiting.deal()

    def close(self) -> None:
        """The account is used no more; it leaves the metrics. Twice is safe."""
        self._waiting.close()
        self._watch.close()
        if self._leases is not None:
            self._leases.close()

    def _ask_for_probe(self, now: float, urgent: bool) -> Answer:
        hold = self._holds.keeps_back(now)
        if hold is not None:
            return self._kept_back(hold, now, urgent)
        if self._in_flight >= self._most:
            return math.inf
        wait_s = self._bucket.take(now, urgent=True)
        if wait_s:
            return wait_s
        self._in_flight += 1
        self._holds.probe(now)
        self._watch.look(self._holds)
        return None

    def _learn(self, outcome: Outcome, began: float, now: float, in_flight: int) -> Outcome:
        """Everything but the usual: an answer that is not `Sent`, or one while calls are held back."""
        bad = failed(outcome)
        believed = True
        if isinstance(outcome, Sent):
            self._doubt.accepted()
            self._flow.count(now)
        elif blames_address(outcome):
            believed = self._doubt.believe()
        if isinstance(outcome, Retry) and outcome.account_wide:
            self._slow_down(began, now, self._holds.rest_s(outcome))
        ended = self._holds.learn(outcome, began, now)
        if Kind.OPEN in ended:
            self._window.clear(now)
            self._row.answered()
            self._counts_from = now
            self._calm_at = now + CALM_S
            self._concurrency.start_over()
        if not self._holds.has(Kind.OPEN):
            self._count(outcome, began, now, in_flight, bad)
        if self._doubt.suspicious and not self._holds.has(Kind.MASS_FAILURE):
            self._holds.doubt(now)
        if believed or not isinstance(outcome, Gone):
            return outcome
        return self._held_back(outcome, now)

    def _slow_down(self, began: float, now: float, rest_s: float) -> None:
        if began <= self._slowed_at + CLOCKS_S:
            return  # it was on its way together with the one that told us
        self._slowed_at = now
        if self._holds.any:  # a probe
            self._bucket.rest_on(now, rest_s)
            return
        took_per_s = self._flow.rest(now)
        if self._flow.known:
            self._bucket.too_fast(now, took_per_s, rest_s)

    def _count(self, outcome: Outcome, began: float, now: float, in_flight: int, bad: bool) -> None:
        if began < self._counts_from or (isinstance(outcome, Retry) and outcome.reason is Reason.INTERNAL):
            return
        self._window.count(now, failed=bad)
        if not bad:
            self._row.answered()
            if not isinstance(outcome, Retry | Paused):
                self._concurrency.answered(began, now, in_flight)
            elif too_fast(outcome):
                self._concurrency.cut(began, now)
            return
        self._concurrency.cut(began, now)
        failures, of = self._window.failures(now)
        many = of >= self._limits.failing_volume and failures >= self._limits.failing_ratio * of
        if self._row.failed(began, now) or many:
            self._holds.open(now)

    def _worrying(self, now: float) -> bool:
        """The vendor fails, or did a moment ago: a window that looks well between two gusts is no end of the storm."""
        failures, of = self._window.failures(now)
        if of >= self._limits.failing_volume and failures >= WORRYING * of:
            self._calm_at = now + CALM_S
        return now < self._calm_at

    def _rationed(self, now: float) -> bool:
        return self._budget.empty and self._worrying(now)

    def _expected_s(self, first_s: float, now: float, urgent: bool) -> float:
        """Seconds until it would be the turn of a new one; a guess, to send it away early if there is no hope."""
        ahead = self._waiting.ahead(urgent=urgent)
        wait_s = ahead / self._bucket.rate(now)
        return first_s + wait_s if first_s < math.inf else max(wait_s, ahead * self._concurrency.mean_s / self._places)

    def _kept_back(self, hold: Hold, now: float, urgent: bool) -> Outcome:
        not_before = max(hold.until, now + PROBE_S) if self._holds.probing else hold.until
        if hold.kind in (Kind.PAUSED, Kind.MASS_FAILURE):
            self._watch.held_back(hold.kind)
            return Paused(hold.reason, hold.detail, self._after_s(now, not_before, urgent))
        return self._come_back(hold.kind, hold.reason, hold.detail, now, not_before, urgent)

    def _held_back(self, outcome: Gone, now: float) -> Paused:
        """Instead of a refusal that can't be believed."""
        first = self._holds.first
        not_before = now + self._limits.doubt_s if first is None else max(first.until, now + SOONEST_S)
        detail = f"not believed, for no other address is accepted either: {outcome.detail or outcome.reason}"
        self._watch.held_back(Kind.MASS_FAILURE)
        return Paused(Reason.MASS_FAILURE, detail, self._after_s(now, not_before, False))

    def _come_back(
        self, what: str, reason: Reason, detail: str, now: float, not_before: float, urgent: bool
    ) -> Outcome:
        self._watch.held_back(what)
        return Retry(reason, detail, self._after_s(now, not_before, urgent), account_wide=True)

    def _after_s(self, now: float, not_before: float, urgent: bool) -> float:
        """When to come back, each at another time, and no faster than the account takes them. Urgent ones first."""
        soonest = max(not_before, now + SOONEST_S)
        if urgent:
            return soonest - now + self._chance()
        quota = self._bucket.rate(now)
        takes_s = self._concurrency.mean_s
        per_s = min(quota, max(self._flow.per_s, self._places / takes_s if takes_s else USUAL_PER_S))
        if quota < math.inf and not self._bucket.slowed:
            longest_s = LONGEST_SPREAD_S
        else:  # learned, and soon better known
            per_s, longest_s = per_s * MORE, LONGEST_GUESS_S
        return self._spread.wait_s(now, soonest, per_s, longest_s, self._chance())
