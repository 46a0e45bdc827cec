"""Every row of Twilio's table leads to the outcome that it should. See test_sms_answers.py, too."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings import clock
from tidings.http import Answer
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.twilio_answers import CODES, outcome_of

CODE = re.compile(r"\b[23][0-9]{4}\b")


def outcome(answer: Answer, *, own_sender: bool = False) -> Outcome:
    return outcome_of(answer, lambda: (), clock.now(), own_sender=own_sender)


def error(code: Any, status: int = 400, message: str = "no") -> Answer:
    return Answer(status, msgspec.json.encode({"code": code, "message": message, "status": status}), {})


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


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"sid":1}', b'{"sid":""}', b"[" * 5000, b"\xff", b""])
def test_taken_but_not_in_twilios_words_may_have_been_taken(body: bytes) -> None:
    got = outcome(Answer(201, body, {}))
    assert isinstance(got, Retry)
    assert got.maybe_taken
