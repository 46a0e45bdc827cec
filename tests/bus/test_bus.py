"""What every bus must do. An implementation joins by adding itself to the fixture `bus` in `conftest.py`."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from tests.bus.ear import PATIENCE_S, Ear, until
from tidings import clock
from tidings.bus import Bus, Position, Rate, encode_frame, read_position
from tidings.bus.limits import rate_limit_headers


async def test_a_published_frame_reaches_every_socket_of_the_user_and_no_other(bus: Bus) -> None:
    mine, also_mine, other, same_id_elsewhere = Ear(), Ear(), Ear(), Ear()
    for project, user, ear in ((1, 7, mine), (1, 7, also_mine), (1, 8, other), (2, 7, same_id_elsewhere)):
        await bus.join(project, user, ear.take, None, None)
    assert await bus.publish(1, 7, 100, b'{"id":100}') == 2
    await mine.hears(1)
    await also_mine.hears(1)
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
    for ear in ears:
        await ear.hears(1)
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
    await ear.hears(5)
    positions = [read_position(frame["position"]) for frame in ear.heard]
    assert positions == [Position(mine.position.epoch, n) for n in range(1, 6)]


async def test_the_same_key_twice_is_sent_once_and_answered_alike(bus: Bus) -> None:
    ear = Ear()
    await bus.join(1, 7, ear.take, None, None)
    assert await bus.publish(1, 7, 9, b'{"n":1}') == 1
    assert await bus.publish(1, 7, 9, b'{"n":1}') == 1
    assert await bus.broadcast(1, 9, b'{"n":2}') == 1
    assert await bus.broadcast(1, 9, b'{"n":2}') == 1
    await ear.hears(2)
    assert ear.data == [{"n": 1}, {"n": 2}]


async def test_a_sink_that_refuses_harms_no_other(bus: Bus) -> None:
    deaf, well = Ear(), Ear()
    deaf.deaf = True
    await bus.join(1, 7, deaf.take, None, None)
    await bus.join(1, 7, well.take, None, None)
    assert await bus.publish(1, 7, 1, b"{}") in (1, 2)  # only the process that holds it knows that it refused
    await well.hears(1)
    assert deaf.heard == []


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
    await first.hears(2)
    await bus.leave(1, 7, first.take)
    for key in range(2, missed + 2):
        assert await bus.publish(1, 7, key, b'{"n":%d}' % key) == 0
        assert await bus.broadcast(1, key, b'{"n":%d}' % -key) == 0
    again = Ear()
    mine, everyone = await bus.join(1, 7, again.take, first.position("notification"), first.position("broadcast"))
    assert mine.recovered
    assert everyone.recovered
    assert [msgspec.json.decode(f)["data"]["n"] for f in mine.frames] == list(range(2, missed + 2))
    assert [msgspec.json.decode(f)["data"]["n"] for f in everyone.frames] == [-n for n in range(2, missed + 2)]
    assert mine.position.offset == missed + 1
    await bus.publish(1, 7, 1000, b"{}")
    await again.hears(1)
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


@pytest.mark.parametrize("count", [100, 1_500])  # one call to Redis, and several
async def test_who_is_absent_is_known_of_many_users_at_once(bus: Bus, count: int) -> None:
    everyone = {(project, user) for project in (1, 2) for user in range(count // 2)}
    assert await bus.absent(everyone) == everyone
    here, left = Ear(), Ear()
    await bus.join(1, 7, here.take, None, None)
    await bus.join(2, 9, left.take, None, None)
    await bus.leave(2, 9, left.take)  # here a moment ago: what comes now is kept for the return
    assert await bus.absent([*everyone, (1, 7)]) == everyone - {(1, 7), (2, 9)}


async def test_of_a_few_users_nobody_is_called_absent_who_would_get_something(bus: Bus) -> None:
    ear = Ear()
    await bus.join(1, 7, ear.take, None, None)
    assert await bus.absent([(1, 7), (1, 8)]) <= {(1, 8)}
    assert await bus.absent([]) == set()


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


async def test_a_socket_that_misses_nothing_is_never_told_that_it_did(bus: Bus) -> None:
    ears = [Ear() for _ in range(20)]
    for number, ear in enumerate(ears):
        await bus.join(1, number % 3, ear.take, None, None, lost=ear.lost)
        await bus.publish(1, number % 3, number, b"{}")
        await bus.broadcast(1, number, b"{}")
    await ears[0].hears(7 + 20)
    assert sum(ear.losses for ear in ears) == 0


async def test_the_history_holds_what_was_published_while_nobody_was_there_and_its_keys(bus: Bus) -> None:
    ear = Ear()
    start, _ = await bus.join(1, 7, ear.take, None, None)
    await bus.leave(1, 7, ear.take)
    for _ in range(2):
        assert await bus.publish(1, 7, 5, '"ü"'.encode()) == 0
    mine, _ = await bus.join(1, 7, ear.take, start.position, None)
    assert mine.frames == [encode_frame("notification", mine.position, '"ü"'.encode())]


async def test_a_burst_is_allowed_and_then_no_more(bus: Bus) -> None:
    rate = Rate(per_s=0.001, burst=3)  # nothing comes back while the test runs
    verdicts = [await bus.allow("key:1", rate) for _ in range(4)]
    assert [v.allowed for v in verdicts] == [True, True, True, False]
    assert [v.remaining for v in verdicts] == [2, 1, 0, 0]
    assert all(v.known and v.limit == 3 for v in verdicts)
    assert verdicts[2].retry_after_s == 0
    assert 900 < verdicts[3].retry_after_s <= 1000
    assert 2900 < verdicts[3].reset_s <= 3000
    assert (await bus.allow("key:2", rate)).allowed  # another key, another bucket


async def test_a_refusal_costs_nothing_and_a_cost_of_nothing_only_looks(bus: Bus) -> None:
    rate = Rate(per_s=0.001, burst=10)
    assert (await bus.allow("k", rate, cost=0)).remaining == 10
    assert (await bus.allow("k", rate, cost=8)).remaining == 2
    for _ in range(3):
        assert not (await bus.allow("k", rate, cost=3)).allowed
    assert (await bus.allow("k", rate, cost=0)).remaining == 2
    assert (await bus.allow("k", rate, cost=2)).allowed
    with pytest.raises(ValueError, match="11"):
        await bus.allow("k", rate, cost=11)


async def test_what_was_used_comes_back_with_time(bus: Bus) -> None:
    rate = Rate(per_s=200.0, burst=1)
    assert (await bus.allow("k", rate)).allowed
    async with asyncio.timeout(PATIENCE_S):
        while not (await bus.allow("k", rate)).allowed:  # noqa: ASYNC110 - the limit is what is waited for
            await asyncio.sleep(0.001)


async def test_the_headers_of_a_verdict(bus: Bus) -> None:
    rate = Rate(per_s=0.1, burst=1)
    assert dict(rate_limit_headers(await bus.allow("k", rate))) == {
        "RateLimit-Limit": "1",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "10",
    }
    refused = dict(rate_limit_headers(await bus.allow("k", rate)))
    assert refused["Retry-After"] == refused["RateLimit-Reset"]


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1.0, 1), (1.0, 0), (float("nan"), 1)])
def test_a_rate_that_makes_no_sense_is_refused(per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match="burst"):
        Rate(per_s=per_s, burst=burst)


async def test_who_listens_to_a_topic_hears_what_is_announced_on_it(bus: Bus) -> None:
    keys: list[str] = []
    also_keys: list[str] = []
    users: list[str] = []
    bus.listen("keys", keys.append)
    bus.listen("keys", also_keys.append)
    bus.listen("users", users.append)
    await bus.announce("keys", "a b ü")
    await bus.announce("users", "7")
    await bus.announce("nobody", "x")
    await until(lambda: keys and also_keys and users)
    assert keys == also_keys == ["a b ü"]
    assert users == ["7"]


@pytest.mark.parametrize("text", ["", "a", "a:", ":1", "a:-1", "a:01", "a:1 ", "a:١", "ä:1", "a:1:2", "a" * 33 + ":1"])
def test_a_text_that_is_no_position_is_none(text: str) -> None:
    assert read_position(text) is None


def test_a_position_and_its_text_are_one() -> None:
    assert read_position(str(Position("x_-9", 10**17))) == Position("x_-9", 10**17)


def test_the_frame_holds_the_data_as_it_is() -> None:
    frame = encode_frame("broadcast", Position("e", 3), '{"a":"%d ü"}'.encode())
    assert msgspec.json.decode(frame) == {"event": "broadcast", "position": "e:3", "data": {"a": "%d ü"}}
