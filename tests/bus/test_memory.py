"""What the in-memory bus forgets, and when. The clock is a number here: nothing waits."""

from hypothesis import given
from hypothesis import strategies as st

from tidings.bus import Position
from tidings.bus.memory import Bounds, MemoryBus


class Now:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


def deaf(_frame: bytes) -> bool:
    return False


def well(_frame: bytes) -> bool:
    return True


async def test_a_stream_outlives_its_last_socket_for_a_while_and_then_is_another() -> None:
    now = Now()
    bus = MemoryBus(Bounds(keep_s=60), now)
    start, _ = await bus.join(1, 7, well, None, None)
    await bus.leave(1, 7, well)
    now.s += 59
    await bus.publish(1, 7, 1, b"{}")
    mine, _ = await bus.join(1, 7, well, start.position, None)
    assert mine.recovered
    assert len(mine.frames) == 1
    await bus.leave(1, 7, well)
    now.s += 61
    assert (await bus.presence(1, 7)).last_seen_at is None
    mine, _ = await bus.join(1, 7, well, start.position, None)
    assert not mine.recovered
    assert mine.position.epoch != start.position.epoch


async def test_an_open_socket_keeps_its_stream_for_ever() -> None:
    now = Now()
    bus = MemoryBus(Bounds(keep_s=60), now)
    start, _ = await bus.join(1, 7, well, None, None)
    now.s += 100_000
    mine, _ = await bus.join(1, 7, deaf, start.position, None)
    assert mine.recovered


async def test_a_socket_that_came_back_keeps_its_stream_too() -> None:
    now = Now()
    bus = MemoryBus(Bounds(keep_s=60), now)
    await bus.join(1, 7, well, None, None)
    await bus.leave(1, 7, well)
    start, _ = await bus.join(1, 7, well, None, None)
    now.s += 100_000
    assert await bus.publish(1, 7, 1, b"{}") == 1
    assert await bus.broadcast(1, 1, b"{}") == 1
    mine, _ = await bus.join(1, 7, deaf, start.position, None)
    assert mine.recovered


async def test_the_longest_idle_streams_make_room() -> None:
    now = Now()
    bus = MemoryBus(Bounds(max_streams=11), now)
    starts = {}
    for user in range(1, 21):
        starts[user], _ = await bus.join(1, user, well, None, None)
        await bus.leave(1, user, well)
        now.s += 1
    kept = {user for user in starts if (await bus.presence(1, user)).last_seen_at is not None}
    assert kept == set(range(11, 21))  # and the project's own stream, which was idle last


async def test_history_is_bounded_in_bytes() -> None:
    bus = MemoryBus(Bounds(max_bytes=1000))
    start, _ = await bus.join(1, 7, well, None, None)
    for key in range(1, 11):
        await bus.publish(1, 7, key, b'"' + b"x" * 290 + b'"')
    epoch = start.position.epoch
    for offset, recovered in ((10, True), (8, True), (7, False), (0, False)):
        mine, _ = await bus.join(1, 7, deaf, Position(epoch, offset), None)
        assert (mine.recovered, len(mine.frames)) == (recovered, 10 - offset if recovered else 0)


async def test_a_frame_larger_than_the_history_is_sent_and_not_kept() -> None:
    bus = MemoryBus(Bounds(max_bytes=100))
    start, _ = await bus.join(1, 7, well, None, None)
    assert await bus.publish(1, 7, 1, b'"' + b"x" * 200 + b'"') == 1
    mine, _ = await bus.join(1, 7, deaf, start.position, None)
    assert not mine.recovered


async def test_all_histories_together_are_bounded_and_a_loss_is_told() -> None:
    bus = MemoryBus(Bounds(max_total_bytes=5000))
    starts = {}
    for user in range(1, 11):
        starts[user], _ = await bus.join(1, user, well, None, None)
        for key in range(4):
            await bus.publish(1, user, key, b'"' + b"x" * 200 + b'"')
    recovered = [(await bus.join(1, user, deaf, starts[user].position, None))[0].recovered for user in starts]
    assert recovered[-1]
    assert not recovered[0]
    mine, _ = await bus.join(1, 1, deaf, None, None)
    await bus.publish(1, 1, 99, b"{}")
    mine, _ = await bus.join(1, 1, deaf, mine.position, None)
    assert mine.recovered  # it goes on from where the history was dropped
    assert len(mine.frames) == 1


async def test_a_socket_that_refuses_is_not_counted() -> None:
    bus = MemoryBus()
    await bus.join(1, 7, deaf, None, None)
    await bus.join(1, 7, well, None, None)
    assert await bus.publish(1, 7, 1, b"{}") == 1


@given(st.lists(st.tuples(st.sampled_from(["publish", "leave", "join", "wait"]), st.integers(1, 4)), max_size=60))
async def test_whatever_happens_the_books_balance_and_recovery_is_exact_or_refused(
    steps: list[tuple[str, int]],
) -> None:
    now = Now()
    bus = MemoryBus(Bounds(keep_s=5, max_frames=3, max_streams=3, max_total_bytes=400), now)
    sent: dict[str, list[int]] = {}  # epoch → keys in order, as the stream should have them
    for key, (what, user) in enumerate(steps):
        if what == "wait":
            now.s += user
        elif what == "leave":
            await bus.leave(1, user, well)
        elif what == "join":
            mine, _ = await bus.join(1, user, well, None, None)
            sent.setdefault(mine.position.epoch, [])
            assert mine.position.offset == len(sent[mine.position.epoch])
        else:
            before = bus._streams.get((1, user))
            await bus.publish(1, user, key, b"%d" % key)
            after = bus._streams.get((1, user))
            if after is not None and after is before:
                sent[after.epoch].append(key)
        assert bus._total_bytes == sum(stream.kept_bytes for stream in bus._streams.values())
        assert bus._total_bytes <= 400
        for stream in bus._streams.values():
            keys = sent.get(stream.epoch, [])
            for offset in range(len(keys) + 1):
                recovery = stream.recover(Position(stream.epoch, offset))
                got = [int(frame.rsplit(b":", 1)[1][:-1]) for frame in recovery.frames]
                assert got == (keys[offset:] if recovery.recovered else [])
