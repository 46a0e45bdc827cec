"""Every reply in answers/smtp, and every row of the table, leads to the outcome that the RFCs and vendors ask for."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.providers.contract import Gone, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.smtp_answers import MAX_DETAIL, ROWS, mask, outcome_of, outcome_of_trouble, read, row_for
from tidings.providers.smtp_dialogue import Answer, Ended, Reply, Stage, Trouble

RECORDED = sorted((Path(__file__).parent / "answers" / "smtp").glob("*.json"))
DEFAULTS: dict[str, dict[str, Any]] = {
    "sent": {"provider_message_id": None},
    "retry": {"account_wide": False, "maybe_taken": False},
    "gone": {"since": None},
}


class Recorded(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    stage: Stage
    code: int
    text: str
    outcome: dict[str, Any]

    @property
    def answer(self) -> Answer:
        return Answer(self.stage, Reply(self.code, self.text))


def recorded(path: Path) -> Recorded:
    return msgspec.json.decode(path.read_bytes(), type=Recorded)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_answer(path: Path) -> None:
    entry = recorded(path)
    assert entry.source
    outcome = outcome_of(entry.answer)
    got = msgspec.to_builtins(outcome)
    detail = got.pop("detail", str(entry.code))
    assert got == DEFAULTS.get(entry.outcome["type"], {}) | entry.outcome
    assert detail.startswith(str(entry.code))
    assert "@" not in detail


def test_every_row_is_walked_by_a_recorded_answer() -> None:
    answers = [recorded(path).answer for path in RECORDED]
    walked = {ROWS.index(row_for(read(one))) for one in answers if not 200 <= one.reply.code < 300}
    assert [ROWS[index] for index in set(range(len(ROWS))) - walked] == []


@pytest.mark.parametrize(
    ("ended", "stage", "expected"),
    [
        (Ended.UNREACHABLE, Stage.CONNECT, Retry(Reason.CONNECTION, "why")),
        (Ended.TIMED_OUT, Stage.CONNECT, Retry(Reason.TIMEOUT, "why")),
        (Ended.LOST, Stage.RCPT, Retry(Reason.CONNECTION, "why")),
        (Ended.LOST, Stage.BODY, Retry(Reason.CONNECTION, "why", 7.0, maybe_taken=True)),
        (Ended.TIMED_OUT, Stage.BODY, Retry(Reason.TIMEOUT, "why", 7.0, maybe_taken=True)),
        (Ended.TLS, Stage.STARTTLS, Paused(Reason.CREDENTIALS, "why")),
        (Ended.UNSUPPORTED, Stage.AUTH, Paused(Reason.CREDENTIALS, "why")),
        (Ended.UNSUPPORTED, Stage.RCPT, Rejected(Reason.INVALID_MESSAGE, "why")),
        (Ended.FORBIDDEN, Stage.CONNECT, Paused(Reason.FORBIDDEN_ADDRESS, "why")),
    ],
)
def test_a_dialogue_without_a_deciding_reply(ended: Ended, stage: Stage, expected: object) -> None:
    assert outcome_of_trouble(Trouble(ended, stage, "why"), floor_s=7.0) == expected


def test_waits_follow_the_accounts_floor() -> None:
    greylisted = Answer(Stage.RCPT, Reply(451, "4.7.1 Greylisted"))
    assert outcome_of(greylisted, floor_s=2.0) == Retry(Reason.UNAVAILABLE, "451 4.7.1 Greylisted", after_s=10.0)


def test_a_2xx_before_the_body_is_not_sent() -> None:
    assert isinstance(outcome_of(Answer(Stage.DATA, Reply(250, "Ok"))), Retry)
    assert isinstance(outcome_of(Answer(Stage.BODY, Reply(250, "Ok"))), Sent)


def test_one_address_is_not_ended_by_what_is_about_others() -> None:
    """No refusal for policy, spam, fullness or our own account may suppress an address."""
    for path in RECORDED:
        entry = recorded(path)
        if isinstance(outcome_of(entry.answer), Gone):
            assert entry.stage in (Stage.RCPT, Stage.BODY), path.stem
            assert ".7." not in entry.text, path.stem


@given(st.sampled_from(list(Stage)), st.integers(200, 599), st.text(max_size=400))
def test_no_reply_is_too_strange(stage: Stage, code: int, text: str) -> None:
    outcome = outcome_of(Answer(stage, Reply(code, text)))
    detail = getattr(outcome, "detail", "")
    assert len(detail) <= MAX_DETAIL
    assert detail.isprintable()


def test_addresses_and_links_are_masked() -> None:
    said = "550 5.1.1 <Jane.Doe@example.org>: unknown; see https://example.org/u?who=jane\r\nbye"
    assert mask(said) == "550 5.1.1 <<hidden>>: unknown; see <link> bye"
