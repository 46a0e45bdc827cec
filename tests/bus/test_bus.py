"""What every bus must do. An implementation joins by adding itself to the fixture `bus`."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tidings import clock
from tidings.bus import Bus, Position, encode_frame, read_position
from tidings.bus.memory import MemoryBus

MAKERS: dict[str, Callable[[], Bus]] = {"memory": MemoryBus}


@pytest.fixture(params=sorted(MAKERS))
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    made = MAKERS[request.param]()
    yield made
    await made.close()


class Ear:
    """A sink that keeps what it hears, until told to be deaf."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.deaf = False

    def take(self, frame: bytes) -> bool:
        if self.deaf:
            return False
        self.heard.append(msgspec.json.decode(frame))
        return True

    @property
    def data(self) -> list[Any]:
        return [frame["data"] for frame in self.heard]

    def position(self, event: str) -> Position:
        found = read_position(next(f["position"] for f in reversed(self.heard) if f["event"] == event))
        assert found is not None
        return found


async def test_a_published_frame_reaches_every_socket_of_the_user_and_no_other(bus: Bus) -> None:
    mine, also_mine, other, same_id_elsewhere = Ear(), Ear(), Ear(), Ear()
    for project, user, ear in ((1, 7, mine), (1, 7, also_mine), (1, 8, other), (2, 7, same_id_elsewhere)):
        await bus.join(project, user, ear.take, None, None)
    assert await bus.publish(1, 7, 100, b'{"id":100}') == 2
    assert mine.data == also_mine.data == [{"id": 100}]
    assert mine.heard[0]["event"] == "notification"
    assert other.heard == same_id_elsewhere.heard == []


async def test_a_broadcast_reaches_every_socket_of_the_project_and_no_other(bus: Bus) -> None:
    ears = [Ear() for _ in range(5)]
    stranger = Ear()
    for user, ear in enumerate(ears, 1):
        await bus.join(1, user, ear.take, None, None)
    await bus.join(2, 1, stranger.take, None, None)
    assert await bus.broadcast(1, 50, b'{"text":"all"}') == 5
    assert all(ear.heard[0]["event"] == "broadcast" and ear.data == [{"text": "all"}] for ear in ears)
    assert stranger.heard == []


async def test_nobody_there_is_zero(bus: Bus) -> None:
    assert await bus.publish(1, 7, 1, b"{}") == 0
    assert await bus.broadcast(1, 1, b"{}") == 0


async def test_offsets_count_from_one_without_gaps_in_one_epoch(bus: Bus) -> None:
    ear = Ear()
    mine, everyone = await bus.join(1, 7, ear.take, None, None)
    assert mine.position.offset == everyone.position.offset == 0
    for key in range(1, 6):
        await bus.publish(1, 7, key, b"{}")
    positions = [read_position(frame["position"]) for frame in ear.heard]
    assert positions == [Position(mine.position.epoch, n) for n in range(1, 6)]


async def test_the_same_key_twice_is_sent_once_and_answered_alike(bus: Bus) -> None:
    ear = Ear()
    await bus.join(1, 7, ear.take, None, None)
    assert await bus.publish(1, 7, 9, b'{"n":1}') == 1
    assert await bus.publish(1, 7, 9, b'{"n":1}') == 1
    assert await bus.broadcast(1, 9, b'{"n":2}') == 1
    assert await bus.broadcast(1, 9, b'{"n":2}') == 1
    assert ear.data == [{"n": 1}, {"n": 2}]


async def test_a_sink_that_refuses_is_not_counted_and_harms_no_other(bus: Bus) -> None:
    deaf, well = Ear(), Ear()
    deaf.deaf = True
    await bus.join(1, 7, deaf.take, None, None)
    await bus.join(1, 7, well.take, None, None)
    assert await bus.publish(1, 7, 1, b"{}") == 1
    assert len(well.heard) == 1


async def test_after_leave_nothing_comes_and_twice_is_safe(bus: Bus) -> None:
    ear = Ear()
    await bus.join(1, 7, ear.take, None, None)
    await bus.leave(1, 7, ear.take)
    await bus.leave(1, 7, ear.take)
    await bus.leave(1, 8, ear.take)
    assert await bus.publish(1, 7, 1, b"{}") == 0
    assert await bus.broadcast(1, 1, b"{}") == 0
    assert ear.heard == []


@pytest.mark.parametrize("missed", [0, 1, 5, 256])
async def test_the_exact_gap_of_both_streams_comes_back(bus: Bus, missed: int) -> None:
    first = Ear()
    await bus.join(1, 7, first.take, None, None)
    await bus.publish(1, 7, 1, b'{"n":0}')
    await bus.broadcast(1, 1, b'{"n":0}')
    await bus.leave(1, 7, first.take)
    for key in range(2, missed + 2):
        assert await bus.publish(1, 7, key, b'{"n":%d}' % key) == 0
        assert await bus.broadcast(1, key, b'{"n":%d}' % -key) == 0
    again = Ear()
    mine, everyone = await bus.join(
        1, 7, again.take, first.position("notification"), first.position("broadcast")
    )
    assert mine.recovered
    assert everyone.recovered
    assert [msgspec.json.decode(f)["data"]["n"] for f in mine.frames] == list(range(2, missed + 2))
    assert [msgspec.json.decode(f)["data"]["n"] for f in everyone.frames] == [
        -n for n in range(2, missed + 2)
    ]
    assert mine.position.offset == missed + 1
    await bus.publish(1, 7, 1000, b"{}")
    assert again.position("notification").offset == missed + 2  # it goes on right after the gap


async def test_a_gap_longer_than_the_history_is_not_pieced_together(bus: Bus) -> None:
    ear = Ear()
    start, _ = await bus.join(1, 7, ear.take, None, None)
    await bus.leave(1, 7, ear.take)
    for key in range(1, 258):
        await bus.publish(1, 7, key, b"{}")
    mine, _ = await bus.join(1, 7, ear.take, start.position, None)
    assert not mine.recovered
    assert mine.frames == []
    assert mine.position == Position(start.position.epoch, 257)


@pytest.mark.parametrize(
    "wrong", [Position("another", 0), Position("", 0), Position("another", 1), Position("", 10**17)]
)
async def test_a_position_of_another_epoch_can_not_be_met(bus: Bus, wrong: Position) -> None:
    ear = Ear()
    await bus.join(1, 7, ear.take, None, None)
    await bus.publish(1, 7, 1, b"{}")
    mine, everyone = await bus.join(1, 7, ear.take, wrong, wrong)
    assert (mine.recovered, mine.frames) == (False, [])
    assert (everyone.recovered, everyone.frames) == (False, [])


async def test_a_position_in_the_future_can_not_be_met(bus: Bus) -> None:
    start, _ = await bus.join(1, 7, Ear().take, None, None)
    mine, _ = await bus.join(1, 7, Ear().take, Position(start.position.epoch, 1), None)
    assert not mine.recovered


async def test_no_position_is_a_fresh_start(bus: Bus) -> None:
    await bus.join(1, 7, Ear().take, None, None)
    await bus.publish(1, 7, 1, b"{}")
    mine, _ = await bus.join(1, 7, Ear().take, None, None)
    assert (mine.recovered, mine.frames, mine.position.offset) == (True, [], 1)


async def test_presence_follows_the_sockets(bus: Bus) -> None:
    unknown = await bus.presence(1, 7)
    assert (unknown.online, unknown.sockets, unknown.last_seen_at) == (False, 0, None)
    one, two = Ear(), Ear()
    await bus.join(1, 7, one.take, None, None)
    await bus.join(1, 7, two.take, None, None)
    present = await bus.presence(1, 7)
    assert (present.online, present.sockets) == (True, 2)
    await bus.leave(1, 7, one.take)
    assert (await bus.presence(1, 7)).sockets == 1
    await bus.leave(1, 7, two.take)
    gone = await bus.presence(1, 7)
    assert (gone.online, gone.sockets) == (False, 0)
    assert gone.last_seen_at is not None
    assert abs(clock.now() - gone.last_seen_at) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "text", ["", "a", "a:", ":1", "a:-1", "a:01", "a:1 ", "a:١", "ä:1", "a:1:2", "a" * 33 + ":1"]
)
def test_a_text_that_is_no_position_is_none(text: str) -> None:
    assert read_position(text) is None


def test_a_position_and_its_text_are_one() -> None:
    assert read_position(str(Position("x_-9", 10**17))) == Position("x_-9", 10**17)


def test_the_frame_holds_the_data_as_it_is() -> None:
    frame = encode_frame("broadcast", Position("e", 3), '{"a":"%d ü"}'.encode())
    assert msgspec.json.decode(frame) == {"event": "broadcast", "position": "e:3", "data": {"a": "%d ü"}}
