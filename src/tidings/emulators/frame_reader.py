"""From the bytes of a connection to whole HTTP/2 frames, header blocks already joined (RFC 9113 §3.4, §4)."""

from collections.abc import Callable, Mapping

from tidings.emulators import frames
from tidings.emulators.exchange import ErrorCode
from tidings.emulators.frames import ConnectionFault, StreamFault

_MAX_CONTINUATIONS = 32

# Flags, stream, payload. HEADERS arrive with their whole block, unpadded, and END_HEADERS implied.
Act = Callable[[int, int, bytes], None]


class FrameReader:
    """Keeps what is incomplete, and hands each whole frame to the act for its type, in order.

    `acts` covers every frame type but CONTINUATION; unknown types are ignored (§4.1). A `StreamFault` from
    an act goes to `reset`, a `ConnectionFault` goes up to the caller of `feed`.
    """

    def __init__(self, acts: Mapping[int, Act], reset: Callable[[int, int], None], max_block: int) -> None:
        self.stopped = False
        self._acts = acts
        self._reset = reset
        self._max_block = max_block
        self._rest = b""
        self._greeted = False
        self._settled = False
        self._gathering: tuple[int, int, list[bytes]] | None = None

    def feed(self, data: bytes) -> None:
        """Work through what has arrived. Stops early when an act set `stopped`. Raises `ConnectionFault`."""
        if self._rest:
            data = self._rest + data
        at = 0
        if not self._greeted:
            start = data[: len(frames.PREFACE)]
            if not frames.PREFACE.startswith(start):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "not an HTTP/2 preface")
            if len(start) < len(frames.PREFACE):
                self._rest = data
                return
            self._greeted = True
            at = len(start)
        at = self._read_frames(data, at)
        self._rest = data[at:] if at < len(data) else b""

    def _read_frames(self, data: bytes, at: int) -> int:
        end = len(data)
        unpack = frames.HEADER.unpack_from
        while end - at >= 9 and not self.stopped:
            high, low, kind, flags, stream = unpack(data, at)
            size = high << 8 | low
            if size > frames.FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame too large")
            stop = at + 9 + size
            if stop > end:
                break
            stream &= 0x7FFFFFFF
            try:
                self._frame(kind, flags, stream, data[at + 9 : stop])
            except StreamFault as fault:
                self._reset(stream, fault.code)
            at = stop
        return at

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._gathering is not None:
            self._continue(kind, flags, stream, payload)
        elif not self._settled and kind != frames.SETTINGS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame must be SETTINGS")
        elif kind == frames.HEADERS:
            block = frames.unpadded(flags, payload, True) if flags & 0x28 else payload
            if flags & frames.END_HEADERS:
                self._acts[frames.HEADERS](flags, stream, block)
            else:
                self._gathering = (stream, flags, [block])
        elif kind == frames.CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        else:
            self._settled = True
            act = self._acts.get(kind)
            if act is not None:
                act(flags, stream, payload)

    def _continue(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert self._gathering is not None
        expected, first_flags, parts = self._gathering
        if kind != frames.CONTINUATION or stream != expected:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "header block interrupted")
        parts.append(payload)
        # Without a bound a peer could make us gather for ever at no cost of its own (CVE-2024-27316).
        if len(parts) > _MAX_CONTINUATIONS or sum(map(len, parts)) > self._max_block:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        if flags & frames.END_HEADERS:
            self._gathering = None
            self._acts[frames.HEADERS](first_flags, stream, b"".join(parts))
