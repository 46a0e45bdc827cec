"""HTTP/2 frame by frame: what RFC 9113 allows must work, whatever its size and order."""

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from tests.emulators.wire import ENDS, HEAD, WHOLE, wire
from tidings.emulators import frames
from tidings.emulators.exchange import Answer, ErrorCode, Request, Response
from tidings.emulators.frames import frame
from tidings.emulators.http_server import RunningServer, serve


async def _never(request: Request) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError("only a cancellation ends this")


def app(request: Request) -> Any:
    if request.path == "/big":
        return Response(200, b"b" * 200_000)
    if request.path == "/never":
        return _never(request)
    return Response(200, request.body)


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[RunningServer]:
    running = await serve(app)
    yield running
    await running.close()


async def test_padding_and_priority_are_taken_off(server: RunningServer) -> None:
    async with wire(server) as to:
        padded = b"\x05" + struct.pack(">LB", 0, 10) + to.block() + b"\x00" * 5
        flags = WHOLE | frames.PADDED | frames.WITH_PRIORITY
        to.send(frame(frames.HEADERS, flags, 1, padded))
        to.send(frame(frames.DATA, frames.PADDED, 1, b"\x03abc\x00\x00\x00"))
        to.send(frame(frames.DATA, frames.PADDED | ENDS, 1, b"\x00def"))
        assert await to.body(1) == b"abcdef"


async def test_continuation_in_single_bytes_and_after_it_the_table_is_right(server: RunningServer) -> None:
    async with wire(server) as to:
        block = to.block(("x-long", "v"))
        to.send(frame(frames.HEADERS, 0, 1, b""))
        for at in range(0, len(block) - 2, 2):
            to.send(frame(frames.CONTINUATION, 0, 1, block[at : at + 2]))
        to.send(frame(frames.CONTINUATION, WHOLE, 1, block[len(block) - 2 - len(block) % 2 :]))
        # (an even cut: what is left after the loop is one or two bytes)
        to.send(frame(frames.DATA, ENDS, 1, b"one"))
        assert await to.body(1) == b"one"
        to.send(frame(frames.HEADERS, WHOLE, 3, to.block(("x-long", "v"))), frame(frames.DATA, ENDS, 3, b"two"))
        assert await to.body(3) == b"two"


async def test_trailers_end_a_request(server: RunningServer) -> None:
    async with wire(server) as to:
        to.send(frame(frames.HEADERS, WHOLE, 1, to.block()), frame(frames.DATA, 0, 1, b"body"))
        to.send(frame(frames.HEADERS, WHOLE | ENDS, 1, to.encoder.encode([("x-sum", "1")])))
        assert await to.body(1) == b"body"


async def test_ping_and_settings_are_acknowledged(server: RunningServer) -> None:
    async with wire(server) as to:
        assert (await to.until(frames.SETTINGS))[0] == 0
        assert (await to.until(frames.SETTINGS))[0] == frames.ACK
        to.send(frame(frames.PING, 0, 0, b"12345678"))
        assert await to.until(frames.PING) == (frames.ACK, 0, b"12345678")
        to.send(frame(frames.PING, frames.ACK, 0, b"unasked!"), frame(0xEE, 0xFF, 7, b"unknown type"))
        to.send(frame(frames.PRIORITY, 0, 9, struct.pack(">LB", 0, 1)), frame(frames.PING, 0, 0, b"again..."))
        assert await to.until(frames.PING) == (frames.ACK, 0, b"again...")


async def test_a_small_initial_window_is_kept_and_grows(server: RunningServer) -> None:
    async with wire(server, {frames.INITIAL_WINDOW_SIZE: 10}) as to:
        to.send(frame(frames.HEADERS, WHOLE, 1, to.block()), frame(frames.DATA, ENDS, 1, b"x" * 100))
        assert len((await to.until(frames.DATA))[2]) == 10
        to.send(frames.window_update(1, 5))
        assert len((await to.until(frames.DATA))[2]) == 5
        to.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 30}))
        assert len((await to.until(frames.DATA))[2]) == 20
        # Smaller again: the window goes below zero, and needs more than the difference to open.
        to.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}), frames.window_update(1, 30))
        to.send(frame(frames.PING, 0, 0, b"nothing?"))
        seen = [await to.frame() for _ in range(2)]
        assert [kind for kind, *_ in seen] == [frames.SETTINGS, frames.PING]
        to.send(frames.window_update(1, 1000))
        flags, _, payload = await to.until(frames.DATA)
        assert (len(payload), flags) == (65, ENDS)


async def test_the_connection_window_holds_all_streams_together(server: RunningServer) -> None:
    async with wire(server, {frames.INITIAL_WINDOW_SIZE: 1_000_000}) as to:
        for stream in (1, 3):
            to.send(frame(frames.HEADERS, WHOLE | ENDS, stream, to.block(path="/big")))
        got = 0
        while got < frames.DEFAULT_WINDOW:
            got += len((await to.until(frames.DATA))[2])
        assert got == frames.DEFAULT_WINDOW
        to.send(frame(frames.PING, 0, 0, b"12345678"))
        meanwhile = [(await to.frame())[0] for _ in range(2)]
        assert meanwhile == [frames.HEADERS, frames.PING]  # The second answer has begun, without any DATA.
        to.send(frames.window_update(0, 400_000))
        streams: dict[int, int] = {1: 0, 3: 0}
        ended = 0
        while ended < 2:
            flags, stream, payload = await to.until(frames.DATA)
            streams[stream] += len(payload)
            ended += flags & ENDS
        assert sum(streams.values()) + got == 400_000


async def test_receive_windows_are_refilled(server: RunningServer) -> None:
    async with wire(server) as to:
        to.send(frame(frames.HEADERS, WHOLE, 1, to.block()))
        piece = frame(frames.DATA, 0, 1, b"d" * 16_000)
        granted = 0
        for _ in range(16):  # 256 000 bytes: just within the first window
            to.send(piece)
        while granted < 128_000:
            _, stream, payload = await to.until(frames.WINDOW_UPDATE)
            granted += int.from_bytes(payload, "big") if stream == 1 else 0
        assert granted >= 128_000


async def test_a_peer_that_leaves_a_stream_ends_its_work(server: RunningServer) -> None:
    async with wire(server) as to:
        for stream in range(1, 4001, 2):
            to.send(frame(frames.HEADERS, WHOLE | ENDS, stream, to.block(path="/never")))
            to.send(frames.rst_stream(stream, ErrorCode.CANCEL))
        to.send(frame(frames.HEADERS, WHOLE, 4001, to.block()), frame(frames.DATA, ENDS, 4001, b"fine"))
        assert await to.body(4001) == b"fine"


async def test_streams_beyond_the_limit_are_refused() -> None:
    server = await serve(app, max_concurrent_streams=2)
    async with wire(server) as to:
        for stream in (1, 3, 5):
            to.send(frame(frames.HEADERS, WHOLE | ENDS, stream, to.block(path="/never")))
        _, stream, payload = await to.until(frames.RST_STREAM)
        assert (stream, int.from_bytes(payload, "big")) == (5, ErrorCode.REFUSED_STREAM)
        to.send(frames.rst_stream(1, ErrorCode.CANCEL))
        to.send(frame(frames.HEADERS, WHOLE, 7, to.block()), frame(frames.DATA, ENDS, 7, b"fits"))
        assert await to.body(7) == b"fits"
    await server.close()


async def test_a_handler_can_change_the_stream_limit() -> None:
    def trusting(request: Request) -> Any:
        if "trusted" in request.connection.memory:
            return _never(request)
        request.connection.memory["trusted"] = True
        request.connection.limit_streams(3)
        return Response(200, b"now three")

    server = await serve(trusting, max_concurrent_streams=1)
    async with wire(server) as to:
        to.send(frame(frames.HEADERS, WHOLE | ENDS, 1, to.block()))
        limits = [(await to.until(frames.SETTINGS))[2] for _ in range(3)]
        changed = limits[2] or limits[1]  # The acknowledgement of our own may come before or after it.
        assert changed == struct.pack(">HL", frames.SETTING_MAX_CONCURRENT_STREAMS, 3)
        for stream in (3, 5, 7, 9):
            to.send(frame(frames.HEADERS, WHOLE | ENDS, stream, to.block()))
        _, stream, payload = await to.until(frames.RST_STREAM)
        assert (stream, int.from_bytes(payload, "big")) == (9, ErrorCode.REFUSED_STREAM)
    await server.close()


async def test_requests_after_goaway_are_left_unprocessed(server: RunningServer) -> None:
    async with wire(server) as to:
        to.send(frame(frames.HEADERS, WHOLE | ENDS, 1, to.block(path="/never")))
        to.send(frame(frames.PING, 0, 0, b"12345678"))
        await to.until(frames.PING)
        server.goaway()
        kind, _, _, payload = await to.frame()
        assert (kind, struct.unpack(">LL", payload)) == (frames.GOAWAY, (1, ErrorCode.NO_ERROR))
        to.send(frame(frames.HEADERS, WHOLE, 3, to.block()), frame(frames.DATA, ENDS, 3, b"too late"))
        to.send(frame(frames.PING, 0, 0, b"87654321"))
        assert (await to.frame())[0] == frames.PING
        to.send(frames.rst_stream(1, ErrorCode.CANCEL))
        assert await asyncio.wait_for(to.reader.read(-1), 10) == b""


async def test_an_endless_upload_is_refused_midway(server: RunningServer) -> None:
    async with wire(server) as to:
        to.send(frame(frames.HEADERS, WHOLE, 1, to.block()))
        for _ in range(8 * 64 + 1):  # Eight times the limit of 1 MiB is drained before patience ends.
            to.send(frame(frames.DATA, 0, 1, b"d" * 16_384))
            await to.writer.drain()
        flags, stream, _ = await to.until(frames.HEADERS)
        assert (flags & frames.END_STREAM, stream) == (0, 1)
        assert b"too large" in await to.body(1)
        _, stream, payload = await to.until(frames.RST_STREAM)
        assert (stream, int.from_bytes(payload, "big")) == (1, ErrorCode.NO_ERROR)
        to.send(frame(frames.DATA, 0, 1, b"unaware"))
        to.send(frame(frames.HEADERS, WHOLE, 3, to.block()), frame(frames.DATA, ENDS, 3, b"next"))
        assert await to.body(3) == b"next"


@pytest.mark.parametrize("table", [0, 100, 4096, 65_536])
async def test_the_h2_library_understands_us_whatever_its_table_size(server: RunningServer, table: int) -> None:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.local_settings.header_table_size = table
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    client.initiate_connection()
    answers: dict[int, bytes] = {}
    for stream in (1, 3, 5):
        client.send_headers(stream, HEAD)
        client.send_data(stream, b"for %d" % stream, end_stream=True)
    ended = 0
    while ended < 3:
        writer.write(client.data_to_send())
        for event in client.receive_data(await asyncio.wait_for(reader.read(65_536), 10)):
            if isinstance(event, h2.events.DataReceived):
                answers[event.stream_id] = answers.get(event.stream_id, b"") + event.data
            ended += isinstance(event, h2.events.StreamEnded)
    assert answers == {1: b"for 1", 3: b"for 3", 5: b"for 5"}
    writer.close()
