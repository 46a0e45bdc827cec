"""Several gateways over one Redis, and nothing goes wrong."""

import asyncio

import msgspec
import pytest
import uvloop

from tests.bus.ear import PATIENCE_S, Ear, until
from tests.bus.gateways import Client, admin, bounds, gateways
from tests.servers import Address
from tidings.bus import BusUnavailable, Rate
from tidings.bus.address import read_address
from tidings.bus.redis import RedisBus


async def test_a_frame_goes_to_just_the_gateways_that_hold_the_user(redis_address: Address) -> None:
    async with gateways(redis_address, 4) as (one, two, three, publisher):
        here, there, other = Ear(), Ear(), Ear()
        await one.join(1, 7, here.take, None, None)
        await two.join(1, 7, there.take, None, None)
        await three.join(1, 8, other.take, None, None)
        came = [_frames_that_come(bus) for bus in (one, two, three, publisher)]
        assert await publisher.publish(1, 7, 100, b"1") == 2
        await here.hears(1)
        await there.hears(1)
        assert await publisher.broadcast(1, 5, b"2") == 3
        for ear, frames in ((here, 2), (there, 2), (other, 1)):
            await ear.hears(frames)
        assert [len(frames) for frames in came] == [2, 2, 1, 0]


def _frames_that_come(bus: RedisBus) -> list[bytes]:
    """What this process gets from Redis, for whomever."""
    wire = bus._link.wire
    assert wire is not None
    came: list[bytes] = []
    before = wire._on_message

    def note(channel: bytes, data: bytes) -> None:
        if data[:1] == b"f":
            came.append(data)
        before(channel, data)

    wire._on_message = note
    return came


async def test_presence_is_known_everywhere(redis_address: Address) -> None:
    async with gateways(redis_address, 3) as (one, two, api):
        ear, other = Ear(), Ear()
        await one.join(1, 7, ear.take, None, None)
        await two.join(1, 7, other.take, None, None)
        assert (await api.presence(1, 7)).sockets == 2
        await one.leave(1, 7, ear.take)
        assert (await api.presence(1, 7)).sockets == 1
        await two.leave(1, 7, other.take)
        gone = await api.presence(1, 7)
        assert not gone.online
        assert gone.last_seen_at is not None
        assert (await api.presence(1, 8)).last_seen_at is None


async def test_a_gateway_that_dies_takes_its_users_offline_at_once(redis_address: Address) -> None:
    given = bounds(refresh_s=9.0)  # not by waiting for it to be silent
    async with gateways(redis_address, 3, given) as (one, two, api), admin(redis_address) as redis:
        stays, dies = Ear(), Ear()
        await one.join(1, 7, stays.take, None, None)
        await two.join(1, 7, dies.take, None, None)
        two._refreshing.cancel()
        two._link._task.cancel()  # as kill -9 does: the connection ends, and nobody says goodbye
        await until(lambda: two._link.wire is None)
        async with asyncio.timeout(20):
            while (await api.presence(1, 7)).sockets != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert await api.publish(1, 7, 1, b"1") == 1
        await one.leave(1, 7, stays.take)
        assert not (await api.presence(1, 7)).online
        names = await redis.ask("HKEYS", one._keys((1, 7))[0])
        assert sorted(names) == [b"bytes", b"epoch", b"offset", b"seen"]


async def test_a_client_moves_between_gateways_without_a_gap(redis_address: Address) -> None:
    async with gateways(redis_address, 3) as (one, two, publisher):
        client = Client(one, 1, 7)
        await client.connect()
        for key in range(1, 61):
            await publisher.publish(1, 7, key, b"%d" % key)
            await publisher.broadcast(1, key, b"%d" % -key)
            if key % 7 == 0:
                await client.connect(two if client.bus is one else one)
        await until(lambda: len(client.keys) == 120)
        assert [key for key in client.keys if key > 0] == list(range(1, 61))
        assert (client.wrong, client.paged) == ([], 0)


async def test_joins_and_publishes_at_the_same_time_lose_and_double_nothing(redis_address: Address) -> None:
    async with gateways(redis_address, 3) as (one, two, publisher):
        clients = [Client(bus, 1, 7) for bus in (one, two) for _ in range(10)]
        await clients[0].connect()  # now there is a stream

        async def publish() -> None:
            for key in range(1, 201):
                await publisher.publish(1, 7, key, b"%d" % key)

        async def come_and_go(client: Client, n: int) -> None:
            await asyncio.sleep(0.001 * n)
            for turn in range(6):
                if turn % 2:
                    await client.bus.leave(1, 7, client.take)
                    await asyncio.sleep(0)
                await client.connect()

        await asyncio.gather(publish(), *(come_and_go(client, n) for n, client in enumerate(clients)))
        await until(lambda: all(c.place is not None and c.place.offset == 200 for c in clients))
        for client in clients:
            assert client.keys == list(range(201 - len(client.keys), 201))
            assert (client.wrong, client.must_return, client.paged) == ([], False, 0)


async def test_what_is_announced_is_heard_in_every_process(redis_address: Address) -> None:
    async with gateways(redis_address, 3) as buses:
        heard: list[list[str]] = [[], [], []]
        for bus, mine in zip(buses, heard, strict=True):
            bus.listen("keys", mine.append)
        await buses[0].announce("keys", "revoked")
        await until(lambda: all(heard))
        assert heard == [["revoked"]] * 3


async def test_a_limit_is_one_for_all_processes(redis_address: Address) -> None:
    async with gateways(redis_address, 2, msgspec.structs.replace(bounds(), allow_s=PATIENCE_S)) as (one, two):
        rate = Rate(per_s=0.001, burst=50)
        verdicts = await asyncio.gather(*(bus.allow("project:1", rate) for bus in (one, two) for _ in range(60)))
        assert sum(v.allowed for v in verdicts if v.known) == 50
        assert sum(not v.known for v in verdicts) == 0


async def test_every_key_expires(redis_address: Address) -> None:
    given = bounds()
    async with gateways(redis_address, 1, given) as (bus,), admin(redis_address) as redis:
        await bus.join(1, 7, Ear().take, None, None)
        for key in range(300):
            await bus.publish(1, 7, key, b"1")
            await bus.broadcast(1, key, b"1")
        await bus.allow("k", Rate(1.0, 10))
        keys = await redis.ask("KEYS", given.prefix + ":*")
        assert len(keys) == 8
        for key in keys:
            assert 0 < await redis.ask("PTTL", key) <= 30_000, key
        assert await redis.ask("HLEN", bus._keys((1, 7))[2]) == 256  # as long as the history


async def test_it_works_on_the_event_loop_of_the_service_too(redis_address: Address) -> None:
    async def talk() -> list[int]:
        async with gateways(redis_address, 2) as (one, two):
            client = Client(one, 1, 7)
            await client.connect()
            await asyncio.gather(*(two.publish(1, 7, key, b"%d" % key) for key in range(50)))
            await until(lambda: len(client.keys) == 50)
            return client.keys

    assert await asyncio.to_thread(uvloop.run, talk()) == list(range(50))


async def test_scripts_that_redis_forgets_are_sent_again(redis_address: Address) -> None:
    async with gateways(redis_address, 1) as (bus,), admin(redis_address) as redis:
        ear = Ear()
        await bus.join(1, 7, ear.take, None, None)
        await redis.ask("SCRIPT", "FLUSH")
        answers = await asyncio.gather(*(bus.publish(1, 7, key, b"%d" % key) for key in range(20)))
        assert answers == [1] * 20
        await ear.hears(20)
        assert ear.data == list(range(20))


async def test_an_error_of_redis_is_told_and_harms_no_other_call(redis_address: Address) -> None:
    async with gateways(redis_address, 1) as (bus,), admin(redis_address) as redis:
        await bus.join(1, 7, Ear().take, None, None)
        await redis.ask("SET", bus._keys((1, 9))[0], "not a hash")
        broken = bus.presence(1, 9)
        fine = bus.presence(1, 7)
        with pytest.raises(BusUnavailable, match="WRONGTYPE"):
            await broken
        assert (await fine).online


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1", "127.0.0.1:6379/0"),
        ("redis://me:p%40ss@redis.example:6380/3", "redis.example:6380/3"),
        ("rediss://:pass@[::1]:1/", "::1:1/0"),
        ("unix:///run/redis.sock?db=2", "/run/redis.sock"),
    ],
)
def test_an_address_is_read_and_shown_without_its_password(url: str, shown: str) -> None:
    address = read_address(url)
    assert str(address) == shown
    assert "ss" not in repr(address).replace("Address", "")


@pytest.mark.parametrize(
    "url", ["", "http://a", "redis://a/b", "redis://a:99999", "redis://a?x=1", "redis://:secret@a/²"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="Redis") as caught:
        read_address(url)
    assert "secret" not in str(caught.value)
