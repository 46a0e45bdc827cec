"""Redis hangs, cuts off, refuses, is away at the start: nothing hangs, and it heals by itself."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from tests.bus.ear import PATIENCE_S, Ear, until
from tests.bus.gateways import Client, admin, bounds, check, gateways, settles, until_published, works
from tests.servers import RedisServer
from tidings.bus import BusUnavailable, Rate
from tidings.bus.link import Patience
from tidings.bus.redis import RedisBus, open_redis_bus

LIMIT = Rate(per_s=0.001, burst=100)


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


async def test_who_is_absent_is_not_waited_for_as_long_as_a_call(redis_server: RedisServer) -> None:
    patient = bounds(patience=Patience(call_s=60.0, beat_s=60.0))
    async with gateways(redis_server.address, 1, patient) as (bus,):
        redis_server.freeze()
        try:
            async with asyncio.timeout(PATIENCE_S):
                assert await bus.absent((1, user) for user in range(100)) == set()
        finally:
            redis_server.thaw()
        everyone = {(1, user) for user in range(100)}
        await until_absent(bus, everyone)


async def until_absent(bus: RedisBus, users: set[tuple[int, int]]) -> None:
    """Ask until Redis has come to itself."""
    async with asyncio.timeout(PATIENCE_S):
        while await bus.absent(users) != users:  # noqa: ASYNC110 - Redis is what is waited for
            await asyncio.sleep(0.01)


async def test_a_gateway_that_does_not_read_is_cut_off_and_recovers(redis_server: RedisServer) -> None:
    given = bounds(refresh_s=9.0, patience=Patience(call_s=5.0, beat_s=5.0))
    async with (
        gateways(redis_server.address, 2, given) as (gateway, publisher),
        admin(redis_server.address) as redis,
    ):
        limits = (await redis.ask("CONFIG", "GET", "client-output-buffer-limit"))[b"client-output-buffer-limit"]
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


async def test_a_user_of_redis_with_few_rights_is_enough(redis_server: RedisServer) -> None:
    async with admin(redis_server.address) as redis:
        rights = ("~few:*", "&few:*", "+@all", "-@dangerous", "+info")
        await redis.ask("ACL", "SETUSER", "few", "reset", "on", ">p@ss:word", *rights)
        url = f"redis://few:p%40ss%3Aword@127.0.0.1:{redis_server.port}/1"
        bus = await open_redis_bus(url, bounds("few"))
        try:
            assert bus.healthy
            client = Client(bus, 1, 7)
            await client.connect()
            await works(bus, client, 1)
            assert (await bus.presence(1, 7)).online
            assert (await bus.allow("k", LIMIT)).allowed
            heard: list[str] = []
            bus.listen("keys", heard.append)
            await bus.announce("keys", "x")
            await until(lambda: heard == ["x"])
        finally:
            await bus.close()
            await redis.ask("ACL", "DELUSER", "few")


async def test_a_wrong_password_is_not_healthy_and_not_told_in_the_log(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    bus = await open_redis_bus(f"redis://nobody:wrong-one@127.0.0.1:{redis_server.port}/0", bounds())
    try:
        assert not bus.healthy
        assert "WRONGPASS" in caplog.text
        assert "wrong-one" not in caplog.text
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
