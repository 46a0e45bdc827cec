"""What a pace answers before a call and learns from it: pauses, rests, the breaker, probes, and refused addresses."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.account_limits import PROVIDERS, AccountLimits
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.worker.limits import LIMITS, Limits, limits_of
from tidings.worker.pace import Pace
from tidings.worker.pace_watch import State

DOWN = Retry(Reason.UNAVAILABLE)
GONE = Gone(Reason.UNREGISTERED, "no such token")
SENT = Sent("m")


class Desk:
    """A pace, the clock that it looks at, and what it told."""

    def __init__(self, **limits: float | None) -> None:
        self.now = 1000.0
        self.told: list[tuple[State, Reason | None]] = []
        self.limits = msgspec.structs.replace(Limits(), **limits)
        self.pace = Pace(
            self.limits,
            clock=lambda: self.now,
            chance=lambda: 0.5,
            on_change=lambda state, reason: self.told.append((state, reason)),
        )

    def state(self) -> State:
        return self.pace.state

    def call(self, outcome: Outcome, took_s: float = 0.0, *, retry: bool = False, urgent: bool = False) -> Outcome:
        """A call that was let go and brought this; the outcome to be used."""
        assert self.pace.ask(urgent=urgent, retry=retry) is None
        self.now += took_s
        return self.pace.leave(outcome, took_s, retry=retry)

    def refused(self, *, urgent: bool = False, retry: bool = False) -> Retry | Paused:
        """The outcome of a call that was not let go."""
        answer = self.pace.ask(urgent=urgent, retry=retry)
        assert isinstance(answer, Retry | Paused)
        assert answer.after_s is not None
        return answer


def test_credentials_pause_the_account_and_one_probe_that_succeeds_opens_it() -> None:
    desk = Desk()
    desk.call(Paused(Reason.CREDENTIALS, "revoked", after_s=60.0))
    assert desk.state() is State.PAUSED
    held = desk.refused()
    assert isinstance(held, Paused)
    assert (held.reason, held.detail) == (Reason.CREDENTIALS, "revoked")
    assert held.after_s >= 60.0
    desk.now += 60.0
    assert desk.pace.ask(urgent=False) is None, "the time is over: this call is the probe"
    assert isinstance(desk.refused(), Paused), "the others wait for it"
    desk.now += 0.2
    desk.pace.leave(SENT, 0.2, retry=False)
    assert desk.told == [(State.PAUSED, Reason.CREDENTIALS), (State.CLOSED, None)]
    for _ in range(10):
        assert desk.pace.ask(urgent=False) is None


def test_a_probe_that_was_given_up_leaves_room_for_the_next() -> None:
    desk = Desk()
    desk.call(Paused(Reason.CREDENTIALS, after_s=0.0))
    assert desk.pace.ask(urgent=False) is None
    desk.pace.give_up()
    assert desk.pace.in_flight == 0
    assert desk.pace.ask(urgent=False) is None


def test_a_probe_that_never_comes_back_is_replaced() -> None:
    desk = Desk()
    desk.call(Paused(Reason.CREDENTIALS, after_s=0.0))
    assert desk.pace.ask(urgent=False) is None
    desk.now += 119.0
    desk.refused()
    desk.now += 2.0
    assert desk.pace.ask(urgent=False) is None


@pytest.mark.parametrize("outcome", [DOWN, Retry(Reason.TIMEOUT), Retry(Reason.INTERNAL)])
def test_a_probe_that_says_nothing_about_the_credentials_leaves_them_in_doubt(outcome: Outcome) -> None:
    desk = Desk()
    desk.call(Paused(Reason.CREDENTIALS, after_s=60.0))
    desk.now += 60.0
    desk.call(outcome)
    assert desk.state() is State.PAUSED
    assert isinstance(desk.refused(), Paused)


@pytest.mark.parametrize("reason", [Reason.VENDOR_CREDENTIALS, Reason.PUSH_SERVICE_CREDENTIALS])
def test_one_vendor_behind_the_account_pauses_nothing(reason: Reason) -> None:
    desk = Desk()
    desk.call(Paused(reason, after_s=60.0))
    assert desk.state() is State.CLOSED
    assert desk.pace.ask(urgent=False) is None


@given(asked_s=st.floats(0.1, 100_000), later_s=st.floats(0, 0.999))
def test_nothing_is_called_before_the_vendor_wants_it(asked_s: float, later_s: float) -> None:
    desk = Desk()
    desk.call(Retry(Reason.RATE_LIMITED, after_s=asked_s, account_wide=True))
    deadline = desk.now + min(asked_s, 3600.0)
    desk.now += min(asked_s, 3600.0) * later_s
    for urgent in (True, False):
        held = desk.refused(urgent=urgent)
        assert isinstance(held, Retry)
        assert held.account_wide
        assert desk.now + (held.after_s or 0.0) >= deadline
    desk.now = deadline
    assert desk.pace.ask(urgent=False) is None


def test_a_slower_word_of_a_call_that_was_on_its_way_prolongs_the_rest_and_a_quicker_one_does_not_shorten_it() -> None:
    desk = Desk()
    for _ in range(3):
        assert desk.pace.ask(urgent=False) is None
    desk.now += 1
    for asked_s in (10.0, 30.0, 1.0):
        desk.pace.leave(Retry(Reason.RATE_LIMITED, after_s=asked_s, account_wide=True), 1.0, retry=False)
    desk.now += 29.9
    desk.refused()
    desk.now += 0.1
    assert desk.pace.ask(urgent=False) is None


def test_one_device_that_gets_too_much_slows_nobody_else() -> None:
    desk = Desk()
    for _ in range(100):
        desk.call(Retry(Reason.RATE_LIMITED, after_s=60.0))
    assert desk.state() is State.CLOSED


def test_failures_open_the_breaker_and_probes_one_at_a_time_close_it() -> None:
    desk = Desk()
    for _ in range(20):
        assert desk.state() is State.CLOSED
        desk.call(DOWN, 0.1)
    assert desk.state() is State.OPEN
    held = desk.refused()
    assert isinstance(held, Retry)
    assert (held.reason, held.account_wide, held.maybe_taken) == (Reason.UNAVAILABLE, True, False)
    desk.now += 5.0 * 1.25
    desk.call(DOWN, 0.1)
    desk.refused()
    desk.now += 5.0 * 1.25
    desk.refused()  # longer than the first time
    desk.now += 5.0 * 1.25
    for _ in range(3):
        assert desk.pace.ask(urgent=False) is None
        assert desk.state() is State.HALF_OPEN
        desk.refused()
        desk.now += 0.1
        desk.pace.leave(SENT, 0.1, retry=False)
    assert desk.state() is State.CLOSED
    assert [state for state, _ in desk.told] == [
        State.OPEN,
        State.HALF_OPEN,
        State.OPEN,
        State.HALF_OPEN,
        State.CLOSED,
    ]


def test_what_was_on_its_way_when_the_breaker_opened_neither_closes_it_nor_opens_it_again() -> None:
    desk = Desk()
    for _ in range(120):
        assert desk.pace.ask(urgent=True) is None
    desk.now += 1.0
    for _ in range(20):
        desk.pace.leave(DOWN, 1.0, retry=False)
    assert desk.state() is State.OPEN
    for _ in range(20):
        desk.pace.leave(SENT, 1.0, retry=False)
    assert desk.state() is State.OPEN
    desk.now += 10.0
    for _ in range(3):
        desk.call(SENT)
    assert desk.state() is State.CLOSED
    for _ in range(80):
        desk.pace.leave(DOWN, 12.0, retry=False)
    assert desk.state() is State.CLOSED


@given(
    st.lists(
        st.sampled_from(
            [
                GONE,
                Gone(Reason.OPTED_OUT),
                Rejected(Reason.INVALID_MESSAGE),
                Rejected(Reason.INVALID_ADDRESS),
                Retry(Reason.RATE_LIMITED, after_s=60.0),
                Retry(Reason.INTERNAL),
                SENT,
            ]
        ),
        max_size=100,
    )
)
def test_refusals_never_open_the_breaker(outcomes: list[Outcome]) -> None:
    desk = Desk()
    for outcome in outcomes:
        if desk.state() is State.MASS_FAILURE:
            break
        desk.call(outcome, 0.01)
        assert desk.state() in (State.CLOSED, State.MASS_FAILURE)


def test_a_few_failures_do_not_open_it_and_a_row_of_them_does_however_slowly_they_come() -> None:
    desk = Desk()
    for _ in range(100):
        desk.call(DOWN, 0.6)
        desk.call(SENT, 0.5)  # 18 calls in ten seconds
    assert desk.state() is State.CLOSED
    for _ in range(20):
        desk.call(DOWN, 60.0)
    assert desk.state() is State.OPEN


def test_one_broken_connection_with_many_calls_on_it_is_no_row() -> None:
    desk = Desk(failing_ratio=1.1)
    for _ in range(100):
        assert desk.pace.ask(urgent=False) is None
    desk.now += 1.0
    for _ in range(100):
        desk.pace.leave(Retry(Reason.CONNECTION), 1.0, retry=False)
    desk.call(SENT, 0.1)
    assert desk.state() is State.CLOSED


def test_urgent_calls_have_places_of_their_own() -> None:
    desk = Desk(most_at_once=10, start_at_once=10)
    for _ in range(8):
        assert desk.pace.ask(urgent=False) is None
    assert desk.pace.ask(urgent=False) == math.inf
    assert desk.pace.ask(urgent=True) is None
    assert desk.pace.ask(urgent=True) is None
    assert desk.pace.ask(urgent=True) == math.inf
    desk.pace.leave(SENT, 0.0, retry=False)
    assert desk.pace.ask(urgent=False) == math.inf
    assert desk.pace.ask(urgent=True) is None


def test_those_sent_away_return_one_after_the_other() -> None:
    desk = Desk(rate_per_s=10.0, burst=10)
    while desk.pace.ask(urgent=False) is None:
        pass
    waits = []
    for _ in range(1000):
        outcome = desk.pace.turn_away(urgent=False)
        assert isinstance(outcome, Retry)
        assert outcome.after_s is not None
        waits.append(outcome.after_s)
    assert waits == sorted(waits)
    assert math.isclose(waits[-1] - waits[0], 99.9, abs_tol=0.2), "ten a second, as the quota is"
    urgent = desk.pace.turn_away(urgent=True)
    assert isinstance(urgent, Retry)
    assert (urgent.after_s or 99) <= 2.0, "not behind the others"


@pytest.mark.parametrize("name", [*LIMITS, "unheard-of"])
def test_every_provider_has_limits_under_which_something_can_be_sent(name: str) -> None:
    pace = Pace(limits_of(name))
    assert pace.ask(urgent=False) is None
    for emulated in (False, True):
        changed = limits_of(name, AccountLimits(rate_per_s=2.0, most_at_once=1), emulated=emulated)
        assert (changed.rate_per_s, changed.at_once, changed.most_at_once) == (2.0, 2, 1)
        assert changed.shared, "every process that uses the account uses its quota"
        pace = Pace(changed)
        assert pace.ask(urgent=False) is None
        assert pace.ask(urgent=True) == math.inf, "one at once"


def test_what_is_not_declared_stays_as_it_is() -> None:
    assert limits_of("twilio", AccountLimits()) == limits_of("twilio") == LIMITS["twilio"]
    assert limits_of("twilio", AccountLimits(most_at_once=5)).rate_per_s == 100
    assert limits_of("fcm", AccountLimits(rate_per_s=30.5)).at_once == 30, "the usual burst belongs to the usual rate"
    assert limits_of("fcm", AccountLimits(rate_per_s=30, burst=90)).at_once == 90
    assert limits_of("fcm", emulated=True).rate_per_s is None
    assert {*PROVIDERS} == {*LIMITS} - {"gateway"}


@pytest.mark.parametrize(
    "bad", [{"rate_per_s": 0.0}, {"rate_per_s": math.nan}, {"burst": 0}, {"most_at_once": 0}, {"rate_per_s": 1e7}]
)
def test_limits_under_which_nothing_could_be_sent_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Limits(**bad)  # type: ignore[arg-type]
