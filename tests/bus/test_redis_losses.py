"""Redis loses what it held, or a message on the way: it is noticed, told, and recovered."""

import pytest

from tests.bus.ear import Ear, until
from tests.bus.gateways import Client, admin, bounds, check, gateways, settles, works
from tests.servers import RedisServer
from tidings.bus import BusUnavailable, Rate
from tidings.bus.redis import RedisBus

LIMIT = Rate(per_s=0.001, burst=100)


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
