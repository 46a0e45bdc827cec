"""Outgoing HTTP against peers that behave badly, on real sockets: always a value, in time and bounded."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tidings.http import Answer, Failure, open_client, request

Peer = Callable[[asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def peer(behave: Peer) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await behave(writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/secret-path"
    finally:
        server.close()
        await server.wait_closed()


async def ask(url: str, timeout_s: float = 5.0, limit: int = 1000) -> Answer | Failure:
    client = open_client(timeout_s=timeout_s, system_proxy=False)
    try:
        return await client.send(request("POST", url, {}), b"x", keep=("retry-after", "x-none"), limit=limit)
    finally:
        await client.close()


async def test_an_answer_in_pieces_is_read_whole() -> None:
    async def pieces(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Retry-After: 7\r\ncontent-length: 30\r\n\r\n")
        for _ in range(10):
            writer.write(b"abc")
            await writer.drain()
            await asyncio.sleep(0.001)

    async with peer(pieces) as url:
        assert await ask(url) == Answer(200, b"abc" * 10, {"retry-after": "7"})


@pytest.mark.parametrize(("size", "cut"), [(0, False), (999, False), (1000, False), (1001, True), (5_000_000, True)])
async def test_the_body_is_bounded(size: int, cut: bool) -> None:
    async def big(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + f"content-length: {size}\r\n\r\n".encode() + b"x" * size)

    async with peer(big) as url:
        assert await ask(url) == Answer(200, b"x" * min(size, 1000), {}, cut=cut)


async def test_a_redirect_is_an_answer() -> None:
    async def redirect(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")

    async with peer(redirect) as url:
        assert await ask(url) == Answer(302, b"", {})


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def cut_in_the_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200")


async def cut_in_the_body(writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"content-length: 100\r\n\r\nabc")


async def nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")


@pytest.mark.parametrize("behave", [hang_up, cut_in_the_head, cut_in_the_body, nonsense])
async def test_a_broken_answer_is_a_failure_that_may_have_been_sent(behave: Peer) -> None:
    async with peer(behave) as url:
        got = await ask(url)
    assert isinstance(got, Failure)
    assert (got.timed_out, got.maybe_sent) == (False, True)
    assert got.detail.startswith("the connection broke")
    assert "secret-path" not in got.detail


async def say_nothing(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.6)


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"content-length: 100\r\n\r\n")
    for _ in range(60):
        writer.write(b"x")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("behave", [say_nothing, drip])
async def test_the_deadline_counts_to_the_bodys_end(behave: Peer) -> None:
    async with peer(behave) as url:
        assert await ask(url, timeout_s=0.2) == Failure(True, True, "no answer in time")


async def test_no_connection_means_that_nothing_was_sent() -> None:
    async with peer(hang_up) as url:
        pass
    got = await ask(url)
    assert isinstance(got, Failure)
    assert (got.timed_out, got.maybe_sent) == (False, False)
    assert got.detail.startswith("could not connect: Connection refused")


async def test_a_closed_client_is_a_failure() -> None:
    client = open_client(timeout_s=1, system_proxy=False)
    await client.close()
    assert isinstance(await client.send(request("POST", "http://127.0.0.1:1/", {})), Failure)


def test_roots_that_hold_no_certificate_are_refused() -> None:
    with pytest.raises(ValueError, match="PEM"):
        open_client(timeout_s=1, ca_pem=b"junk")
