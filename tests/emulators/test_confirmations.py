"""What the emulators tell the service by themselves: a failure is a warning, unless everything is stopping."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable

import pytest

from tidings.emulators.confirmations import Confirmations
from tidings.emulators.sms_callbacks import Callbacks, Post

LATEST_S = 20.0


def nowhere() -> str:
    """A URL where nobody listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/"


def receipts() -> tuple[Confirmations, Callable[[str], None]]:
    confirmations = Confirmations()
    return confirmations, confirmations.later


def webhooks() -> tuple[Callbacks, Callable[[str], None]]:
    callbacks = Callbacks(local_only=True)
    return callbacks, lambda url: callbacks.later(Post(url, (), b""))


async def failed(sender: Confirmations | Callbacks) -> None:
    end = time.monotonic() + LATEST_S
    while not sender.failed:
        assert time.monotonic() < end, "it never failed"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("kind", [receipts, webhooks])
async def test_what_is_not_taken_is_a_warning_unless_the_service_stops(
    kind: Callable[[], tuple[Confirmations | Callbacks, Callable[[str], None]]],
    stopping: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "tidings.emulators")
    sender, later = kind()
    later(nowhere())
    if stopping:
        sender.stopping()
    await failed(sender)
    await sender.close()
    level = logging.DEBUG if stopping else logging.WARNING
    assert [record.levelno for record in caplog.records if "failed" in record.message] == [level]
    caplog.clear()
    later(nowhere())
    assert sender.dropped == 1
    assert [record.levelno for record in caplog.records] == [logging.DEBUG], "it is closed, and was told so"


class Cut(asyncio.Protocol):
    """A server that cuts the first call while its sender is being closed: the loop is held until both have happened."""

    def __init__(self, sender: Confirmations | Callbacks) -> None:
        self._sender = sender
        self.closing: asyncio.Task[None] | None = None
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self.closing is None:
            self.closing = asyncio.create_task(self._sender.close())
            self._transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            time.sleep(0.1)


@pytest.mark.parametrize("kind", [receipts, webhooks])
async def test_closing_ends_although_a_call_fails_at_that_moment(
    kind: Callable[[], tuple[Confirmations | Callbacks, Callable[[str], None]]],
) -> None:
    sender, later = kind()
    cut = Cut(sender)
    server = await asyncio.get_running_loop().create_server(lambda: cut, "127.0.0.1", 0)
    async with server, asyncio.timeout(LATEST_S):
        later(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        while cut.closing is None:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
        await cut.closing
