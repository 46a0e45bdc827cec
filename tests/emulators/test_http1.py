"""HTTP/1.1 by hand: pipelining, limits, malformed peers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from tidings.emulators.exchange import Answer, Request, Response
from tidings.emulators.http_server import RunningServer, serve


async def _late(request: Request) -> Answer:
    await asyncio.sleep(0.01)
    return Response(200, b"late " + request.body)


def app(request: Request) -> Answer | Awaitable[Answer]:
    return _late(request) if request.path == "/late" else Response(200, b"now " + request.body)


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[RunningServer]:
    running = await serve(app, linger_s=0.05)
    yield running
    await running.close()


async def exchange(server: RunningServer, data: bytes) -> bytes:
    """Send, and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(-1), 10)
    writer.close()
    return answer


def post(path: str, body: bytes, extra: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\n{extra}content-length: {len(body)}\r\n\r\n".encode() + body


CLOSE = "connection: close\r\n"


async def test_pipelined_requests_are_answered_in_their_order(server: RunningServer) -> None:
    paths = ["/late", "/now", "/now", "/late", "/now"] * 40
    requests = [post(path, b"%d" % number) for number, path in enumerate(paths)]
    answer = await exchange(server, b"".join(requests) + post("/now", b"last", CLOSE))
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    expected = [f"{path[1:]} {number}".encode() for number, path in enumerate(paths)]
    assert bodies == [*expected, b"now last"]


async def test_a_request_in_single_bytes_is_one_request(server: RunningServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for byte in post("/now", b"slowly", CLOSE):
        writer.write(bytes((byte,)))
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(-1), 10)
    writer.close()
    assert answer.endswith(b"now slowly")
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_a_chunked_body_is_joined(server: RunningServer) -> None:
    head = b"POST /now HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    assert (await exchange(server, head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")).endswith(b"now abcde")


async def test_expect_100_is_answered_before_the_body(server: RunningServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /now HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ok")
    assert (await asyncio.wait_for(reader.readuntil(b"now ok"), 10)).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


async def test_http_1_0_is_closed_after_the_answer(server: RunningServer) -> None:
    answer = await exchange(server, b"GET /now HTTP/1.0\r\n\r\n")
    assert b"connection: close" in answer


async def test_an_upgrade_is_ignored(server: RunningServer) -> None:
    asked = b"GET /now HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    assert (await exchange(server, asked)).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
        (b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"p" * 70_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1048577\r\n\r\n", b"413"),
    ],
)
async def test_what_is_wrong_is_refused_and_the_connection_closed(
    server: RunningServer, sent: bytes, status: bytes
) -> None:
    assert (await exchange(server, sent)).startswith(b"HTTP/1.1 " + status)
    assert (await exchange(server, post("/now", b"", CLOSE))).startswith(b"HTTP/1.1 200")


async def test_what_came_before_the_malformed_part_is_still_answered(server: RunningServer) -> None:
    answer = await exchange(server, post("/late", b"good") + b"\x00\x00 bad\r\n\r\n")
    assert answer.index(b"late good") < answer.index(b"HTTP/1.1 400")
