"""Redis is killed, frozen, wiped, cut off: what is lost is told, nothing hangs, and it heals by itself."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from tests.bus.ear import PATIENCE_S, Ear, until
from tests.bus.gateways import Client, admin, bounds, gateways
from tests.servers import RedisServer
from tidings.bus import BusUnavailable, Rate
from tidings.bus.link import Patience
from tidings.bus.redis import RedisBus, open_redis_bus

LIMIT = Rate(per_s=0.001, burst=100)
SLOW = 3600.0  # a refresh that never comes while the test runs


def check(bus: RedisBus, client: Client) -> None:
    assert bus.healthy
    assert client.wrong == []
    assert not client.must_return


async def settles(client: Client, keys: list[int]) -> None:
    """The client has just these, having come back if it was told to."""
    async with asyncio.timeout(PATIENCE_S):
        while client.keys != keys:
            if client.must_return:
                await client.come_back()
            await asyncio.sleep(0.002)


async def works(bus: RedisBus, client: Client, key: int) -> None:
    """A notification gets from the bus to the client."""
    assert await bus.publish(1, 7, key, b"%d" % key) == 1
    await until(lambda: client.keys and client.keys[-1] == key)
    check(bus, client)


async def test_a_redis_that_is_killed_and_comes_back_empty(redis_server: RedisServer) -> None:
    async with gateways(redis_server.address, 2) as (gateway, publisher):
        heard: list[str] = []
        publisher.listen("keys", heard.append)
        client = Client(gateway, 1, 7)
        await client.connect()
        await works(publisher, client, 1)
        epoch = client.place.epoch if client.place else ""
        await redis_server.kill()
        await until(lambda: not publisher.healthy and not gateway.healthy)

        with pytest.raises(BusUnavailable):
            await publisher.publish(1, 7, 2, b"2")
        with pytest.raises(BusUnavailable):
            await publisher.broadcast(1, 2, b"2")
        with pytest.raises(BusUnavailable):
            await publisher.presence(1, 7)
        with pytest.raises(BusUnavailable):
            await publisher.announce("keys", "x")
        assert (await gateway.presence(1, 7)).sockets == 1  # what this gateway holds, it knows
        verdict = await gateway.allow("k", LIMIT)
        assert not verdict.known
        assert verdict.permits(otherwise=True)
        assert not verdict.permits(otherwise=False)
        late = Client(gateway, 1, 7)
        await late.connect()
        ear = Ear()
        recovery, _ = await gateway.join(1, 8, ear.take, client.place, None)
        assert not recovery.recovered
        assert recovery.position.epoch != epoch
        await gateway.leave(1, 8, ear.take)

        await redis_server.start()
        await until(lambda: publisher.healthy and gateway.healthy)
        await until(lambda: client.must_return and late.must_return)
        await client.come_back()
        assert client.paged == 2  # notifications and broadcasts
        assert client.place is not None
        assert client.place.epoch != epoch
        await late.bus.leave(1, 7, late.take)
        await works(publisher, client, 2)
        assert heard[-1] == ""


async def test_a_redis_that_comes_back_with_an_old_state(redis_server: RedisServer) -> None:
    """Its disk is older than what was published: the same offsets must not be given out twice."""
    async with (
        gateways(redis_server.address, 2) as (gateway, publisher),
        admin(redis_server.address) as redis,
    ):
        await redis.ask("CONFIG", "SET", "appendonly", "no")
        client = Client(gateway, 1, 7)
        await client.connect()
        await works(publisher, client, 1)
        await redis.ask("SAVE")
        await works(publisher, client, 2)
        await redis_server.kill()
        await until(lambda: not gateway.healthy)
        await redis_server.start()
        await until(lambda: client.must_return and gateway.healthy and publisher.healthy)
        await client.come_back()
        assert client.paged == 2
        await works(publisher, client, 3)
    (redis_server.data / "dump.rdb").unlink()


async def test_a_redis_that_forgets_everything(redis_server: RedisServer) -> None:
    given = bounds(refresh_s=9.0)
    async with (
        gateways(redis_server.address, 2, given) as (gateway, publisher),
        admin(redis_server.address) as redis,
    ):
        client = Client(gateway, 1, 7)
        await client.connect()
        await works(publisher, client, 1)
        await redis.ask("FLUSHALL")
        assert await publisher.publish(1, 7, 2, b"2") == 0
        await until(lambda: client.must_return)  # the next heartbeat notices
        await client.come_back()
        assert client.paged == 2
        await works(publisher, client, 3)


@pytest.mark.parametrize(("victim", "told"), [("stream", True), ("frames", True), ("keys", False)])
async def test_one_key_that_redis_evicts(redis_server: RedisServer, victim: str, told: bool) -> None:
    async with (
        gateways(redis_server.address, 2) as (gateway, publisher),
        admin(redis_server.address) as redis,
    ):
        client = Client(gateway, 1, 7)
        await client.connect()
        await works(publisher, client, 1)
        await gateway.leave(1, 7, client.take)
        await publisher.publish(1, 7, 2, b"2")
        key = gateway._keys((1, 7))[["stream", "frames", "keys"].index(victim)]
        assert await redis.ask("DEL", key) == 1
        await client.connect()
        assert (client.paged, client.keys) == ((1, [1]) if told else (0, [1, 2]))
        if victim == "stream":  # the new one begins empty
            assert await redis.ask("EXISTS", *gateway._keys((1, 7))[1:]) == 0
        await works(publisher, client, 3)
        await gateway.leave(1, 7, client.take)
        await publisher.publish(1, 7, 4, b"4")
        await client.connect()
        assert client.keys[-1] == 4
        check(gateway, client)


async def test_the_connection_of_a_gateway_is_cut_and_nothing_was_missed(redis_server: RedisServer) -> None:
    async with (
        gateways(redis_server.address, 2) as (gateway, publisher),
        admin(redis_server.address) as redis,
    ):
        client = Client(gateway, 1, 7)
        await client.connect()
        await works(publisher, client, 1)
        first = gateway._link.wire
        await redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: gateway._link.wire not in (None, first) and gateway.healthy and publisher.healthy)
        await works(publisher, client, 2)
        assert client.paged == 0


async def test_the_connection_of_a_gateway_is_cut_and_a_frame_was_missed(redis_server: RedisServer) -> None:
    given = bounds(refresh_s=9.0)
    async with (
        gateways(redis_server.address, 2, given) as (gateway, publisher),
        admin(redis_server.address) as redis,
    ):
        client = Client(gateway, 1, 7)
        await client.connect()
        await works(publisher, client, 1)
        await redis.ask("CLIENT", "KILL", "ID", await _client_id(gateway))
        assert await publisher.publish(1, 7, 2, b"2") in (0, 1)  # it was not there, or was back already
        await settles(client, [1, 2])  # recovered, not lost
        assert client.paged == 0
        await works(publisher, client, 3)


async def _client_id(bus: RedisBus) -> int:
    assert bus._link.wire is not None
    number: int = await bus._link.wire.ask("CLIENT", "ID")
    return number


async def test_a_subscription_that_is_gone_without_a_word(redis_server: RedisServer) -> None:
    """The connection is fine and answers; only the messages do not come."""
    async with gateways(redis_server.address, 2) as (gateway, publisher):
        client = Client(gateway, 1, 7)
        await client.connect()
        await works(publisher, client, 1)
        first = gateway._link.wire
        assert first is not None
        first.tell("UNSUBSCRIBE")
        await until(lambda: gateway._link.wire not in (None, first) and gateway.healthy)
        if client.must_return:
            await client.come_back()
        await works(publisher, client, 2)


async def test_a_message_that_is_lost_alone(redis_server: RedisServer) -> None:
    async with gateways(redis_server.address, 2, bounds(refresh_s=9.0)) as (gateway, publisher):
        client = Client(gateway, 1, 7)
        await client.connect()
        await works(publisher, client, 1)
        wire = gateway._link.wire
        assert wire is not None
        before, wire._on_message = wire._on_message, lambda _channel, _data: None
        await publisher.publish(1, 7, 2, b"2")
        await wire.ask("PING")
        wire._on_message = before
        await publisher.publish(1, 7, 3, b"3")
        await until(lambda: client.must_return)
        assert client.keys == [1]
        await client.come_back()
        assert client.keys == [1, 2, 3]
        check(gateway, client)


async def test_the_last_message_is_lost_and_no_other_follows(redis_server: RedisServer) -> None:
    async with gateways(redis_server.address, 2) as (gateway, publisher):
        client = Client(gateway, 1, 7)
        await client.connect()
        await works(publisher, client, 1)
        wire = gateway._link.wire
        assert wire is not None
        before, wire._on_message = wire._on_message, lambda _channel, _data: None
        await publisher.publish(1, 7, 2, b"2")
        await wire.ask("PING")
        wire._on_message = before
        await until(lambda: client.must_return)  # found by the refresh, which checks the position
        await client.come_back()
        assert client.keys == [1, 2]


async def test_a_gateway_that_is_silent_for_long_holds_nothing(redis_server: RedisServer) -> None:
    """Its machine is gone, and its connection does not know yet."""
    async with gateways(redis_server.address, 2, bounds(refresh_s=0.05)) as (gateway, api):
        ear = Ear()
        await gateway.join(1, 7, ear.take, None, None)
        assert await api.publish(1, 7, 1, b"1") == 1
        gateway._refreshing.cancel()
        async with asyncio.timeout(PATIENCE_S):
            while (await api.presence(1, 7)).online:  # noqa: ASYNC110 - Redis is what is waited for
                await asyncio.sleep(0.01)
        assert await api.publish(1, 7, 2, b"2") == 0
        assert (await api.presence(1, 7)).last_seen_at is not None


async def test_an_open_socket_keeps_its_stream_for_ever(redis_server: RedisServer) -> None:
    async with gateways(redis_server.address, 1) as (bus,), admin(redis_server.address) as redis:
        await bus.join(1, 7, Ear().take, None, None)
        await bus.publish(1, 7, 1, b"1")
        await bus.broadcast(1, 1, b"1")
        for key in bus._keys((1, 7), (1, None)):
            assert await redis.ask("PEXPIRE", key, 5000) == 1
            async with asyncio.timeout(PATIENCE_S):
                while await redis.ask("PTTL", key) <= 5000:  # noqa: ASYNC110 - Redis is what is waited for
                    await asyncio.sleep(0.01)


async def test_a_redis_that_hangs(redis_server: RedisServer) -> None:
    async with gateways(redis_server.address, 2) as (gateway, publisher):
        client = Client(gateway, 1, 7)
        await client.connect()
        await works(publisher, client, 1)
        redis_server.freeze()
        try:
            async with asyncio.timeout(PATIENCE_S):
                verdict = await publisher.allow("k", LIMIT)
                assert not verdict.known
                with pytest.raises(BusUnavailable):
                    await publisher.publish(1, 7, 2, b"2")
                ear = Ear()
                recovery, _ = await gateway.join(1, 9, ear.take, None, None, lost=ear.lost)
                assert not recovery.recovered
                await gateway.leave(1, 9, ear.take)
                await until(lambda: not gateway.healthy and not publisher.healthy)
        finally:
            redis_server.thaw()
        await until(lambda: gateway.healthy and publisher.healthy)
        # Whether Redis did it when it woke up is not known; the key makes it safe to ask again.
        await until_published(publisher, 2)
        await settles(client, [1, 2])
        await works(publisher, client, 3)


async def until_published(bus: RedisBus, key: int) -> None:
    """As a worker that tries again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await bus.publish(1, 7, key, b"%d" % key)
                return
            except BusUnavailable:
                await asyncio.sleep(0.01)


async def test_a_gateway_that_does_not_read_is_cut_off_and_recovers(redis_server: RedisServer) -> None:
    given = bounds(refresh_s=9.0, patience=Patience(call_s=5.0, beat_s=5.0))
    async with (
        gateways(redis_server.address, 2, given) as (gateway, publisher),
        admin(redis_server.address) as redis,
    ):
        limits = (await redis.ask("CONFIG", "GET", "client-output-buffer-limit"))[
            b"client-output-buffer-limit"
        ]
        await redis.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 200000 100000 1")
        try:
            client = Client(gateway, 1, 7)
            await client.connect()
            await works(publisher, client, 1)
            first = gateway._link.wire
            assert first is not None
            assert first._transport is not None
            first._transport.pause_reading()
            big = msgspec.json.encode("x" * 300_000)
            async with asyncio.timeout(PATIENCE_S):
                for key in range(2, 60):  # more than the sockets between them can hold
                    await publisher.publish(1, 7, key, big)
            first._transport.resume_reading()
            await until(lambda: gateway._link.wire not in (None, first) and gateway.healthy)
            await until(lambda: client.must_return)
            await client.come_back()
            check(gateway, client)
            assert client.paged == 1  # more than the history holds: told, not pieced together
            await works(publisher, client, 1000)
        finally:
            await redis.ask("CONFIG", "SET", "client-output-buffer-limit", limits)


async def test_a_bus_opened_while_redis_is_away_connects_later(redis_server: RedisServer) -> None:
    await redis_server.kill()
    bus = await open_redis_bus(redis_server.address.redis_url, bounds())
    try:
        assert not bus.healthy
        with pytest.raises(BusUnavailable, match="reached"):
            await bus.publish(1, 7, 1, b"1")
        client = Client(bus, 1, 7)
        await client.connect()
        await redis_server.start()
        await until(lambda: bus.healthy and client.must_return)
        await client.come_back()
        await works(bus, client, 1)
    finally:
        await bus.close()


async def test_close_ends_every_call_and_twice_is_safe(redis_server: RedisServer) -> None:
    bus = await open_redis_bus(redis_server.address.redis_url, bounds())
    redis_server.freeze()
    try:
        call = asyncio.create_task(bus.publish(1, 7, 1, b"1"))
        await asyncio.sleep(0)
        await bus.close()
        await bus.close()
        with pytest.raises(BusUnavailable):
            await call
    finally:
        redis_server.thaw()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_breaks_there_is_never_a_silent_hole(redis_server: RedisServer, seed: int) -> None:
    """Clients come and go, publishers try again, connections are cut and Redis is wiped, all at random. Each
    client checks every frame; in the end everybody who was not told otherwise has everything."""
    chance = random.Random(seed)
    given = bounds(patience=Patience(call_s=2.0, connect_s=2.0, beat_s=0.1))
    async with gateways(redis_server.address, 3, given) as buses, admin(redis_server.address) as redis:
        clients = [Client(buses[n % 2], 1, 7) for n in range(8)]
        for client in clients:
            await client.connect()
        going = True

        async def publish() -> None:
            for key in range(1, 400):
                await until_published(buses[2], key)

        async def live(client: Client) -> None:
            while going:
                if client.must_return or chance.random() < 0.05:
                    await client.connect(chance.choice(buses[:2]))
                await asyncio.sleep(0.002)

        async def break_things() -> None:
            actions: list[Callable[[], Awaitable[object]]] = [
                lambda: redis.ask("CLIENT", "KILL", "TYPE", "pubsub"),
                lambda: redis.ask("SCRIPT", "FLUSH"),
                lambda: redis.ask("DEL", *buses[0]._keys((1, 7))),
                lambda: redis.ask("FLUSHALL"),
            ]
            for _ in range(12):
                await asyncio.sleep(chance.random() * 0.06)
                await chance.choice(actions)()

        living = [asyncio.create_task(live(client)) for client in clients]
        await asyncio.gather(publish(), break_things())
        await until(lambda: all(bus.healthy for bus in buses))
        going = False
        await asyncio.gather(*living)
        for bus in buses[:2]:
            await bus._refresh(tuple(bus._local))
        for client in clients:
            if client.must_return:
                await client.connect()
        await buses[2].publish(1, 7, 1000, b"1000")
        await until(lambda: all(client.keys[-1] == 1000 for client in clients))
        assert [client.wrong for client in clients] == [[]] * len(clients)
        assert len({str(client.place) for client in clients}) == 1
