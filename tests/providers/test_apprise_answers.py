"""Every recorded answer of a chat service, and every row of the table, leads to what the service's pages say."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.chat_message import recorded
from tidings import clock
from tidings.addresses import AddressRefused
from tidings.http import Answer, Failure
from tidings.providers.apprise_answers import MAX_DETAIL, ROWS, masked, outcome_of, row_for, wait_of
from tidings.providers.apprise_services import SERVICES
from tidings.providers.contract import Gone, Paused, Reason, Rejected, Retry, Sent

ADDRESS = "jsons://user:s3cretpw@chat.example.org/hooks/T0123secret?thread=abcdefgh"
RECORDED = recorded()


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_recorded_answer(name: str) -> None:
    entry = RECORDED[name]
    assert entry.source
    vendor = not SERVICES[entry.service].own_host
    got = outcome_of(entry.taken, [entry.answer], ADDRESS, vendor=vendor, now=clock.now())
    shown = msgspec.to_builtins(got)
    assert {key: shown[key] for key in entry.outcome} == entry.outcome
    assert isinstance(got, Sent) or got.detail.startswith(str(entry.status))


def test_every_row_is_walked_by_a_recorded_answer() -> None:
    walked = {
        row_for(entry.status, entry.answer.body.decode(), not SERVICES[entry.service].own_host)
        for entry in RECORDED.values()
        if not entry.taken
    }
    assert [row for row in ROWS if row not in walked] == []


def outcome(*seen: Answer | Failure | AddressRefused) -> object:
    return outcome_of(False, seen, ADDRESS, vendor=False, now=clock.now())


def test_without_an_answer() -> None:
    assert outcome(Failure(True, True, "late")) == Retry(Reason.TIMEOUT, "late", maybe_taken=True)
    assert outcome(Failure(False, True, "cut")) == Retry(Reason.CONNECTION, "cut", maybe_taken=True)
    assert outcome(Failure(False, False, "no")) == Retry(Reason.CONNECTION, "no")
    assert outcome(AddressRefused("not public")) == Rejected(Reason.FORBIDDEN_ADDRESS, "not public")
    assert isinstance(outcome(), Rejected)


def test_the_last_call_counts() -> None:
    got = outcome(Answer(200, b"{}", {}), Answer(410, b"", {}))
    assert got == Gone(Reason.UNREGISTERED, "410")


def test_nothing_of_the_url_is_in_the_detail() -> None:
    got = outcome(Answer(400, f"no hook {ADDRESS} T0123secret, s3cretpw abcdefgh ".encode() + b"x" * 900, {}))
    assert isinstance(got, Rejected)
    assert len(got.detail) == MAX_DETAIL
    assert not any(piece in got.detail for piece in ("s3cretpw", "T0123secret", "abcdefgh", "chat.example.org"))


def test_a_secret_that_is_quoted_in_the_url_is_masked_unquoted_too() -> None:
    assert masked("it is p@ss w0rd!", "json://u:p%40ss%20w0rd%21@h/x") == "it is p@ss w0rd!".replace(
        "ss w0rd!", "<hidden>"
    )


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"retry_after":"soon"}', b'{"retry_after":true}', b'{"retry_after":-3}', b"[" * 60_000]
)
def test_a_wait_that_makes_no_sense_counts_as_absent(body: bytes) -> None:
    assert wait_of(Answer(429, body, {}), clock.now()) is None


def test_waits_are_clamped_and_the_longer_counts() -> None:
    assert wait_of(Answer(429, b'{"retry_after":1e9}', {}), clock.now()) == 3600.0
    assert wait_of(Answer(429, b'{"retry_after":2}', {"retry-after": "9"}), clock.now()) == 9.0


@given(st.integers(100, 599), st.binary(), st.booleans())
def test_any_answer_is_an_outcome(status: int, body: bytes, vendor: bool) -> None:
    got = outcome_of(False, [Answer(status, body, {})], ADDRESS, vendor=vendor, now=clock.now())
    assert isinstance(got, Retry | Rejected | Gone)
    assert not isinstance(got, Paused)
