"""What a well-behaved client sees, over real sockets, with the `websockets` library as the client."""

import asyncio

import msgspec
import pytest
import uvloop
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.gateway.harness import KEY, Client, close_code, http, token, until, world
from tidings import clock, signing
from tidings.bus.memory import Bounds, MemoryBus
from tidings.gateway.protocol import CloseCode


async def test_the_first_message_authenticates_and_is_welcomed() -> None:
    async with world() as here, here.client(user_id=7) as client:
        data = client.welcome["data"]
        assert data["user_id"] == 7
        assert data["inbox"] == "/api/notifications/user/7"
        assert data["ping_interval_s"] == 25
        assert client.recovered("notification") is None
        assert client.recovered("broadcast") is None
        assert here.gateway.connections() == 1
        assert (await here.bus.presence(1, 7)).online


async def test_a_token_as_a_subprotocol_is_never_echoed() -> None:
    async with world() as here:
        offered = ["tidings.v1", f"tidings.token.{token(8)}"]
        async with connect(here.url, subprotocols=offered) as connection:  # type: ignore[arg-type]
            assert connection.subprotocol == "tidings.v1"
            assert connection.response is not None
            assert token(8)[:36] not in str(connection.response.headers)
            welcome = await Client(connection).hear()
            assert welcome["data"]["user_id"] == 8


async def test_notifications_reach_their_user_and_broadcasts_everyone_of_the_project() -> None:
    async with (
        world() as here,
        here.client(user_id=7) as one,
        here.client(user_id=8) as two,
        here.client(user_id=7, project_id=2) as stranger,
    ):
        assert await here.bus.publish(1, 7, 5, b'{"id":5}') == 1
        assert await here.bus.broadcast(1, 6, b'{"id":6}') == 2
        assert await here.bus.publish(2, 7, 9, b'{"id":9}') == 1
        assert [(await one.hear())["event"] for _ in range(2)] == ["notification", "broadcast"]
        assert await two.hear_ids(1) == [6]
        assert await stranger.hear_ids(1) == [9]


async def test_acknowledgements_and_reads_reach_the_core() -> None:
    async with world() as here, here.client(user_id=7, project_id=3) as client:
        await client.say(command="acknowledge", ids=[5, 6])
        await client.say(command="read", ids=[5])
        await until(lambda: here.acknowledged and here.read)
        assert here.acknowledged == [(3, 7, [5, 6])]
        assert here.read == [(3, 7, [5])]


async def test_what_the_core_could_not_record_is_told() -> None:
    async with world() as here, here.client() as client:
        here.core_is_broken = True
        await client.say(command="acknowledge", ids=[5, 6])
        error = await client.hear()
        assert (error["event"], error["data"]["code"], error["data"]["ids"]) == (
            "error",
            "not_recorded",
            [5, 6],
        )
        here.core_is_broken = False
        await client.say(command="acknowledge", ids=[5, 6])
        await until(lambda: here.acknowledged)


async def test_what_was_confirmed_before_the_stop_is_recorded() -> None:
    async with world() as here:
        async with here.client() as client:
            await client.say(command="acknowledge", ids=[5])
            await client.say(command="ping")
            await client.hear()
        await here.gateway.close()
        assert here.acknowledged == [(1, 7, [5])]


async def test_ping_and_errors_leave_the_socket_open() -> None:
    async with world() as here, here.client() as client:
        await client.say(command="ping")
        assert await client.hear() == {"event": "pong"}
        await client.say(command="dance")
        assert (await client.hear())["data"]["code"] == "invalid_command"
        pong = await client.connection.ping(b"websocket ping")
        await asyncio.wait_for(pong, 20)
        assert await here.bus.publish(1, 7, 5, b'{"id":5}') == 1
        assert await client.hear_ids(1) == [5]


async def test_an_expired_token_closes_and_a_refreshed_one_does_not() -> None:
    async with world() as here, connect(here.url) as stays, connect(here.url) as goes:
        for connection in (stays, goes):
            short = signing.mint_user_token(KEY, 1, 7, clock.now(), 2)
            await Client(connection).say(command="authenticate", token=short)
            await Client(connection).hear()
        await Client(stays).say(command="refresh", token=token(7))
        assert (await Client(stays).hear())["event"] == "refreshed"
        assert await close_code(goes) == CloseCode.TOKEN_EXPIRED
        assert await here.bus.publish(1, 7, 5, b'{"id":5}') == 1
        assert await Client(stays).hear_ids(1) == [5]


@pytest.mark.parametrize("subprotocol", [False, True])
async def test_a_bad_token_is_told_by_its_code(subprotocol: bool) -> None:
    forged = signing.mint_user_token(bytes(32), 1, 7, clock.now(), 600)
    old = signing.mint_user_token(KEY, 1, 7, clock.now().replace(year=2020), 600)
    async with world() as here:
        for text, code in ((forged, CloseCode.TOKEN_REFUSED), (old, CloseCode.TOKEN_EXPIRED)):
            offered = ["tidings.v1", f"tidings.token.{text}"] if subprotocol else None
            async with connect(here.url, subprotocols=offered) as connection:  # type: ignore[arg-type]
                if not subprotocol:
                    await Client(connection).say(command="authenticate", token=text)
                assert await close_code(connection) == code
        assert not (await here.bus.presence(1, 7)).online


async def test_who_does_not_authenticate_in_time_is_closed() -> None:
    async with world(auth_timeout_s=0.1) as here, connect(here.url) as connection:
        assert await close_code(connection) == CloseCode.AUTHENTICATION_TIMEOUT
        await until(lambda: here.gateway.connections() == 0)


async def test_a_foreign_page_gets_a_403_before_there_is_a_socket() -> None:
    async with world() as here:
        with pytest.raises(InvalidStatus) as caught:
            async with connect(here.url, origin="https://evil.example"):  # type: ignore[arg-type]
                raise AssertionError("it was let in")
        assert caught.value.response.status_code == 403
        assert here.counts["upgrades", "origin"] == 1
        async with connect(here.url, origin="http://localhost:3000"):  # type: ignore[arg-type]
            assert here.gateway.connections() == 1


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /livez", 200),
        (b"GET /ws", 426),
        (b"GET /elsewhere", 404),
        (b"GET /\xff", 404),
        (b"POST /ws", 400),
        (b"GET /ws?token=x", 426),
    ],
)
async def test_plain_http(request_line: bytes, status: int) -> None:
    async with world() as here:
        request = request_line + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        got, _ = await http(here.gateway.port, request)
        assert got == status


async def test_a_token_in_the_address_is_a_problem_document() -> None:
    async with world() as here:
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"{here.url}?token={token()}"):
                raise AssertionError("it was let in")
        assert caught.value.response.status_code == 400
        assert msgspec.json.decode(caught.value.response.body)["code"] == "token_in_query"


async def test_no_more_sockets_than_allowed() -> None:
    async with world(max_connections=3, max_connections_per_user=2) as here:
        async with here.client(7), here.client(7), connect(here.url) as third:
            await Client(third).say(command="authenticate", token=token(7))
            assert await close_code(third) == CloseCode.TOO_MANY_CONNECTIONS
            await until(lambda: here.gateway.connections() == 2)
            async with here.client(8):
                with pytest.raises(InvalidStatus) as caught:
                    async with connect(here.url):
                        raise AssertionError("it was let in")
                assert caught.value.response.status_code == 503
        await until(lambda: here.gateway.connections() == 0)
        async with here.client(7), here.client(7):
            assert here.gateway.connections() == 2


async def test_a_drain_tells_everyone_to_come_back_and_takes_nobody() -> None:
    async with world() as here, here.client(7) as one, here.client(8) as two:
        draining = asyncio.create_task(here.gateway.drain(0.2))
        assert await close_code(one.connection) == CloseCode.SHUTTING_DOWN
        assert await close_code(two.connection) == CloseCode.SHUTTING_DOWN
        await draining
        with pytest.raises(InvalidStatus) as caught:
            async with connect(here.url):
                raise AssertionError("it was let in")
        assert caught.value.response.status_code == 503
        livez, _ = await http(here.gateway.port, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert livez == 200
        await until(lambda: here.counts["closes", "4000"] == 2)
        assert not (await here.bus.presence(1, 7)).online


async def test_a_gone_client_is_gone_from_the_bus() -> None:
    async with world() as here:
        async with here.client() as client:
            await client.connection.close(4321, "enough")
        await until(lambda: here.gateway.connections() == 0)
        assert await here.bus.publish(1, 7, 5, b"{}") == 0
        assert here.counts["closes", "4321"] == 1


async def test_the_exact_gap_comes_back_in_order_before_anything_newer() -> None:
    async with world() as here:
        async with here.client() as client:
            mine_at, everyone_at = client.position("notification"), client.position("broadcast")
        await until(lambda: here.gateway.connections() == 0)
        for n in range(1, 101):
            await here.bus.publish(1, 7, n, b'{"id":%d}' % n)
            await here.bus.broadcast(1, n, b'{"id":%d}' % (1000 + n))
        async with here.client(notification=mine_at, broadcast=everyone_at) as again:
            assert again.recovered("notification") is True
            assert again.recovered("broadcast") is True
            await here.bus.publish(1, 7, 101, b'{"id":101}')
            got = [await again.hear() for _ in range(201)]
            mine = [frame["data"]["id"] for frame in got if frame["event"] == "notification"]
            everyone = [frame["data"]["id"] for frame in got if frame["event"] == "broadcast"]
            assert mine == list(range(1, 102))
            assert everyone == list(range(1001, 1101))


async def test_positions_of_a_subprotocol_client_come_in_the_query() -> None:
    async with world() as here:
        async with here.client() as client:
            at = client.position("notification")
        await here.bus.publish(1, 7, 1, b'{"id":1}')
        offered = ["tidings.v1", f"tidings.token.{token()}"]
        url = f"{here.url}?notification={at}"
        async with connect(url, subprotocols=offered) as connection:  # type: ignore[arg-type]
            again = Client(connection)
            again.welcome = await again.hear()
            assert again.recovered("notification") is True
            assert again.recovered("broadcast") is None
            assert await again.hear_ids(1) == [1]


@pytest.mark.parametrize("lost", ["epoch", "history", "nonsense"])
async def test_a_gap_that_can_not_be_told_is_said_so(lost: str) -> None:
    async with world(MemoryBus(Bounds(max_frames=10))) as here:
        async with here.client() as client:
            at = client.position("notification")
        await until(lambda: here.gateway.connections() == 0)
        if lost == "epoch":
            await here.bus.close()
        elif lost == "history":
            for n in range(1, 12):
                await here.bus.publish(1, 7, n, b'{"id":%d}' % n)
        else:
            at = "never:there:was"
        async with here.client(notification=at) as again:
            assert again.recovered("notification") is False
            await here.bus.publish(1, 7, 500, b'{"id":500}')
            assert await again.hear_ids(1) == [500]  # and no part of the gap


async def test_a_storm_of_reconnections_misses_nothing() -> None:
    async with world() as here:
        seen: list[int] = []
        published = 0

        async def publish() -> None:
            nonlocal published
            for published in range(1, 201):
                await here.bus.publish(1, 7, published, b'{"id":%d}' % published)
                await asyncio.sleep(0.001)

        async with here.client() as client:
            at = client.position("notification")
        publishing = asyncio.create_task(publish())
        while len(seen) < 200:
            async with here.client(notification=at) as client:
                assert client.recovered("notification") is True
                for _ in range(min(7, 200 - len(seen))):
                    frame = await client.hear()
                    at = frame["position"]
                    seen.append(frame["data"]["id"])
        await publishing
        assert seen == list(range(1, 201))


def test_it_runs_under_uvloop_too() -> None:
    async def go() -> None:
        async with world() as here, here.client() as client:
            await client.say(command="acknowledge", ids=[5])
            await until(lambda: here.acknowledged)
            assert await here.bus.broadcast(1, 6, b'{"id":6}') == 1
            assert await client.hear_ids(1) == [6]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(go())
