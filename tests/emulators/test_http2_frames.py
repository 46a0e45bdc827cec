"""HTTP/2 frame by frame: what RFC 9113 allows must work, what it forbids must be answered with its error."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hpack import Encoder

from tidings.emulators import frames
from tidings.emulators.exchange import Answer, ErrorCode, Request, Response
from tidings.emulators.frames import PREFACE, frame
from tidings.emulators.http_server import RunningServer, serve

HEAD = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/echo")]


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


class Wire:
    """A connection that speaks frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = Encoder()

    def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    def block(self, *extra: tuple[str, str], path: str = "/echo") -> bytes:
        head = [(name, path if name == ":path" else value) for name, value in HEAD]
        return self.encoder.encode([*head, *extra])

    async def frame(self) -> tuple[int, int, int, bytes]:
        """The next frame: type, flags, stream, payload."""
        head = await asyncio.wait_for(self.reader.readexactly(9), 10)
        size = int.from_bytes(head[:3], "big")
        stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
        return head[3], head[4], stream, await asyncio.wait_for(self.reader.readexactly(size), 10)

    async def until(self, kind: int) -> tuple[int, int, bytes]:
        """Skip to the next frame of a type: flags, stream, payload."""
        while True:
            got, flags, stream, payload = await self.frame()
            if got == kind:
                return flags, stream, payload
            assert got != frames.GOAWAY, payload

    async def body(self, stream: int) -> bytes:
        """The DATA of a stream up to its end."""
        whole = b""
        while True:
            flags, got, payload = await self.until(frames.DATA)
            if got == stream:
                whole += payload
                if flags & frames.END_STREAM:
                    return whole

    async def error(self) -> int:
        """The code of the GOAWAY that must come, after which the connection must close."""
        while True:
            kind, _, _, payload = await self.frame()
            if kind == frames.GOAWAY:
                assert await asyncio.wait_for(self.reader.read(-1), 10) == b""
                return int(struct.unpack(">L", payload[4:8])[0])


@asynccontextmanager
async def wire(server: RunningServer, settings: dict[int, int] | None = None) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connected = Wire(reader, writer)
    connected.send(PREFACE, frames.settings(settings or {}))
    try:
        yield connected
    finally:
        writer.close()


ENDS = frames.END_STREAM
WHOLE = frames.END_HEADERS


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
        to.send(
            frame(frames.HEADERS, WHOLE, 3, to.block(("x-long", "v"))), frame(frames.DATA, ENDS, 3, b"two")
        )
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


def _stream_faults() -> Iterator[tuple[str, list[tuple[str, str]], ErrorCode]]:
    plain = dict(HEAD)
    for missing in (":method", ":scheme", ":path"):
        rest = [(name, value) for name, value in plain.items() if name != missing]
        yield f"no {missing}", rest, ErrorCode.PROTOCOL_ERROR
    yield "twice", [*HEAD, (":path", "/")], ErrorCode.PROTOCOL_ERROR
    yield "late pseudo", [*HEAD[:3], ("a", "b"), HEAD[3]], ErrorCode.PROTOCOL_ERROR
    yield "unknown pseudo", [*HEAD, (":status", "200")], ErrorCode.PROTOCOL_ERROR
    yield "upper case", [*HEAD, ("Accept", "x")], ErrorCode.PROTOCOL_ERROR
    yield "empty name", [*HEAD, ("", "x")], ErrorCode.PROTOCOL_ERROR
    yield "line break", [*HEAD, ("a", "b\r\nc: d")], ErrorCode.PROTOCOL_ERROR
    yield "hop by hop", [*HEAD, ("connection", "close")], ErrorCode.PROTOCOL_ERROR
    yield "wrong length", [*HEAD, ("content-length", "5")], ErrorCode.PROTOCOL_ERROR
    yield "no number", [*HEAD, ("content-length", "-1")], ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(("name", "fields", "code"), list(_stream_faults()))
async def test_a_malformed_request_resets_its_stream_only(
    server: RunningServer, name: str, fields: list[tuple[str, str]], code: ErrorCode
) -> None:
    async with wire(server) as to:
        to.send(frame(frames.HEADERS, WHOLE | ENDS, 1, to.encoder.encode(fields)))
        _, stream, payload = await to.until(frames.RST_STREAM)
        assert (stream, int.from_bytes(payload, "big")) == (1, code), name
        to.send(frame(frames.HEADERS, WHOLE, 3, to.block()), frame(frames.DATA, ENDS, 3, b"well"))
        assert await to.body(3) == b"well"


OPEN = frame(frames.HEADERS, WHOLE, 1, Encoder().encode(HEAD))
DONE = frame(frames.HEADERS, WHOLE | ENDS, 1, Encoder().encode(HEAD))

CONNECTION_FAULTS = {
    "frame too large": (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", ErrorCode.FRAME_SIZE_ERROR),
    "even stream": (frame(frames.HEADERS, WHOLE, 2, Encoder().encode(HEAD)), ErrorCode.PROTOCOL_ERROR),
    "headers on stream 0": (
        frame(frames.HEADERS, WHOLE, 0, Encoder().encode(HEAD)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "data on stream 0": (frame(frames.DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "data on an idle stream": (frame(frames.DATA, 0, 5, b"x"), ErrorCode.PROTOCOL_ERROR),
    "data on a closed stream": (DONE + frame(frames.DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
    "stream used again": (DONE + OPEN, ErrorCode.STREAM_CLOSED),
    "bad header block": (
        frame(frames.HEADERS, WHOLE, 1, b"\xff\xff\xff\xff\xff\xff"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "unknown index": (frame(frames.HEADERS, WHOLE, 1, b"\xbf"), ErrorCode.COMPRESSION_ERROR),
    "index 0": (frame(frames.HEADERS, WHOLE, 1, b"\x80"), ErrorCode.COMPRESSION_ERROR),
    "table too large": (frame(frames.HEADERS, WHOLE, 1, b"\x3f\xe1\xff\x03"), ErrorCode.COMPRESSION_ERROR),
    "truncated string": (frame(frames.HEADERS, WHOLE, 1, b"\x00\x7fabc"), ErrorCode.COMPRESSION_ERROR),
    "interrupted block": (
        frame(frames.HEADERS, 0, 1, b"") + frame(frames.PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "lonely continuation": (frame(frames.CONTINUATION, WHOLE, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "endless continuation": (
        frame(frames.HEADERS, 0, 1, b"") + frame(frames.CONTINUATION, 0, 1, b"") * 40,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "huge block": (
        frame(frames.HEADERS, 0, 1, b"") + frame(frames.CONTINUATION, 0, 1, b"\x00" * 16_384) * 5,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "header bomb": (
        # One field of 4 000 bytes put into the table, then named again and again.
        frame(frames.HEADERS, WHOLE, 1, b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 100),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "padding too long": (OPEN + frame(frames.DATA, frames.PADDED, 1, b"\x05abcd"), ErrorCode.PROTOCOL_ERROR),
    "padding missing": (OPEN + frame(frames.DATA, frames.PADDED, 1, b""), ErrorCode.FRAME_SIZE_ERROR),
    "push promise": (frame(frames.PUSH_PROMISE, WHOLE, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "short ping": (frame(frames.PING, 0, 0, b"1234567"), ErrorCode.FRAME_SIZE_ERROR),
    "ping on a stream": (frame(frames.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "settings on a stream": (frame(frames.SETTINGS, 0, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "odd settings": (frame(frames.SETTINGS, 0, 0, b"12345"), ErrorCode.FRAME_SIZE_ERROR),
    "ack with a body": (frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    "huge window": (frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
    "small frames": (frames.settings({frames.MAX_FRAME_SIZE: 100}), ErrorCode.PROTOCOL_ERROR),
    "push of 2": (frames.settings({frames.ENABLE_PUSH: 2}), ErrorCode.PROTOCOL_ERROR),
    "window update of 0": (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "window overflow": (frames.window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
    "short window update": (frame(frames.WINDOW_UPDATE, 0, 0, b"123"), ErrorCode.FRAME_SIZE_ERROR),
    "window of an idle stream": (frames.window_update(5, 1), ErrorCode.PROTOCOL_ERROR),
    "reset of an idle stream": (frames.rst_stream(5, 0), ErrorCode.PROTOCOL_ERROR),
    "short reset": (OPEN + frame(frames.RST_STREAM, 0, 1, b"1"), ErrorCode.FRAME_SIZE_ERROR),
    "priority on stream 0": (frame(frames.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "goaway on a stream": (frame(frames.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", CONNECTION_FAULTS)
async def test_a_broken_connection_is_told_why_and_closed(server: RunningServer, name: str) -> None:
    sent, code = CONNECTION_FAULTS[name]
    async with wire(server) as to:
        to.send(sent)
        assert await to.error() == code


async def test_a_wrong_preface_is_not_http2(server: RunningServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(-1), 10)).startswith(b"HTTP/1.1 400")
    writer.close()


async def test_the_first_frame_must_be_settings(server: RunningServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    to = Wire(reader, writer)
    to.send(PREFACE, frame(frames.PING, 0, 0, bytes(8)))
    assert await to.error() == ErrorCode.PROTOCOL_ERROR
    writer.close()


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
async def test_the_h2_library_understands_us_whatever_its_table_size(
    server: RunningServer, table: int
) -> None:
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
