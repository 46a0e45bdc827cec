"""HTTP/2 frames: the numbers and the few that a server writes (RFC 9113 §4, §6, §7)."""

from struct import Struct

from tidings.emulators.exchange import ErrorCode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
SETTING_MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

# The least that every peer must accept, and the default that we keep for what we accept (§4.2).
FRAME_BYTES = 16_384
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535

# Length as 16 + 8 bits, type, flags, stream.
HEADER = Struct(">HBBBL")
LONG = Struct(">L")
SETTING = Struct(">HL")
_TWO_LONGS = Struct(">LL")


class ConnectionFault(Exception):
    """The peer broke the protocol for the whole connection: GOAWAY with `code`, then close (§5.4.1)."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class StreamFault(Exception):
    """The peer broke the protocol on one stream: RST_STREAM with `code`, the others go on (§5.4.2)."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame; the caller keeps `payload` within the peer's maximum frame size."""
    size = len(payload)
    return HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame (§6.5)."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(key, value) for key, value in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0: for the connection (§6.9)."""
    return frame(WINDOW_UPDATE, 0, stream, LONG.pack(increment))


def rst_stream(stream: int, code: int) -> bytes:
    """An RST_STREAM frame (§6.4)."""
    return frame(RST_STREAM, 0, stream, LONG.pack(code))


def goaway(last_stream: int, code: int, debug: bytes = b"") -> bytes:
    """A GOAWAY frame; of `debug` the first KiB is sent (§6.8)."""
    return frame(GOAWAY, 0, 0, _TWO_LONGS.pack(last_stream, code) + debug[:1024])


def header_frames(stream: int, block: bytes, end_stream: bool) -> bytes:
    """HEADERS, followed by as many CONTINUATION frames as the block needs (§6.10)."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= FRAME_BYTES:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    parts = [frame(HEADERS, flags, stream, block[:FRAME_BYTES])]
    for start in range(FRAME_BYTES, len(block), FRAME_BYTES):
        last = start + FRAME_BYTES >= len(block)
        parts.append(frame(CONTINUATION, END_HEADERS if last else 0, stream, block[start : start + FRAME_BYTES]))
    return b"".join(parts)


def unpadded(flags: int, payload: bytes, with_priority: bool) -> bytes:
    """The payload of DATA or HEADERS without padding and without the priority fields (§6.1, §6.2).

    Raises `ConnectionFault` when the padding is too long or the frame too short for its flags.
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "padded frame without a pad length")
        start, end = 1, end - payload[0]
    if with_priority and flags & WITH_PRIORITY:
        if start + 5 > len(payload):
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame too short for its priority fields")
        start += 5
    if end < start:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding longer than the frame")
    return payload[start:end]
