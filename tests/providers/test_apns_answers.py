"""Every answer in answers/apns, and every row of the table, leads to the outcome that Apple asks for."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.emulators.apns_reasons import REASONS
from tidings.http import Answer, Failure
from tidings.providers.apns_answers import (
    MAX_DETAIL,
    ROWS,
    Then,
    outcome_of,
    outcome_of_failure,
    read,
    row_for,
)
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
RECORDED = sorted((Path(__file__).parent / "answers" / "apns").glob("*.json"))
SECRETS = ("0123456789abcdef" * 4, "header.claims.signature")


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


def told(status: int, **fields: Any) -> Answer:
    return Answer(status, msgspec.json.encode(fields), {})


def outcome(answer: Answer) -> Outcome:
    return outcome_of(answer, SECRETS, NOW)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_answer(path: Path) -> None:
    entry, answer = recorded(path)
    assert entry.source
    got = msgspec.json.decode(msgspec.json.encode(outcome(answer)))
    detail = got.pop("detail", "")
    defaults: dict[str, dict[str, Any]] = {
        "retry": {"account_wide": False, "maybe_taken": False},
        "gone": {"since": None},
    }
    assert got == defaults.get(entry.outcome["type"], {}) | entry.outcome
    assert entry.status == 200 or detail.startswith(str(entry.status))


def test_every_row_is_walked_by_a_recorded_answer() -> None:
    walked = {row_for(read(answer)) for _, answer in map(recorded, RECORDED) if answer.status != 200}
    assert [row for row in ROWS if row not in walked] == []


def test_every_reason_of_the_emulator_has_a_row_of_its_own() -> None:
    named = {(row.http, row.name) for row in ROWS}
    assert {(status, name) for status, names in REASONS.items() for name in names} <= named


def test_what_is_done_at_once() -> None:
    done = {row.name: row.then for row in ROWS if row.then is not Then.NOTHING and row.name}
    assert {name for name, then in done.items() if then is Then.SIGN_ANEW} == {"ExpiredProviderToken"}
    assert {name for name, then in done.items() if then is Then.NEW_CONNECTION} == {
        "UnrelatedKeyIdInToken",
        "IdleTimeout",
        "Shutdown",
    }
    assert {name for name, then in done.items() if then is Then.AGAIN} == {
        "InternalServerError",
        "ServiceUnavailable",
    }


def test_only_an_answer_about_the_address_ends_it() -> None:
    ending = {(row.http, row.name) for row in ROWS if row.kind is Gone}
    assert ending == {
        (400, "BadDeviceToken"),
        (400, "DeviceTokenNotForTopic"),
        (410, "Unregistered"),
        (410, "ExpiredToken"),
        (410, None),
    }


@pytest.mark.parametrize(
    ("timestamp", "since"),
    [
        (1_772_366_400_000, NOW),
        (0, None),
        (-1, None),
        (10**30, None),
        (True, None),
        (1.5, None),
        ("1772366400000", None),
        (None, None),
    ],
)
def test_the_timestamp_of_410_is_in_milliseconds(timestamp: Any, since: datetime | None) -> None:
    got = outcome(told(410, reason="Unregistered", timestamp=timestamp))
    assert isinstance(got, Gone)
    assert got.since == since


def test_detail_shows_apples_word_but_no_secret() -> None:
    got = outcome(told(400, reason=f"Bad {SECRETS[0]}\n{SECRETS[1]} " + "x" * 400))
    assert isinstance(got, Rejected)
    assert got.detail.startswith("400 Bad <hidden> <hidden> xxx")
    assert len(got.detail) == MAX_DETAIL


def test_the_wait_after_a_5xx_is_the_accounts() -> None:
    got = outcome_of(told(500, reason="InternalServerError"), SECRETS, NOW, unavailable_wait_s=30.0)
    assert isinstance(got, Retry)
    assert got.after_s == 30.0


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["reason", "timestamp"]), inner),
    max_leaves=8,
)


@given(st.integers(100, 599), st.binary() | json.map(msgspec.json.encode))
def test_any_body_is_an_outcome(status: int, body: bytes) -> None:
    got = outcome(Answer(status, body, {}))
    assert isinstance(got, Sent | Retry | Rejected | Gone | Paused)
    assert not (isinstance(got, Gone) and status >= 500)


def test_deeply_nested_body_is_an_outcome() -> None:
    assert isinstance(outcome(Answer(503, b"[" * 60_000, {})), Retry)


def test_a_failure_waits_only_if_the_message_may_have_left() -> None:
    assert outcome_of_failure(Failure(True, True, "late")) == Retry(Reason.TIMEOUT, "late", 1.0, maybe_taken=True)
    assert outcome_of_failure(Failure(False, True, "cut")) == Retry(Reason.CONNECTION, "cut", 1.0, maybe_taken=True)
    assert outcome_of_failure(Failure(False, False, "no")) == Retry(Reason.CONNECTION, "no", after_s=None)
