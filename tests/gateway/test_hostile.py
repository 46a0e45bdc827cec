"""Clients that are slow, broken or hostile: each meets its bound, and nobody else notices."""

import asyncio
from contextlib import AsyncExitStack, suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.harness import Raw, http, raw, token, until, world
from tidings.bus.memory import Bounds, MemoryBus
from tidings.gateway.protocol import CloseCode

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
BIG = b'{"id":1,"x":"' + b"x" * 32_000 + b'"}'


async def test_a_slow_reader_is_closed_with_its_code_and_slows_nobody() -> None:
    async with (
        world(max_queue_bytes=200_000, close_timeout_s=15) as here,
        here.client(8) as quick,
        raw(here.gateway.port, authenticated=True, small_buffer=True) as slow,
    ):
        published = 0
        while (1, 7) in here.gateway._hub._sockets_of_user:
            published += 1
            assert published < 2000, "the slow reader was never closed"
            await here.bus.broadcast(1, published, BIG)
            assert (await quick.hear())["position"].endswith(f":{published}")
        assert await here.bus.broadcast(1, 10_000, b'{"id":2}') == 1
        assert (await quick.hear())["data"] == {"id": 2}
        assert await slow.close_code() == CloseCode.TOO_SLOW  # when it reads again, it learns why


async def test_a_slow_reader_that_never_reads_again_is_cut() -> None:
    async with (
        world(max_queue_bytes=100_000, close_timeout_s=0.1) as here,
        raw(here.gateway.port, authenticated=True, small_buffer=True),
    ):
        key = 0
        while (1, 7) in here.gateway._hub._sockets_of_user:
            key += 1
            assert key < 2000, "the slow reader was never closed"
            await here.bus.publish(1, 7, key, BIG)
            await asyncio.sleep(0)
        await until(lambda: here.gateway.connections() == 0)
        assert here.counts["closes", "4008"] == 1


async def test_who_comes_back_for_a_long_gap_is_not_too_slow_because_of_the_gap() -> None:
    bus = MemoryBus(Bounds(max_frames=400, max_bytes=2**24))  # more than the kernel's buffers hold
    async with world(bus, max_queue_bytes=50_000, close_timeout_s=15) as here:
        async with here.client() as client:
            at = client.position("notification")
        for key in range(300):
            await here.bus.publish(1, 7, key, BIG)
        async with raw(here.gateway.port, small_buffer=True) as slow:
            slow.say(command="authenticate", token=token(), positions={"notification": at})
            await until(lambda: here.counts["frames", "sent"] >= 302)
            await here.bus.publish(1, 7, 999, b'{"id":999}')
            for _ in range(301):
                opcode, _ = await slow.hear()
                assert opcode == TEXT
            assert msgspec.json.decode((await slow.hear())[1])["data"] == {"id": 999}


async def test_a_message_in_fragments_is_put_together() -> None:
    async with world() as here, raw(here.gateway.port, authenticated=True) as client:
        message = msgspec.json.encode({"command": "acknowledge", "ids": [5]})
        client.frame(TEXT, message[:5], fin=False)
        client.frame(PING, b"between")
        client.frame(0, b"", fin=False)
        client.frame(0, message[5:])
        await until(lambda: here.acknowledged)
        assert await client.hear() == (PONG, b"between")


def unmasked(client: Raw) -> None:
    client.frame(TEXT, b"{}", masked=False)


def reserved(client: Raw) -> None:
    client.frame(TEXT, b"{}", rsv=4)


def stray(client: Raw) -> None:
    client.frame(0, b"{}")


def interrupted(client: Raw) -> None:
    client.frame(TEXT, b"{", fin=False)
    client.frame(TEXT, b"}")


def opcode_three(client: Raw) -> None:
    client.frame(3, b"{}")


def long_ping(client: Raw) -> None:
    client.frame(PING, b"x" * 126)


def oversize(client: Raw) -> None:
    client.frame(TEXT, b"x" * 70_000)


def announced_oversize(client: Raw) -> None:
    client.writer.write(b"\x81\xff" + (2**62).to_bytes(8) + bytes(4))


def oversize_in_parts(client: Raw) -> None:
    for _ in range(3):
        client.frame(TEXT if _ == 0 else 0, b"x" * 30_000, fin=False)


def many_parts(client: Raw) -> None:
    client.frame(TEXT, b"", fin=False)
    for _ in range(64):
        client.frame(0, b"", fin=False)


def binary(client: Raw) -> None:
    client.frame(BINARY, b"{}")


def bad_texts(client: Raw) -> None:
    for _ in range(11):
        client.frame(TEXT, b"\xff\xfe")


def pings_without_end(client: Raw) -> None:
    for _ in range(100):
        client.frame(PING, b"x" * 125)


def pongs_without_end(client: Raw) -> None:
    for _ in range(100):
        client.frame(PONG)


@pytest.mark.parametrize(
    ("misbehave", "code"),
    [
        (unmasked, CloseCode.PROTOCOL_ERROR),
        (reserved, CloseCode.PROTOCOL_ERROR),
        (stray, CloseCode.PROTOCOL_ERROR),
        (interrupted, CloseCode.PROTOCOL_ERROR),
        (opcode_three, CloseCode.PROTOCOL_ERROR),
        (long_ping, CloseCode.PROTOCOL_ERROR),
        (oversize, CloseCode.MESSAGE_TOO_BIG),
        (announced_oversize, CloseCode.MESSAGE_TOO_BIG),
        (oversize_in_parts, CloseCode.MESSAGE_TOO_BIG),
        (many_parts, CloseCode.MESSAGE_TOO_BIG),
        (binary, CloseCode.NOT_TEXT),
        (bad_texts, CloseCode.TOO_MANY_ERRORS),
        (pings_without_end, CloseCode.TOO_MANY_ERRORS),
        (pongs_without_end, CloseCode.TOO_MANY_ERRORS),
    ],
)
async def test_each_misbehaviour_has_its_code_and_harms_nobody(misbehave: object, code: CloseCode) -> None:
    assert callable(misbehave)
    async with world() as here, here.client(8) as other:
        async with raw(here.gateway.port, authenticated=True) as client:
            misbehave(client)
            assert await client.close_code() == code
            assert await here.bus.publish(1, 7, 1, b"{}") == 0
            await client.ended()  # it did not answer the close, and was cut
        assert here.counts["closes", str(code.value)] == 1
        assert await here.bus.publish(1, 8, 5, b'{"id":5}') == 1
        assert await other.hear_ids(1) == [5]


async def test_pings_before_authentication_that_are_never_read_are_bounded() -> None:
    async with world(close_timeout_s=0.1) as here, raw(here.gateway.port, small_buffer=True) as client:
        with suppress(ConnectionError):  # how a writer learns that it was cut
            for _ in range(100_000):
                client.frame(PING, b"x" * 125)
                await client.writer.drain()
        await until(lambda: not here.gateway.connections())
        assert here.counts["closes", "4008"] == 1


async def test_who_does_not_answer_a_ping_is_closed_and_who_does_is_not() -> None:
    async with world(ping_interval_s=0.2, pong_timeout_s=0.2) as here, here.client(8) as well:
        async with raw(here.gateway.port, authenticated=True) as dead:
            opcode, _ = await dead.hear()
            assert opcode == PING
            assert await dead.close_code() == CloseCode.PING_TIMEOUT
        await until(lambda: here.gateway.connections() == 1)
        await well.say(command="ping")
        assert (await well.hear())["event"] == "pong"


async def test_half_a_frame_is_no_sign_of_life() -> None:
    async with (
        world(ping_interval_s=0.2, pong_timeout_s=0.2) as here,
        raw(here.gateway.port, authenticated=True) as client,
    ):
        client.writer.write(b"\x81\xfe")
        assert await client.close_code() == CloseCode.PING_TIMEOUT


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", 1000),
        (b"\x03\xe8bye", 1000),
        (b"\x0f\xa1", 4001),
        (b"\x0f", 1002),
        (b"\x00\x00", 1002),  # 0, 1006, 1005 and 5000 must not be sent (RFC 6455 §7.4)
        (b"\x03\xee", 1002),
        (b"\x03\xed", 1002),
        (b"\x13\x88", 1002),
        (b"\x03\xe8\xff", 1007),
    ],
)
async def test_a_close_is_answered_and_the_connection_ends(payload: bytes, code: int) -> None:
    async with world() as here, raw(here.gateway.port, authenticated=True) as client:
        client.frame(CLOSE, payload)
        assert await client.close_code() == code
        await client.ended()
        await until(lambda: here.gateway.connections() == 0)


@given(st.binary(max_size=300))
@settings(max_examples=40, deadline=None)
async def test_no_bytes_instead_of_a_handshake_stop_the_gateway(garbage: bytes) -> None:
    async with world() as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.gateway.port)
        writer.write(garbage + b"\r\n\r\n")
        writer.write_eof()
        async with asyncio.timeout(20):
            with suppress(ConnectionError):  # it only cut, which is an answer too
                await reader.read()
        writer.transport.abort()
        livez, _ = await http(here.gateway.port, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert livez == 200


frames = st.builds(
    lambda first, second, body: bytes([first, second]) + body,
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(),
)


@given(st.lists(frames | st.binary(), max_size=8), st.booleans())
@settings(max_examples=60, deadline=None)
async def test_no_bytes_instead_of_frames_stop_the_gateway(chunks: list[bytes], authenticated: bool) -> None:
    async with world(close_timeout_s=0.05, auth_timeout_s=0.05) as here:
        async with raw(here.gateway.port, authenticated=authenticated) as client:
            for chunk in chunks:
                client.writer.write(chunk)
            await asyncio.sleep(0)
        await until(lambda: here.gateway.connections() == 0)
        assert not here.counts["closes", "1011"]
        async with here.client() as well:
            await here.bus.publish(1, 7, 5, b'{"id":5}')
            assert await well.hear_ids(1) == [5]


async def test_two_thousand_sockets_hear_every_broadcast() -> None:
    async with world(max_connections_per_user=20, ping_interval_s=60) as here, AsyncExitStack() as stack:
        clients: list[Raw] = []
        for start in range(0, 2000, 100):
            some = [stack.enter_async_context(raw(here.gateway.port)) for _ in range(100)]
            clients += await asyncio.gather(*some)
            for n, client in enumerate(clients[start:], start):
                client.say(command="authenticate", token=token(user_id=n + 1))
            await asyncio.gather(*(client.hear() for client in clients[start:]))
        assert here.gateway.connections() == 2000
        for key in range(1, 6):
            assert await here.bus.broadcast(1, key, b'{"id":%d}' % key) == 2000
        for key in range(1, 6):
            heard = await asyncio.gather(*(client.hear() for client in clients))
            assert all(msgspec.json.decode(payload)["data"] == {"id": key} for _, payload in heard)
