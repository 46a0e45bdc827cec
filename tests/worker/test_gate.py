"""The gate of an account: closed by a pause, opened by a probe, and never shut by a probe that was given up."""

from tidings.providers.contract import Paused, Reason, Sent
from tidings.worker.pace import Gate


def test_a_pause_closes_it_and_a_probe_that_succeeds_opens_it() -> None:
    gate = Gate()
    gate.learn(Paused(Reason.CREDENTIALS, after_s=0.0))
    assert gate.closed() is None, "the time is over: this call is the probe"
    assert isinstance(gate.closed(), Paused), "the others wait for it"
    gate.learn(Sent("m"))
    assert gate.closed() is None
    assert gate.closed() is None


def test_a_probe_that_was_given_up_leaves_room_for_the_next() -> None:
    gate = Gate()
    gate.learn(Paused(Reason.CREDENTIALS, after_s=0.0))
    assert gate.closed() is None
    gate.release()
    assert gate.closed() is None


def test_one_vendor_behind_the_account_does_not_close_it() -> None:
    gate = Gate()
    gate.learn(Paused(Reason.VENDOR_CREDENTIALS, after_s=60.0))
    assert gate.closed() is None
