"""Every answer in answers/fcm, and every row of the table, leads to the outcome that FCM's pages ask for."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.http import Answer, Failure, retry_after_s
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.fcm_answers import (
    MAX_DETAIL,
    ROWS,
    is_access_refused,
    mask,
    outcome_of,
    outcome_of_failure,
    read,
    row_for,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
RECORDED = sorted((Path(__file__).parent / "answers" / "fcm").glob("*.json"))


class Recorded(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    status: int
    headers: dict[str, str]
    body: Any
    outcome: dict[str, Any]


def recorded(path: Path) -> tuple[Recorded, Answer]:
    entry = msgspec.json.decode(path.read_bytes(), type=Recorded)
    body = entry.body.encode() if isinstance(entry.body, str) else msgspec.json.encode(entry.body)
    return entry, Answer(entry.status, body, entry.headers)


def error(code: int, fcm: str | None, *details: dict[str, Any], message: str = "no", status: str = "") -> Answer:
    told = list(details)
    if fcm is not None:
        told.append({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": fcm})
    body = {"error": {"code": code, "message": message, "status": status, "details": told}}
    return Answer(code, msgspec.json.encode(body), {})


def outcome(answer: Answer) -> Outcome:
    return outcome_of(answer, ("device-token-0001", "access-token-0001"), NOW)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_answer(path: Path) -> None:
    entry, answer = recorded(path)
    assert entry.source
    got = msgspec.to_builtins(outcome(answer))
    got.pop("detail", None)
    defaults: dict[str, dict[str, Any]] = {
        "retry": {"account_wide": False, "maybe_taken": False},
        "gone": {"since": None},
    }
    assert got == defaults.get(entry.outcome["type"], {}) | entry.outcome


def test_every_row_is_walked_by_a_recorded_answer() -> None:
    walked = {row_for(read(answer, NOW)) for _, answer in map(recorded, RECORDED) if answer.status != 200}
    odd = [error(429, None, quota("device")), error(400, None, message="message is too big")]
    walked |= {row_for(read(answer, NOW)) for answer in odd}
    assert [row for row in ROWS if row not in walked] == []


def quota(subject: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"description": subject}]}


# The table of the ErrorCode page, row by row: code, HTTP status, what we do.
CODES: list[tuple[str | None, int, type[Outcome], Reason]] = [
    ("UNSPECIFIED_ERROR", 500, Retry, Reason.UNAVAILABLE),
    ("INVALID_ARGUMENT", 400, Rejected, Reason.INVALID_MESSAGE),
    ("UNREGISTERED", 404, Gone, Reason.UNREGISTERED),
    ("SENDER_ID_MISMATCH", 403, Gone, Reason.SENDER_MISMATCH),
    ("QUOTA_EXCEEDED", 429, Retry, Reason.RATE_LIMITED),
    ("UNAVAILABLE", 503, Retry, Reason.UNAVAILABLE),
    ("INTERNAL", 500, Retry, Reason.UNAVAILABLE),
    ("THIRD_PARTY_AUTH_ERROR", 401, Paused, Reason.VENDOR_CREDENTIALS),
    (None, 401, Paused, Reason.CREDENTIALS),
    (None, 403, Paused, Reason.CREDENTIALS),
    (None, 404, Paused, Reason.WRONG_ACCOUNT),
    (None, 400, Rejected, Reason.INVALID_MESSAGE),
    (None, 429, Retry, Reason.RATE_LIMITED),
    (None, 500, Retry, Reason.UNAVAILABLE),
    (None, 502, Retry, Reason.UNAVAILABLE),
    (None, 503, Retry, Reason.UNAVAILABLE),
    (None, 504, Retry, Reason.UNAVAILABLE),
]


@pytest.mark.parametrize(("code", "http", "kind", "reason"), CODES)
def test_error_code(code: str | None, http: int, kind: type[Outcome], reason: Reason) -> None:
    got = outcome(error(http, code))
    assert not isinstance(got, Sent)
    assert (type(got), got.reason) == (kind, reason)


def test_only_a_quota_of_the_device_spares_the_account() -> None:
    device, project = outcome(error(429, None, quota("device rate"))), outcome(error(429, None))
    assert isinstance(device, Retry)
    assert isinstance(project, Retry)
    assert (device.account_wide, project.account_wide) == (False, True)
    assert device.after_s == project.after_s == 60.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("17", 17.0),
        (" 17 ", 17.0),
        ("0", 1.0),
        ("999999", 3600.0),
        ("9" * 5000, 3600.0),
        ("-5", None),
        ("1.5", None),
        ("١٢", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Sun, 01 Mar 2026 12:02:00 GMT", 120.0),
        ("Sunday, 01-Mar-26 12:02:00 GMT", 120.0),
        ("Sun Mar  1 12:02:00 2026", 120.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 1.0),
        ("Sun, 01 Mar 2099 12:00:00 GMT", 3600.0),
        ("Sun, 99 Mar 2026 12:00:00 GMT", None),
        ("Sun, 01 Mar 2026 99999999999999999999:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_and_clamped(value: str | None, expected: float | None) -> None:
    assert retry_after_s(value, NOW) == expected


@given(st.text())
def test_no_retry_after_hurts(value: str) -> None:
    wait = retry_after_s(value, NOW)
    assert wait is None or 1.0 <= wait <= 3600.0


@pytest.mark.parametrize(
    ("header", "delay", "expected"),
    [
        ("30", "12s", 30.0),
        ("5", "12s", 12.0),
        ("-1", "12s", 12.0),
        ("-1", "-12s", 10.0),
        ("-1", "9999999s", 3600.0),
    ],
)
def test_the_longer_wait_of_header_and_retry_info_counts(header: str, delay: str, expected: float) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    answer = error(503, "UNAVAILABLE", info)
    got = outcome(Answer(answer.status, answer.body, {"retry-after": header}))
    assert isinstance(got, Retry)
    assert got.after_s == expected


def test_429_with_a_broken_retry_after_waits_a_minute() -> None:
    answer = Answer(429, error(429, "QUOTA_EXCEEDED").body, {"retry-after": "-30"})
    got = outcome(answer)
    assert isinstance(got, Retry)
    assert got.after_s == 60.0


def test_detail_shows_the_vendors_words_but_no_secret() -> None:
    said = "bad device-token-0001 with access-token-0001\n" + "x" * 400
    got = outcome(error(400, "INVALID_ARGUMENT", message=said, status="INVALID_ARGUMENT"))
    assert isinstance(got, Rejected)
    assert got.detail.startswith("400 INVALID_ARGUMENT: bad <hidden> with <hidden> xxx")
    assert len(got.detail) == MAX_DETAIL


@given(st.text(min_size=8), st.text(), st.text())
def test_a_secret_never_survives_the_cut(hidden: str, before: str, after: str) -> None:
    if hidden in "<hidden>" or hidden != " ".join(hidden.split()):
        return
    whole = mask(before + hidden + after, (hidden,))
    assert len(whole) <= MAX_DETAIL
    assert hidden not in whole.replace("<hidden>", "")


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        (error(401, None), True),
        (error(401, "UNSPECIFIED_ERROR"), True),
        (Answer(401, b"", {}), True),
        (error(401, "THIRD_PARTY_AUTH_ERROR"), False),
        (error(403, None), False),
    ],
)
def test_which_401_is_about_the_access_token(answer: Answer, refused: bool) -> None:
    assert is_access_refused(answer) is refused


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "details", "@type", "message"]), inner),
    max_leaves=12,
)


@given(st.integers(100, 599), st.binary() | json.map(msgspec.json.encode))
def test_any_body_is_an_outcome(status: int, body: bytes) -> None:
    got = outcome(Answer(status, body, {}))
    assert isinstance(got, Sent | Retry | Rejected | Gone | Paused)
    assert not (isinstance(got, Gone) and status >= 500)


def test_deeply_nested_body_is_an_outcome() -> None:
    assert isinstance(outcome(Answer(503, b"[" * 60_000, {})), Retry)


def test_a_failure_waits_only_if_the_message_may_have_left() -> None:
    assert outcome_of_failure(Failure(True, True, "late")) == Retry(Reason.TIMEOUT, "late", 10.0, maybe_taken=True)
    assert outcome_of_failure(Failure(False, True, "cut")) == Retry(Reason.CONNECTION, "cut", 10.0, maybe_taken=True)
    assert outcome_of_failure(Failure(False, False, "no")) == Retry(Reason.CONNECTION, "no", after_s=None)
