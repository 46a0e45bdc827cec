"""Calls to vendors that are cancelled."""

import asyncio
import socket
import time
from typing import cast

import pytest

from tidings.http import Answer, Failure, exchange, open_client

LATEST_S = 20.0
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


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
        peer.caller = asyncio.create_task(exchange(client.post(url).build_streamed()))
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
                await exchange(client.post(url).build_streamed())
    await client.close()
    peer.close()
