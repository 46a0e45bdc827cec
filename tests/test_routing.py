"""Routes: what is stored of `channels` and `fallback`, and whose turn it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings import routing
from tidings.routing import CHANNELS, USUAL, Route, next_channel

SOME = st.lists(st.sampled_from(CHANNELS), min_size=1, unique=True)


@given(SOME)
def test_what_is_written_can_be_read(channels: list[str]) -> None:
    assert routing.read(routing.write(channels, None)) == Route(tuple(channels))
    fallback = len(channels) > 1  # with one channel there is nothing to fall back to
    assert routing.read(routing.write(None, channels)) == Route(tuple(channels), fallback)


def test_nothing_given_is_push_and_websocket() -> None:
    assert routing.write(None, None) is None
    assert routing.read(None) == USUAL == Route(("push", "websocket"))


def test_all() -> None:
    assert routing.read(routing.write("all", None)).channels == CHANNELS


@pytest.mark.parametrize(
    ("statuses", "suppressed", "turn"),
    [
        ({}, [], "push"),
        ({"push": ["failed", "failed"]}, [], "email"),
        ({"push": ["failed", "pending"]}, [], None),
        ({"push": ["sent"]}, [], None),
        ({}, ["push"], "email"),
        ({"email": ["failed"]}, ["push"], "sms"),
        ({"push": ["expired"], "email": ["suppressed"], "sms": ["failed"]}, [], None),
        ({"push": ["failed"], "email": ["delivered"]}, [], None),
    ],
)
def test_whose_turn_it_is(statuses: dict[str, list[str]], suppressed: list[str], turn: str | None) -> None:
    route = routing.read("push>email>sms")
    assert next_channel(route, statuses, suppressed) == turn
