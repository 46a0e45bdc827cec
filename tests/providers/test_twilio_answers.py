"""Every answer in answers/twilio, and every row of the table, leads to the outcome that it should."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.text_message import Recorded, recorded, shape
from tidings import clock
from tidings.http import Answer, Failure
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.sms_verdict import HTTP_STATUSES, MAX_DETAIL, outcome_of_failure, verdict_of_status
from tidings.providers.twilio_answers import CODES, outcome_of

RECORDED = recorded("twilio")
CODE = re.compile(r"\b[23][0-9]{4}\b")
SECRET = "0123456789abcdef" * 2


def outcome(answer: Answer, *, own_sender: bool = False) -> Outcome:
    return outcome_of(answer, lambda: (SECRET, ""), clock.now(), own_sender=own_sender)


def error(code: Any, status: int = 400, message: str = "no") -> Answer:
    return Answer(status, msgspec.json.encode({"code": code, "message": message, "status": status}), {})


@pytest.mark.parametrize("entry", RECORDED.values(), ids=RECORDED)
def test_recorded_answer(entry: Recorded) -> None:
    assert entry.source
    assert shape(outcome(entry.answer)) == entry.expected


def test_every_status_is_walked_by_a_recorded_answer() -> None:
    assert {verdict for _, _, verdict in HTTP_STATUSES} <= {
        verdict_of_status(entry.status) for entry in RECORDED.values()
    }


# The decision table, row by row: codes, what we do.
TABLE: list[tuple[list[int], type[Outcome], Reason]] = [
    ([21211, 21265, 21268, 21614, 21635, 30005, 30006], Gone, Reason.INVALID_ADDRESS),
    ([21610], Gone, Reason.OPTED_OUT),
    ([30003, 30036], Retry, Reason.UNAVAILABLE),
    ([30004, 30007, 30010], Rejected, Reason.INVALID_MESSAGE),
    ([30008], Retry, Reason.UNAVAILABLE),
    ([21408, 21608, 21612, 30032, 30034], Paused, Reason.VENDOR_CREDENTIALS),
    ([21212, 21267, 21601, 21603, 21606, 21659, 21660, 21661, 21701, 21703], Paused, Reason.WRONG_ACCOUNT),
    ([20404, 21609], Paused, Reason.WRONG_ACCOUNT),
    ([20003, 20005, 20006, 30002], Paused, Reason.CREDENTIALS),
    ([20429, 21611, 30001], Retry, Reason.RATE_LIMITED),
    ([21266, 21602], Rejected, Reason.INVALID_MESSAGE),
    ([21617], Rejected, Reason.MESSAGE_TOO_BIG),
]


@pytest.mark.parametrize(("codes", "kind", "reason"), TABLE)
def test_decision_table(codes: list[int], kind: type[Outcome], reason: Reason) -> None:
    for code in codes:
        got = outcome(error(code))
        assert not isinstance(got, Sent)
        assert (type(got), got.reason) == (kind, reason), code
        assert str(code) in got.detail
        if isinstance(got, Retry):
            assert not got.maybe_taken
            assert got.account_wide is (reason is Reason.RATE_LIMITED)


def test_the_test_knows_every_code() -> None:
    assert sorted(code for codes, _, _ in TABLE for code in codes) == sorted(CODES)


def test_the_document_names_every_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "providers" / "twilio.md").read_text()
    assert sorted(CODES) == sorted(
        {int(code) for line in page.splitlines() for code in CODE.findall(line) if "|" in line}
    )


def test_a_sender_that_the_notification_named_is_its_own_fault() -> None:
    for code in (21212, 21606, 21612, 30034):
        got = outcome(error(code), own_sender=True)
        assert isinstance(got, Rejected)
        assert got.reason is Reason.INVALID_MESSAGE
    assert isinstance(outcome(error(20003, 401), own_sender=True), Paused)


@given(st.integers(400, 499), st.integers(10_000, 99_999).filter(lambda code: code not in CODES))
def test_a_code_that_is_new_never_costs_an_address(status: int, code: int) -> None:
    assert not isinstance(outcome(error(code, status)), Gone | Sent)


@given(st.integers(100, 599), st.binary(max_size=200))
def test_any_answer_is_an_outcome(status: int, body: bytes) -> None:
    assert isinstance(outcome(Answer(status, body, {})), Retry | Rejected | Paused)


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"sid":1}', b'{"sid":""}', b"[" * 5000, b"\xff", b""])
def test_taken_but_not_in_twilios_words_may_have_been_taken(body: bytes) -> None:
    got = outcome(Answer(201, body, {}))
    assert isinstance(got, Retry)
    assert got.maybe_taken


def test_details_hold_no_number_and_no_secret_and_are_short() -> None:
    told = f"The 'To' number +447700900123 (447700900123) is bad; {SECRET} " + "x" * 900
    got = outcome(error(21211, message=told))
    assert isinstance(got, Gone)
    assert "900123" not in got.detail
    assert SECRET not in got.detail
    assert len(got.detail) <= MAX_DETAIL


@pytest.mark.parametrize("timed_out", [True, False])
def test_only_a_connection_that_was_never_made_is_surely_not_taken(timed_out: bool) -> None:
    reason = Reason.TIMEOUT if timed_out else Reason.CONNECTION
    assert outcome_of_failure(Failure(timed_out, True, "x")) == Retry(reason, "x", 10.0, maybe_taken=True)
    assert outcome_of_failure(Failure(timed_out, False, "x")) == Retry(reason, "x", None, maybe_taken=False)
