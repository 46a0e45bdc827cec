"""Every row of Vonage's tables leads to the outcome that it should. See test_sms_answers.py, too."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.text_message import recorded
from tidings import clock
from tidings.http import Answer
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry
from tidings.providers.vonage_answers import ERRORS, STATUSES, outcome_of, verdict_of_report

RECORDED = recorded("vonage")


def outcome(answer: Answer, *, own_sender: bool = False) -> Outcome:
    return outcome_of(answer, lambda: (), clock.now(), own_sender=own_sender)


def refusal(*statuses: str, text: str = "no") -> Answer:
    messages = [{"to": "447700900000", "status": status, "error-text": text, "message-id": "m"} for status in statuses]
    return Answer(200, msgspec.json.encode({"message-count": str(len(messages)), "messages": messages}), {})


def test_every_status_is_walked_by_a_recorded_answer() -> None:
    bodies = [entry.body for entry in RECORDED.values() if isinstance(entry.body, dict)]
    walked = {str(part["status"]) for body in bodies for part in body.get("messages", [])}
    assert set(STATUSES) <= walked


# The decision table for delivery receipts, row by row: err-codes, what it means.
RECEIPTS: list[tuple[list[str], type[Outcome], Reason]] = [
    (["3"], Gone, Reason.INVALID_ADDRESS),
    (["4", "9"], Gone, Reason.OPTED_OUT),
    (["1", "2", "5", "7", "8", "99"], Retry, Reason.UNAVAILABLE),
    (["6", "10", "13", "14", "15"], Rejected, Reason.INVALID_MESSAGE),
    (["11", "12"], Paused, Reason.VENDOR_CREDENTIALS),
]


def test_receipts() -> None:
    told = {code: (kind, reason) for codes, kind, reason in RECEIPTS for code in codes}
    assert {code: (verdict.kind, verdict.reason) for code, verdict in ERRORS.items()} == told
    assert verdict_of_report("12345").kind is Retry


def test_a_sender_that_the_notification_named_is_its_own_fault() -> None:
    assert isinstance(outcome(refusal("15"), own_sender=True), Rejected)
    assert isinstance(outcome(refusal("15")), Paused)


def test_a_text_that_was_taken_in_part_is_not_repeated_unasked() -> None:
    got = outcome(refusal("0", "1", "0"))
    assert isinstance(got, Retry)
    assert (got.maybe_taken, got.account_wide) == (True, False)
    assert "2 of 3" in got.detail


@given(st.integers(34, 10_000).map(str).filter(lambda status: status not in STATUSES))
def test_a_status_that_is_new_never_costs_an_address(status: str) -> None:
    assert isinstance(outcome(refusal(status)), Rejected)
