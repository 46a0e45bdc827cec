"""Both SMS vendors: every recorded answer leads to the outcome that it should, and any other to one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.sms_vendors import TWILIO, VONAGE, SmsVendor, each_vendor
from tests.providers.text_message import Recorded, shape
from tidings import clock
from tidings.http import Answer, Failure
from tidings.providers.contract import Gone, Outcome, Reason, Rejected, Retry, Sent
from tidings.providers.sms_verdict import HTTP_STATUSES, MAX_DETAIL, outcome_of_failure, verdict_of_status

SECRET = "0123456789abcdef" * 2
RECORDED = [
    pytest.param(vendor, entry, id=f"{vendor.name}-{name}")
    for vendor in (TWILIO, VONAGE)
    for name, entry in vendor.recorded.items()
]


def outcome(vendor: SmsVendor, answer: Answer) -> Outcome:
    return vendor.outcome_of(answer, lambda: (SECRET, ""), clock.now(), own_sender=False, floor_s=10.0)


@pytest.mark.parametrize(("vendor", "entry"), RECORDED)
def test_recorded_answer(vendor: SmsVendor, entry: Recorded) -> None:
    assert entry.source
    assert shape(outcome(vendor, entry.answer)) == entry.expected


@each_vendor
def test_every_http_status_is_walked_by_a_recorded_answer(vendor: SmsVendor) -> None:
    walked = {verdict_of_status(entry.status) for entry in vendor.recorded.values()}
    assert {verdict for _, _, verdict in HTTP_STATUSES} <= walked


@each_vendor
def test_what_was_taken_asks_for_no_secrets(vendor: SmsVendor) -> None:
    asked: list[bool] = []

    def secrets() -> tuple[str, ...]:
        asked.append(True)
        return (SECRET,)

    for entry in vendor.recorded.values():
        got = vendor.outcome_of(entry.answer, secrets, clock.now(), own_sender=False, floor_s=10.0)
        assert not (asked and isinstance(got, Sent))
        asked.clear()


@each_vendor
@given(status=st.integers(100, 599), body=st.binary(max_size=200))
def test_any_answer_is_an_outcome(vendor: SmsVendor, status: int, body: bytes) -> None:
    assert not isinstance(outcome(vendor, Answer(status, body, {})), Sent | Gone)


TOLD = f"The 'To' number +447700900123 (447700900123) is bad; {SECRET} " + "x" * 900
QUOTED = [
    pytest.param(TWILIO, 400, {"code": 21211, "message": TOLD}, Gone, id="twilio"),
    pytest.param(VONAGE, 200, {"messages": [{"status": "3", "error-text": TOLD}]}, Rejected, id="vonage"),
]


@pytest.mark.parametrize(("vendor", "status", "body", "kind"), QUOTED)
def test_details_hold_no_number_and_no_secret_and_are_short(
    vendor: SmsVendor, status: int, body: object, kind: type[Gone | Rejected]
) -> None:
    got = outcome(vendor, Answer(status, msgspec.json.encode(body), {}))
    assert isinstance(got, kind)
    assert "bad" in got.detail
    assert "900123" not in got.detail
    assert SECRET not in got.detail
    assert len(got.detail) <= MAX_DETAIL


@pytest.mark.parametrize("timed_out", [True, False])
def test_only_a_connection_that_was_never_made_is_surely_not_taken(timed_out: bool) -> None:
    reason = Reason.TIMEOUT if timed_out else Reason.CONNECTION
    assert outcome_of_failure(Failure(timed_out, True, "x")) == Retry(reason, "x", 10.0, maybe_taken=True)
    assert outcome_of_failure(Failure(timed_out, False, "x")) == Retry(reason, "x", None, maybe_taken=False)
