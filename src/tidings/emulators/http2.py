"""One HTTP/2 connection, server side (RFC 9113): frames in, requests to the handler, answers out.

Everything that arrives in one read is worked through before anything is written, so the answers of a burst
leave in one write. Answers that come later are gathered the same way, once per turn of the event loop.
"""

import asyncio
from collections import OrderedDict
from typing import Any, cast

from tidings.emulators import frames
from tidings.emulators.exchange import ANSWERS, Answer, Drop, ErrorCode, GoAway, Request, Reset, Response
from tidings.emulators.frame_reader import Act, FrameReader
from tidings.emulators.frames import ConnectionFault, StreamFault
from tidings.emulators.header_blocks import HeadReader
from tidings.emulators.listener import Listener
from tidings.emulators.streams import Outgoing, Stream, StreamWindow

_KEPT_CLOSED = 10_000
_PATIENCE = 8
_TOO_LARGE = Response(413, b'{"error":"body too large"}', (("content-type", "application/json"),))


class Http2Session(asyncio.Protocol):
    """The protocol object of one connection: asyncio calls it, `answer` gives it late answers."""

    http2 = True

    def __init__(self, listener: Listener) -> None:
        self.memory: dict[str, Any] = {}
        self.last_active = 0.0
        self._listener = listener
        self._limits = listener.limits
        self._max_streams = listener.limits.max_concurrent_streams
        self._heads = HeadReader(listener.limits.max_header_bytes)
        self._streams: dict[int, Stream] = {}
        self._closed: OrderedDict[int, None] = OrderedDict()
        self._last_stream = 0
        self._window = StreamWindow(frames.DEFAULT_WINDOW)
        self._buffered = 0
        self._leaving = False
        self._dead = False
        acts: dict[int, Act] = {
            frames.DATA: self._on_data,
            frames.HEADERS: self._on_headers,
            frames.PRIORITY: self._on_priority,
            frames.RST_STREAM: self._on_rst_stream,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push_promise,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
        }
        self._reader = FrameReader(acts, self._reset, listener.limits.max_header_bytes)

    # Transport events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self.last_active = self._loop.time()
        self._out = Outgoing(self._loop, self._transport, self._finished)
        self._listener.join(self)
        self._out.control(
            frames.settings(
                {
                    frames.SETTING_MAX_CONCURRENT_STREAMS: self._max_streams,
                    frames.INITIAL_WINDOW_SIZE: StreamWindow.STREAM,
                    frames.MAX_HEADER_LIST_SIZE: self._limits.max_header_bytes,
                }
            )
            + frames.window_update(0, self._window.widen(StreamWindow.CONNECTION))
        )

    def connection_lost(self, error: Exception | None) -> None:
        self._dead = True
        self._listener.leave(self)
        self._out.stop()
        for stream in self._streams.values():
            if stream.task is not None:
                stream.task.cancel()
        self._streams.clear()

    def pause_writing(self) -> None:
        # A peer that doesn't read gets no further requests worked on: its backlog stays in its own sockets.
        self._out.paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._out.paused = False
        if not self._dead:
            self._transport.resume_reading()
            self._out.pump()

    def data_received(self, data: bytes) -> None:
        self.last_active = self._loop.time()
        if self._dead:
            return
        try:
            self._reader.feed(data)
        except ConnectionFault as fault:
            self._out.control(frames.goaway(self._last_stream, fault.code, str(fault).encode()))
            self._leave()
        if not self._dead:
            self._out.flush()

    # Requests

    def _on_headers(self, flags: int, stream_id: int, block: bytes) -> None:
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that clients can't open")
        known = self._streams.get(stream_id)
        if known is not None:
            self._trailers(known, flags, block)
            return
        if stream_id <= self._last_stream:
            self._heads.fields(block)  # The table must stay in step even for a block nobody wants.
            self._closed_stream(stream_id)
            return
        self._last_stream = stream_id if not self._leaving else self._last_stream
        head = self._heads.head(block)
        if self._leaving:
            return  # Above the GOAWAY's last stream: the peer knows that it wasn't processed (§6.8).
        if len(self._streams) >= self._max_streams:
            raise StreamFault(ErrorCode.REFUSED_STREAM, "too many streams")
        stream = Stream(stream_id, head, self._out.initial_window)
        self._streams[stream_id] = stream
        if flags & frames.END_STREAM:
            self._complete(stream)
        elif head.headers.get("expect", "").lower() == "100-continue":
            self._out.informational(stream_id, 100)

    def _trailers(self, stream: Stream, flags: int, block: bytes) -> None:
        self._heads.fields(block)
        if stream.complete:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "HEADERS after the end of the request")
        if not flags & frames.END_STREAM:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers must end the request")
        self._complete(stream)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        if refund := self._window.take(size):
            self._out.control(frames.window_update(0, refund))
        if flags & frames.PADDED:
            payload = frames.unpadded(flags, payload, False)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._closed_stream(stream_id)
            return
        if stream.complete:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA after the end of the request")
        stream.take(payload, size)
        self._buffered += len(payload)
        if stream.received > self._limits.max_body:
            self._discard(stream)
        if flags & frames.END_STREAM:
            self._complete(stream)
        elif stream.received > self._limits.max_body * _PATIENCE:
            self._out.respond(stream, _TOO_LARGE)
        elif self._buffered > self._limits.max_buffered:
            raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM, "too much half-sent at once")
        elif refund := stream.refund():
            self._out.control(frames.window_update(stream_id, refund))

    def _complete(self, stream: Stream) -> None:
        head = stream.head
        if head.content_length is not None and head.content_length != stream.received:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "content-length does not match the body")
        body = stream.finish()
        if stream.received > self._limits.max_body:
            self._out.respond(stream, _TOO_LARGE)
            return
        self._buffered -= len(body)
        request = Request(head.method, head.path, head.query, head.headers, body, self)
        answer = self._listener.ask(request)
        if type(answer) is Response:
            self._out.respond(stream, answer)
        elif isinstance(answer, ANSWERS):
            self.answer(stream.id, answer)
        else:
            stream.task = self._listener.spawn(answer, self, stream.id)

    def _discard(self, stream: Stream) -> None:
        """Keep nothing of a body that is too large. Many clients hear a refusal only once they have sent
        all of it, so they are let to, up to `_PATIENCE` times the limit; beyond that they are refused
        midway."""
        self._buffered -= sum(map(len, stream.parts))
        stream.parts.clear()

    # Answers

    def answer(self, key: int, answer: Answer) -> None:
        """A handler's answer for stream `key`; one for a stream that has gone is dropped."""
        stream = self._streams.get(key)
        if stream is None or self._dead:
            return
        match answer:
            case Response():
                self._out.respond(stream, answer)
            case GoAway(response, code, debug):
                self.goaway(code, debug)
                self._out.respond(stream, response)
            case Reset(code):
                self._reset(key, code)
            case Drop():
                self.drop()

    def _finished(self, stream: Stream) -> None:
        """The whole answer is on its way out."""
        self._streams.pop(stream.id, None)
        if not stream.complete:
            # The peer may still be sending: tell it to stop, without blame (§8.1).
            self._reset(stream.id, ErrorCode.NO_ERROR)
        if self._leaving and not self._streams:
            self._leave()

    def _reset(self, stream_id: int, code: int) -> None:
        self._forget(stream_id)
        self._closed[stream_id] = None
        if len(self._closed) > _KEPT_CLOSED:
            self._closed.popitem(last=False)
        self._out.control(frames.rst_stream(stream_id, code))
        if self._leaving and not self._streams:
            self._leave()

    def _closed_stream(self, stream_id: int) -> None:
        """A frame for a stream that isn't open. Ones that we reset may still be spoken to (§5.1, closed)."""
        if stream_id > self._last_stream or not stream_id:
            if self._leaving and stream_id & 1:
                return
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
        if stream_id not in self._closed:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "frame on a closed stream")

    # The other frames

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise StreamFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY has 5 octets")

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM has 4 octets")
        if not stream_id or (stream_id > self._last_stream and not self._leaving):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        self._forget(stream_id)
        if self._leaving and not self._streams:
            self._leave()

    def _forget(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._buffered -= sum(map(len, stream.parts))
            self._out.forget(stream)
            if stream.task is not None:
                stream.task.cancel()

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS belong to stream 0")
        if len(payload) % 6 or (flags & frames.ACK and payload):
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        if flags & frames.ACK:
            return
        for key, value in frames.SETTING.iter_unpack(payload):
            self._out.setting(key, value, self._streams)
        self._out.control(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._out.pump()

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "clients can't push")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING belongs to stream 0")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING has 8 octets")
        if not flags & frames.ACK:
            self._out.control(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY belongs to stream 0")
        self.goaway()

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 octets")
        if stream_id > self._last_stream and not self._leaving:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
        increment = frames.LONG.unpack(payload)[0] & frames.MAX_WINDOW
        self._out.widen(self._streams.get(stream_id) if stream_id else None, stream_id, increment)

    # Ends

    @property
    def waiting(self) -> bool:
        """See `listener.Session`."""
        return any(stream.task is not None for stream in self._streams.values())

    def goaway(self, code: int = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Say GOAWAY and close once the open streams are finished. Twice is safe."""
        if self._dead or self._leaving:
            return
        self._leaving = True
        self._out.control(frames.goaway(self._last_stream, code, debug))
        if not self._streams:
            self._leave()

    def limit_streams(self, count: int) -> None:
        """See `exchange.Connection`."""
        self._max_streams = count
        self._out.control(frames.settings({frames.SETTING_MAX_CONCURRENT_STREAMS: count}))

    def _leave(self) -> None:
        self._out.flush()
        self._dead = self._reader.stopped = True
        self._transport.close()

    def drop(self) -> None:
        """Cut the connection. Twice is safe."""
        self._dead = self._reader.stopped = True
        self._transport.abort()
