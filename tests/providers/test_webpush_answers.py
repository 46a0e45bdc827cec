"""Every answer in answers/webpush, and every row of the table, leads to what the services' pages ask for."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.http import Answer, Failure
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.webpush_answers import (
    MAX_DETAIL,
    ROWS,
    is_about_device,
    outcome_of,
    outcome_of_failure,
    read,
    row_for,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
RECORDED = sorted((Path(__file__).parent / "answers" / "webpush").glob("*.json"))


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


def outcome(answer: Answer) -> Outcome:
    return outcome_of(answer, ("https://push.example/secret-endpoint", "secret-endpoint"), NOW)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_answer(path: Path) -> None:
    entry, answer = recorded(path)
    assert entry.source
    got = msgspec.to_builtins(outcome(answer))
    detail = got.pop("detail", "")
    assert detail.startswith(str(entry.status)) or entry.outcome["type"] == "sent"
    defaults: dict[str, dict[str, Any]] = {
        "retry": {"account_wide": False, "maybe_taken": False},
        "gone": {"since": None},
    }
    assert got == defaults.get(entry.outcome["type"], {}) | entry.outcome


def test_every_row_is_walked_by_a_recorded_answer() -> None:
    walked = {row_for(read(answer, NOW)) for _, answer in map(recorded, RECORDED) if answer.status >= 300}
    assert [row for row in ROWS if row not in walked] == []


def test_the_words_of_services_are_shown() -> None:
    wns = Answer(406, b"", {"x-wns-error-description": "too many"})
    assert outcome(wns) == Retry(Reason.RATE_LIMITED, "406: too many", 60.0)
    page = Answer(502, b"<html><h1>Bad\r\n Gateway</h1></html>", {})
    assert outcome(page) == Retry(Reason.UNAVAILABLE, "502: Bad Gateway", 10.0)


def test_secrets_are_masked_and_long_texts_cut() -> None:
    body = b"cannot send to https://push.example/secret-endpoint or secret-endpoint " + b"x" * 4000
    got = outcome(Answer(400, body, {}))
    assert isinstance(got, Rejected)
    assert "secret" not in got.detail
    assert "<hidden>" in got.detail
    assert len(got.detail) <= MAX_DETAIL


def test_only_apples_429_is_about_one_subscription() -> None:
    assert is_about_device(Answer(429, b'{"reason":"TooManyRequests"}', {}))
    assert not is_about_device(Answer(429, b'{"errno":201}', {}))
    assert not is_about_device(Answer(503, b'{"reason":"TooManyRequests"}', {}))


@pytest.mark.parametrize("wait", ["-5", "1.5", "soon", "", "١٢"])
def test_a_wait_that_makes_no_sense_counts_as_absent(wait: str) -> None:
    assert outcome(Answer(503, b"", {"retry-after": wait})) == Retry(Reason.UNAVAILABLE, "503", 10.0)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["reason", "errno", "message", "error", "code"]), inner)
    ),
    max_leaves=12,
)


@given(st.integers(100, 599), st.binary() | json.map(msgspec.json.encode))
def test_any_body_is_an_outcome(status: int, body: bytes) -> None:
    got = outcome(Answer(status, body, {}))
    assert isinstance(got, Sent | Retry | Rejected | Gone | Paused)
    assert not (isinstance(got, Gone) and not 400 <= status <= 499)


def test_deeply_nested_body_is_an_outcome() -> None:
    assert isinstance(outcome(Answer(503, b"[" * 60_000, {})), Retry)


def test_a_failure_waits_only_if_the_message_may_have_left() -> None:
    assert outcome_of_failure(Failure(True, True, "late"), 10) == Retry(Reason.TIMEOUT, "late", 10, maybe_taken=True)
    assert outcome_of_failure(Failure(False, True, "cut"), 10) == Retry(Reason.CONNECTION, "cut", 10, maybe_taken=True)
    assert outcome_of_failure(Failure(False, False, "no"), 10) == Retry(Reason.CONNECTION, "no", None)
