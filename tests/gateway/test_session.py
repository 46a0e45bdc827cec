"""The rules of a socket, without any socket."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings import signing
from tidings.bus import Position
from tidings.gateway import protocol
from tidings.gateway.protocol import CloseCode
from tidings.gateway.session import (
    Acknowledge,
    Admitted,
    Close,
    Join,
    MarkRead,
    Send,
    Session,
    Unauthenticated,
)

KEY = signing.derive(bytes(32), signing.USER_TOKENS)
NOW = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)


def say(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


def token(user_id: int = 7, project_id: int = 3, ttl_s: int = 60, now: datetime = NOW) -> str:
    return signing.mint_user_token(KEY, project_id, user_id, now, ttl_s)


def admitted(**fields: Any) -> Admitted:
    decision = Unauthenticated(KEY).on_text(say(command="authenticate", token=token(), **fields), NOW)
    assert isinstance(decision, Admitted)
    return decision


@pytest.fixture
def session() -> Session:
    return admitted().session


def error_of(actions: list[Any]) -> str:
    [action] = actions
    assert isinstance(action, Send)
    event = msgspec.json.decode(action.text, type=protocol.Error)
    return event.data.code.value


def test_a_good_token_admits_its_user_and_nothing_else() -> None:
    decision = admitted()
    assert decision.join == Join(3, 7, None, None)
    assert (decision.session.project_id, decision.session.user_id) == (3, 7)
    assert decision.session.expires_at == NOW + timedelta(seconds=60)


def test_positions_are_asked_for() -> None:
    decision = admitted(positions={"notification": "abc:5", "broadcast": "x-_:0"})
    assert decision.join == Join(3, 7, Position("abc", 5), Position("x-_", 0))
    assert admitted(positions={"broadcast": "b:2"}).join == Join(3, 7, None, Position("b", 2))


def test_a_position_that_makes_no_sense_is_one_that_can_not_be_met() -> None:
    assert admitted(positions={"notification": "what?"}).join.notifications == Position("", 0)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        b"[]",
        b"{}",
        say(command="acknowledge", ids=[1]),
        say(command="read", ids=[1]),
        say(command="ping"),
        say(command="refresh", token="x"),
        say(command="authenticate"),
        say(command="authenticate", token=7),
        say(command="authenticate", token=""),
        say(command="authenticate", token="x", user_id=8),
        say(command="authenticate", token="x" * 4097),
    ],
)
def test_the_first_message_must_authenticate(payload: bytes) -> None:
    assert Unauthenticated(KEY).on_text(payload, NOW) == Close(CloseCode.NOT_AUTHENTICATED)


def test_a_bad_token_does_not_come_back_and_an_expired_one_does() -> None:
    late = NOW + timedelta(seconds=100)
    message = say(command="authenticate", token=token())
    assert Unauthenticated(KEY).on_text(message, late) == Close(CloseCode.TOKEN_EXPIRED)
    other_key = Unauthenticated(bytes(32))
    assert other_key.on_text(message, NOW) == Close(CloseCode.TOKEN_REFUSED)


def test_acknowledge_and_read(session: Session) -> None:
    assert session.on_text(say(command="acknowledge", ids=[5, 6]), NOW) == [Acknowledge([5, 6])]
    assert session.on_text(say(command="read", ids=[2**63 - 1]), NOW) == [MarkRead([2**63 - 1])]


def test_ping_is_answered(session: Session) -> None:
    assert session.on_text(say(command="ping"), NOW) == [Send(b'{"event":"pong"}')]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b'{"command":"ping"',
        b'{"command":"ping"} x',
        b'{"command":"p\xffng"}',
        b'{"command":"\xed\xa0\x80"}',
        b"[" * 60_000,
        b'{"command":' * 10_000,
        say(command="subscribe"),
        say(command="ping", x=1),
        say(command="acknowledge", ids=[]),
        say(command="acknowledge", ids=list(range(1, 102))),
        say(command="acknowledge", ids=[0]),
        say(command="acknowledge", ids=[2**63]),
        say(command="acknowledge", ids=["5"]),
        say(command="acknowledge", ids=[1.5]),
        say(command="acknowledge", ids=5),
        say(command="acknowledge", ids=[1], user_id=8),
    ],
)
def test_what_is_no_command_is_refused_and_forgiven(session: Session, payload: bytes) -> None:
    assert error_of(session.on_text(payload, NOW)) == "invalid_command"
    assert session.on_text(say(command="ping"), NOW) == [Send(b'{"event":"pong"}')]


def test_authenticating_twice_is_refused(session: Session) -> None:
    assert error_of(session.on_text(say(command="authenticate", token=token(8)), NOW)) == "already_authenticated"
    assert session.user_id == 7


def test_errors_are_forgiven_ten_times_and_then_slowly(session: Session) -> None:
    for _ in range(10):
        assert error_of(session.on_text(b"?", NOW)) == "invalid_command"
    assert session.on_text(b"?", NOW) == [Close(CloseCode.TOO_MANY_ERRORS)]
    later = NOW + timedelta(seconds=60)
    assert error_of(session.on_text(b"?", later)) == "invalid_command"


def test_commands_are_bounded_in_rate(session: Session) -> None:
    ping = say(command="ping")
    for _ in range(50):
        assert session.on_text(ping, NOW) == [Send(b'{"event":"pong"}')]
    assert error_of(session.on_text(ping, NOW)) == "rate_limited"
    soon = NOW + timedelta(seconds=1)
    answers = [session.on_text(ping, soon) for _ in range(21)]
    assert answers[:20] == [[Send(b'{"event":"pong"}')]] * 20
    assert error_of(answers[20]) == "rate_limited"


def test_a_flood_ends_in_a_close_whatever_is_flooded(session: Session) -> None:
    actions = [action for _ in range(100) for action in session.on_text(say(command="ping"), NOW)]
    assert Close(CloseCode.TOO_MANY_ERRORS) in actions
    other = admitted().session
    assert [other.allows_one(NOW) for _ in range(51)] == [True] * 50 + [False]
    assert [other.on_flood() for _ in range(11)][10] == [Close(CloseCode.TOO_MANY_ERRORS)]


def test_a_clock_that_goes_back_gives_no_budget_and_takes_none(session: Session) -> None:
    for minute in range(50):
        assert session.allows_one(NOW - timedelta(minutes=minute))
    assert not session.allows_one(NOW - timedelta(minutes=60))


def test_refresh_prolongs(session: Session) -> None:
    later = NOW + timedelta(seconds=50)
    [action] = session.on_text(say(command="refresh", token=token(now=later, ttl_s=600)), later)
    assert isinstance(action, Send)
    event = msgspec.json.decode(action.text, type=protocol.Refreshed)
    assert event.data.expires_at == session.expires_at == later + timedelta(seconds=600)
    assert not session.is_expired(NOW + timedelta(seconds=61))
    assert session.is_expired(later + timedelta(seconds=600))


def test_refresh_with_a_bad_token_changes_nothing(session: Session) -> None:
    assert error_of(session.on_text(say(command="refresh", token="x.y.z"), NOW)) == "token_refused"
    assert session.expires_at == NOW + timedelta(seconds=60)


@pytest.mark.parametrize(("user_id", "project_id"), [(8, 3), (7, 4)])
def test_refresh_can_not_change_the_user(session: Session, user_id: int, project_id: int) -> None:
    message = say(command="refresh", token=token(user_id, project_id))
    assert session.on_text(message, NOW) == [Close(CloseCode.WRONG_USER)]


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b'{"command":"ping"}']), max_size=40))
def test_no_bytes_raise_or_do_more_than_answer(payloads: list[bytes]) -> None:
    state = admitted().session
    for payload in payloads:
        for action in state.on_text(payload, NOW):
            assert isinstance(action, Send | Close)
        assert isinstance(Unauthenticated(KEY).on_text(payload, NOW), Close)
