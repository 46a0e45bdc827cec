"""The streams of an HTTP/2 connection and the two flow-control ledgers (RFC 9113 §5.2, §6.9)."""

import asyncio
from collections.abc import Callable, Mapping

from tidings.emulators import frames
from tidings.emulators.exchange import Answer, ErrorCode, Response
from tidings.emulators.frames import ConnectionFault, StreamFault
from tidings.emulators.header_blocks import RequestHead, response_block


class StreamWindow:
    """What the peer may still send us, in bytes. Refilled when half of it is used up.

    Because the refill is decided as each frame is read, and no frame is larger than half a window, a peer
    that sends too early can't be told from one that waited; memory is bounded by the limits on bodies
    instead.
    """

    STREAM = 256 * 1024
    CONNECTION = 4 * 1024 * 1024

    __slots__ = ("_full", "_left")

    def __init__(self, size: int) -> None:
        self._full = self._left = size

    def widen(self, size: int) -> int:
        """Make it `size` and answer the increment to announce."""
        increment = size - self._full
        self._full = size
        self._left += increment
        return increment

    def take(self, size: int) -> int:
        """Count `size` received bytes; answers the increment to announce now, mostly 0."""
        self._left -= size
        if self._left * 2 > self._full:
            return 0
        refund = self._full - self._left
        self._left = self._full
        return refund


class Stream:
    """One request and its answer. `complete`: the peer has sent END_STREAM."""

    __slots__ = ("complete", "head", "id", "parts", "pending", "received", "send_window", "spent", "task")

    def __init__(self, stream_id: int, head: RequestHead, send_window: int) -> None:
        self.id = stream_id
        self.head = head
        self.send_window = send_window
        self.parts: list[bytes] = []
        self.received = 0
        self.spent = 0
        self.complete = False
        self.pending: memoryview | None = None
        self.task: asyncio.Future[Answer] | None = None

    def take(self, payload: bytes, size: int) -> None:
        """Add received DATA; `size` counts the padding too, as flow control does (§6.9.1)."""
        self.parts.append(payload)
        self.received += len(payload)
        self.spent += size

    def refund(self) -> int:
        """The increment to announce for this stream now, 0 while half of its window is left."""
        if self.spent * 2 < StreamWindow.STREAM:
            return 0
        spent, self.spent = self.spent, 0
        return spent

    def finish(self) -> bytes:
        """The request is complete: its body."""
        self.complete = True
        parts = self.parts
        self.parts = []
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Outgoing:
    """Everything that leaves on one connection: written once per turn, DATA as the peer's windows allow."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        finished: Callable[[Stream], None],
    ) -> None:
        self.initial_window = frames.DEFAULT_WINDOW
        self.paused = False
        self._loop = loop
        self._transport = transport
        self._finished = finished
        self._window = frames.DEFAULT_WINDOW
        self._chunks: list[bytes] = []
        self._scheduled: asyncio.Handle | None = None
        self._pending: dict[int, Stream] = {}
        self._shrink_table = False

    def control(self, data: bytes) -> None:
        """Frames that flow control doesn't touch."""
        self._chunks.append(data)
        if self._scheduled is None:
            self._scheduled = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what has gathered. Twice is safe."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        if self._chunks:
            chunks, self._chunks = self._chunks, []
            self._transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def stop(self) -> None:
        """The connection is gone: nothing leaves any more."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        self._chunks.clear()
        self._pending.clear()

    def informational(self, stream_id: int, status: int) -> None:
        self.control(frames.header_frames(stream_id, self._block(Response(status), None), False))

    def respond(self, stream: Stream, response: Response) -> None:
        """Send a whole answer, or as much of it as fits now; `finished` is called when all of it has left."""
        body = response.body
        size = 0 if stream.head.method == "HEAD" else len(body)
        block = self._block(response, len(body))
        if not size:
            self.control(frames.header_frames(stream.id, block, True))
            self._finished(stream)
        elif size <= self._window and size <= stream.send_window and size <= frames.FRAME_BYTES and not self._pending:
            self._window -= size
            pack = frames.HEADER.pack
            data = pack(size >> 8, size & 0xFF, frames.DATA, frames.END_STREAM, stream.id)
            if len(block) <= frames.FRAME_BYTES:
                length = len(block)
                head = pack(length >> 8, length & 0xFF, frames.HEADERS, frames.END_HEADERS, stream.id) + block
            else:
                head = frames.header_frames(stream.id, block, False)
            self.control(head + data + body)
            self._finished(stream)
        else:
            self.control(frames.header_frames(stream.id, block, False))
            stream.pending = memoryview(body)
            self._pending[stream.id] = stream
            self.pump()

    def _block(self, response: Response, length: int | None) -> bytes:
        block = response_block(response.status, response.headers, length)
        if self._shrink_table:
            # Announced once: our table is empty from here on, whatever size the peer allows (RFC 7541 §4.2).
            self._shrink_table = False
            block = b"\x20" + block
        return block

    def pump(self) -> None:
        """Send pending DATA, one frame per stream and turn, until a window or the socket says stop."""
        while self._pending and self._window > 0 and not self.paused:
            sendable = [stream for stream in self._pending.values() if stream.send_window > 0]
            if not sendable:
                return
            for stream in sendable:
                if self._window <= 0 or self.paused:
                    return
                self._send_piece(stream)
            self.flush()

    def _send_piece(self, stream: Stream) -> None:
        rest = stream.pending
        assert rest is not None
        size = min(len(rest), frames.FRAME_BYTES, self._window, stream.send_window)
        last = size == len(rest)
        self._window -= size
        stream.send_window -= size
        self.control(frames.frame(frames.DATA, frames.END_STREAM if last else 0, stream.id, bytes(rest[:size])))
        if last:
            del self._pending[stream.id]
            self._finished(stream)
        else:
            stream.pending = rest[size:]

    def forget(self, stream: Stream) -> None:
        """The stream was reset: send no more of it."""
        self._pending.pop(stream.id, None)

    def widen(self, stream: Stream | None, stream_id: int, increment: int) -> None:
        """WINDOW_UPDATE for the connection (`stream_id` 0) or a stream; None: the stream has gone (§6.9)."""
        if not stream_id:
            if not increment or self._window + increment > frames.MAX_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                raise ConnectionFault(code, "WINDOW_UPDATE of 0 or beyond the largest window")
            self._window += increment
        elif stream is not None:
            if not increment or stream.send_window + increment > frames.MAX_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                raise StreamFault(code, "WINDOW_UPDATE of 0 or beyond the largest window")
            stream.send_window += increment
        self.pump()

    def setting(self, key: int, value: int, streams: Mapping[int, Stream]) -> None:
        """One setting of the peer's (§6.5.2); a new initial window changes the open streams too (§6.9.2)."""
        if key == frames.HEADER_TABLE_SIZE:
            self._shrink_table = True
        elif key == frames.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "initial window too large")
            change = value - self.initial_window
            self.initial_window = value
            for stream in streams.values():
                stream.send_window += change
                if stream.send_window > frames.MAX_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "stream window too large")
        elif key == frames.MAX_FRAME_SIZE and not frames.FRAME_BYTES <= value < 2**24:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "maximum frame size out of range")
        elif key == frames.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
