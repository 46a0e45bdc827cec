"""What a message says, and in which order acknowledgements go out."""

import msgspec
import pytest
from aiormq.channel import Channel
from hypothesis import given
from hypothesis import strategies as st

from tidings.queue import Lane, wire
from tidings.queue.feed import Delivery, Feed

TICKET = st.tuples(st.integers(0, 2**63 - 1), st.integers(1, 1_000_000))


@given(st.sampled_from(Lane), st.lists(TICKET, min_size=1, max_size=wire.MOST_TICKETS))
def test_what_was_written_is_read(lane: Lane, tickets: list[tuple[int, int]]) -> None:
    body = wire.encode(lane, tickets)
    assert len(body) <= wire.MOST_BYTES
    assert wire.decode(lane, body) == tickets


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        assert wire.decode(Lane.BULK, body)
    except wire.Unreadable as error:
        assert str(error)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"version": 2, "jobs": []}, "version 2"),
        ({"version": 1, "lane": "normal", "tickets": [[1, 1]]}, "another lane"),
        ({"version": 1, "lane": "bulk", "tickets": []}, "not a list"),
        ({"version": 1, "lane": "bulk", "tickets": [[-1, 1]]}, "not a list"),
        ({"version": 1, "lane": "bulk", "tickets": [[1, 0]]}, "not a list"),
        ({"version": 1, "lane": "bulk", "tickets": [["1", 1]]}, "not a list"),
        ({"version": 1, "lane": "bulk", "tickets": [[1, 1]], "more": 1}, "not a list"),
        ({"version": 1, "lane": "bulk", "tickets": [[1, 1]] * 10_000}, "more than"),
        ([1], "not a list"),
    ],
)
def test_what_is_not_ours_is_refused_with_a_reason(body: object, why: str) -> None:
    with pytest.raises(wire.Unreadable, match=why):
        wire.decode(Lane.BULK, msgspec.json.encode(body))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(wire.Unreadable):
        wire.decode(Lane.BULK, b'{"version":' + b"[" * 15_000)


@given(st.permutations(range(1, 9)), st.lists(st.booleans(), min_size=8, max_size=8))
def test_each_tag_is_acknowledged_once_and_never_before_it_is_done(order: list[int], pauses: list[bool]) -> None:
    feed = Feed(Lane.NORMAL, channel=object.__new__(Channel))
    deliveries = {tag: Delivery(feed, tag, tag) for tag in range(1, 9)}
    for delivery in deliveries.values():
        feed.came(delivery)
    done: set[int] = set()
    acked: set[int] = set()
    for tag, pause in zip(order, pauses, strict=True):
        feed.finished(deliveries[tag])
        done.add(tag)
        if pause:
            acked |= _acknowledged(feed, acked)
        assert acked <= done
    acked |= _acknowledged(feed, acked)
    assert acked == done == set(deliveries)
    feed.finished(deliveries[1])
    assert feed.acks() == []


def _acknowledged(feed: Feed, before: set[int]) -> set[int]:
    """The tags that the frames cover, as a broker reads them."""
    found: set[int] = set()
    for tag, multiple in feed.acks():
        covered = {other for other in range(1, tag + 1) if other not in before} if multiple else {tag}
        assert not covered & (found | before), "acknowledged twice"
        found |= covered
    return found
