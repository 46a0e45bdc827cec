"""Calls to vendors, on real sockets: peers that behave badly, what is repeated and what must not be, cancelling."""

import asyncio
import contextlib
import gc
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from tidings.emulators import certificate
from tidings.http import Answer, Failure, open_client, request

LATEST_S = 20.0
Served = Callable[[asyncio.StreamWriter, int], Awaitable[bool | None]]

START = b"HTTP/1.1 200 OK\r\n"
OK = START + b"content-length: 2\r\n\r\n{}"


class CancelledMeanwhile(asyncio.Protocol):
    """A server that ends the call in the moment in which the caller is cancelled: the loop is held until both have
    happened."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.caller: asyncio.Task[Answer | Failure] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self.caller is not None:
            self._transport.write(self._answer)
            self._transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            time.sleep(0.1)
            self.caller.cancel()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


@pytest.mark.parametrize("answer", [b"", OK], ids=["it fails", "it is answered"])
async def test_a_call_that_ends_as_it_is_cancelled_is_cancelled(answer: bytes) -> None:
    peer = CancelledMeanwhile(answer)
    server = await asyncio.get_running_loop().create_server(lambda: peer, "127.0.0.1", 0)
    client = open_client(timeout_s=LATEST_S, system_proxy=False)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, asyncio.timeout(LATEST_S):
        peer.caller = asyncio.create_task(client.send(request("POST", url, {})))
        await asyncio.wait([peer.caller])
        assert peer.caller.cancelled()
    await client.close()
    peer.close()


async def test_a_deadline_around_a_call_stays_a_deadline() -> None:
    """asyncio's own works by cancelling."""
    peer = CancelledMeanwhile(b"")
    server = await asyncio.get_running_loop().create_server(lambda: peer, "127.0.0.1", 0)
    client = open_client(timeout_s=LATEST_S, system_proxy=False)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.send(request("POST", url, {}))
    await client.close()
    peer.close()


@asynccontextmanager
async def served(serve_one: Served) -> AsyncIterator[str]:
    """A server: `serve_one` answers each request, numbered from 1 over all connections; True keeps the connection."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        keep = True
        try:
            while keep:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
                count += 1
                keep = bool(await serve_one(writer, count))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/secret-path"
    finally:
        server.close()
        await server.wait_closed()


async def test_what_a_kept_connection_may_have_taken_is_not_sent_again() -> None:
    """The server takes the second request and closes without a word: a text message may be on its way."""
    taken: list[int] = []

    async def serve_one(writer: asyncio.StreamWriter, number: int) -> bool:
        taken.append(number)
        if number == 1:
            writer.write(OK)
        return number == 1

    async with served(serve_one) as url, open_client(timeout_s=LATEST_S, system_proxy=False) as client:
        asked = request("POST", url, {})
        assert await client.send(asked, b"first") == Answer(200, b"{}", {})
        assert await client.send(asked, b"second") == Failure(
            False, True, "the connection broke: it was closed before the answer"
        )
        assert taken == [1, 2]


async def test_a_kept_connection_that_is_gone_costs_no_message() -> None:
    """It was closed while nothing was under way. libcurl looks at those that were idle for a second."""

    async def serve_one(writer: asyncio.StreamWriter, number: int) -> bool:
        writer.write(OK)
        return False

    async with served(serve_one) as url, open_client(timeout_s=LATEST_S, system_proxy=False) as client:
        assert isinstance(await client.send(request("POST", url, {}), b"x"), Answer)
        await asyncio.sleep(1.2)
        assert isinstance(await client.send(request("POST", url, {}), b"x"), Answer)


async def test_closing_ends_what_is_under_way_as_a_failure() -> None:
    async def serve_one(writer: asyncio.StreamWriter, number: int) -> bool:
        await asyncio.sleep(LATEST_S)
        return False

    async with served(serve_one) as url:
        client = open_client(timeout_s=LATEST_S, system_proxy=False)
        call = asyncio.create_task(client.send(request("POST", url, {}), b"x"))
        await asyncio.sleep(0.05)
        await client.close()
        assert await call == Failure(False, True, "the connection broke: the client is closed")
        await client.close()
        assert client.closed


async def test_closing_later_lets_what_is_under_way_end() -> None:
    async def serve_one(writer: asyncio.StreamWriter, number: int) -> bool:
        await asyncio.sleep(0.1)
        writer.write(OK)
        return True

    async with served(serve_one) as url:
        client = open_client(timeout_s=0.5, system_proxy=False)
        call = asyncio.create_task(client.send(request("POST", url, {}), b"x"))
        client.close_later()
        assert isinstance(await call, Answer)
        await asyncio.sleep(2)
        assert client.closed


async def test_a_cancelled_call_leaves_the_client_usable() -> None:
    async def serve_one(writer: asyncio.StreamWriter, number: int) -> bool:
        if number == 1:
            await asyncio.sleep(LATEST_S)
        writer.write(OK)
        return True

    async with served(serve_one) as url, open_client(timeout_s=LATEST_S, system_proxy=False) as client:
        call = asyncio.create_task(client.send(request("POST", url, {}), b"x"))
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        assert isinstance(await client.send(request("POST", url, {}), b"x"), Answer)


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("https://example.org/", {"x-one": "a\r\nx-two: b"}),
        ("https://example.org/", {"x-one\r\nx-two": "b"}),
        ("https://example.org/", {"x-one": "ü"}),
        ("https://example.org/a b", {}),
        ("https://example.org/\r\n", {}),
        ("https://example.org\\@inside/", {}),
        ("file:///etc/passwd", {}),
        ("example.org", {}),
    ],
)
def test_what_can_not_be_said_in_http_is_refused(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="can't be"):
        request("POST", url, headers)


def roots() -> int:
    """How many files of certificates this process has open."""
    found = 0
    for file in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed them
            found += "tidings-roots" in os.readlink(f"/proc/self/fd/{file}")
    return found


async def test_a_client_let_go_of_leaves_no_file_open() -> None:
    gc.collect()
    before = roots()
    client = open_client(timeout_s=1, ca_pem=certificate.make().ca_pem, system_proxy=False)
    assert roots() == before + 1
    await client.close()
    del client
    gc.collect()
    assert roots() == before


async def ask(url: str, timeout_s: float = 5.0, limit: int = 1000) -> Answer | Failure:
    client = open_client(timeout_s=timeout_s, system_proxy=False)
    try:
        return await client.send(request("POST", url, {}), b"x", keep=("retry-after", "x-none"), limit=limit)
    finally:
        await client.close()


async def test_an_answer_in_pieces_is_read_whole() -> None:
    async def pieces(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(START + b"Retry-After: 7\r\ncontent-length: 30\r\n\r\n")
        for _ in range(10):
            writer.write(b"abc")
            await writer.drain()
            await asyncio.sleep(0.001)

    async with served(pieces) as url:
        assert await ask(url) == Answer(200, b"abc" * 10, {"retry-after": "7"})


@pytest.mark.parametrize(("size", "cut"), [(0, False), (999, False), (1000, False), (1001, True), (5_000_000, True)])
async def test_the_body_is_bounded(size: int, cut: bool) -> None:
    async def big(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(START + f"content-length: {size}\r\n\r\n".encode() + b"x" * size)

    async with served(big) as url:
        assert await ask(url) == Answer(200, b"x" * min(size, 1000), {}, cut=cut)


async def test_a_redirect_is_an_answer() -> None:
    async def redirect(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")

    async with served(redirect) as url:
        assert await ask(url) == Answer(302, b"", {})


async def hang_up(writer: asyncio.StreamWriter, _: int) -> None:
    writer.close()


async def cut_in_the_head(writer: asyncio.StreamWriter, _: int) -> None:
    writer.write(b"HTTP/1.1 200")


async def cut_in_the_body(writer: asyncio.StreamWriter, _: int) -> None:
    writer.write(START + b"content-length: 100\r\n\r\nabc")


async def nonsense(writer: asyncio.StreamWriter, _: int) -> None:
    writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")


@pytest.mark.parametrize("behave", [hang_up, cut_in_the_head, cut_in_the_body, nonsense])
async def test_a_broken_answer_is_a_failure_that_may_have_been_sent(behave: Served) -> None:
    async with served(behave) as url:
        got = await ask(url)
    assert isinstance(got, Failure)
    assert (got.timed_out, got.maybe_sent) == (False, True)
    assert got.detail.startswith("the connection broke")
    assert "secret-path" not in got.detail


async def say_nothing(writer: asyncio.StreamWriter, _: int) -> None:
    await asyncio.sleep(0.6)


async def drip(writer: asyncio.StreamWriter, _: int) -> None:
    writer.write(START + b"content-length: 100\r\n\r\n")
    for _ in range(60):
        writer.write(b"x")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("behave", [say_nothing, drip])
async def test_the_deadline_counts_to_the_bodys_end(behave: Served) -> None:
    async with served(behave) as url:
        assert await ask(url, timeout_s=0.2) == Failure(True, True, "no answer in time")


async def test_no_connection_means_that_nothing_was_sent() -> None:
    async with served(hang_up) as url:
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
