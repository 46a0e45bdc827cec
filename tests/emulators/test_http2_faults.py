"""HTTP/2 frame by frame: what RFC 9113 forbids must be answered with the error it names."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from hpack import Encoder

from tests.emulators.wire import ENDS, HEAD, WHOLE, Wire, wire
from tidings.emulators import frames
from tidings.emulators.exchange import ErrorCode, Response
from tidings.emulators.frames import PREFACE, frame
from tidings.emulators.http_server import RunningServer, serve


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[RunningServer]:
    running = await serve(lambda request: Response(200, request.body))
    yield running
    await running.close()


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
