"""A wrong account must not wipe the devices: how many refusals are believed, and what happens to the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.test_pace import GONE, SENT, Desk
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry
from tidings.worker.pace_watch import State

BELIEVED = 20


def test_twenty_refusals_are_believed_then_none_and_after_fifty_the_account_pauses() -> None:
    desk = Desk()
    used = [desk.call(GONE) for _ in range(50)]
    assert used[:BELIEVED] == [GONE] * BELIEVED
    for outcome in used[BELIEVED:]:
        assert isinstance(outcome, Paused)
        assert outcome.reason is Reason.MASS_FAILURE
        assert outcome.after_s >= 60.0
    assert desk.told == [(State.MASS_FAILURE, Reason.MASS_FAILURE)]
    held = desk.refused(urgent=True)
    assert isinstance(held, Paused)
    assert held.reason is Reason.MASS_FAILURE


@given(st.lists(st.sampled_from([GONE, Gone(Reason.INVALID_ADDRESS), Gone(Reason.SENDER_MISMATCH), None, SENT])))
def test_never_more_than_twenty_devices_for_one_message_that_arrived(answers: list[Outcome | None]) -> None:
    """None: a minute passes. Whatever the order, between two accepted messages at most twenty are disabled."""
    desk = Desk()
    disabled = 0
    for answer in answers:
        if answer is None:
            desk.now += 60.0
        elif desk.pace.ask(urgent=False) is None:
            used = desk.pace.leave(answer, 0.0, retry=False)
            disabled = 0 if answer is SENT else disabled + isinstance(used, Gone)
            assert disabled <= BELIEVED


def test_a_wrong_account_for_a_whole_day_costs_twenty_devices() -> None:
    desk = Desk()
    disabled = calls = 0
    for _ in range(24 * 3600):
        desk.now += 1.0
        if desk.pace.ask(urgent=False) is None:
            calls += 1
            disabled += isinstance(desk.pace.leave(GONE, 0.0, retry=False), Gone)
    assert disabled == BELIEVED
    assert calls < 50 + 60, "and the vendor sees one call now and then, not one a second"


def test_an_accepted_message_lifts_it_at_once() -> None:
    desk = Desk()
    for _ in range(50):
        desk.call(GONE)
    desk.now += 60.0
    desk.call(GONE)
    desk.now += 119.0
    desk.refused()  # twice as long as before
    desk.now += 1.0
    desk.call(SENT)
    assert desk.state() is State.CLOSED
    assert desk.call(GONE) == GONE


def test_a_message_that_was_on_its_way_lifts_it_too() -> None:
    desk = Desk()
    assert desk.pace.ask(urgent=False) is None
    for _ in range(50):
        desk.call(GONE, 0.01)
    assert desk.state() is State.MASS_FAILURE
    desk.pace.leave(SENT, 0.5, retry=False)
    assert desk.state() is State.CLOSED


def test_calls_that_were_on_their_way_disable_nobody_either() -> None:
    desk = Desk(start_at_once=400)
    for _ in range(400):
        assert desk.pace.ask(urgent=False) is None
    desk.now += 1.0
    used = [desk.pace.leave(GONE, 1.0, retry=False) for _ in range(400)]
    assert sum(isinstance(outcome, Gone) for outcome in used) == BELIEVED


def test_an_audience_with_many_dead_addresses_is_no_mass_failure() -> None:
    desk = Desk()
    for n in range(2000):
        assert desk.call(SENT if n % 20 == 0 else GONE) in (SENT, GONE)
    assert desk.state() is State.CLOSED


@pytest.mark.parametrize(
    "other",
    [Rejected(Reason.INVALID_MESSAGE), Retry(Reason.UNAVAILABLE), Paused(Reason.VENDOR_CREDENTIALS)],
)
def test_only_an_accepted_message_is_proof(other: Outcome) -> None:
    desk = Desk(failing_volume=1000)
    for _ in range(40):
        desk.call(GONE)
        desk.call(other)
    assert isinstance(desk.call(GONE), Paused)


def test_people_who_opt_out_are_always_believed() -> None:
    desk = Desk()
    stop = Gone(Reason.OPTED_OUT)
    assert [desk.call(stop) for _ in range(200)] == [stop] * 200
    assert desk.state() is State.CLOSED
