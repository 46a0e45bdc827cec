"""What passes between the server and an emulator: a request goes in, an answer comes out.

An emulator is one function, `Handler`. It may answer at once (no task is made: the fast path) or hand back
something to await (latency, a phone that is slow), which then runs as a task of its own. Besides a plain
`Response` it can answer with a fault of the transport, because vendors do these things too and a client must
survive them: `Drop`, `Reset` and `GoAway`.
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from typing import Any, Final, Protocol

from msgspec import Struct


class ErrorCode(IntEnum):
    """HTTP/2 error codes (RFC 9113 §7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Connection(Protocol):
    """The connection a request came on. APNs binds credentials to it: emulators may remember things here."""

    @property
    def memory(self) -> dict[str, Any]:
        """What the emulator knows about this connection; dies with it."""
        ...

    @property
    def http2(self) -> bool: ...

    def goaway(self, code: int = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Take no new streams, finish the open ones, then close. HTTP/1.1: close after the current answer."""
        ...

    def limit_streams(self, count: int) -> None:
        """Announce another SETTINGS_MAX_CONCURRENT_STREAMS, as APNs does once it trusts a peer. No effect on
        HTTP/1.1."""
        ...

    def drop(self) -> None:
        """Cut the TCP connection now, answering nothing. Twice is safe."""
        ...


class Request(Struct, frozen=True, gc=False):
    """One complete request. `path` has no query. `headers`: lower-case names; equal names joined by a comma.

    `headers` may be shared between requests of one connection, so it must not be changed.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    connection: Connection


class Response(Struct, frozen=True, gc=False):
    """A plain answer. `content-length` is added by the server; header names are lower case."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Drop(Struct, frozen=True):
    """Cut the TCP connection without an answer; every other stream on it dies too."""


class Reset(Struct, frozen=True):
    """RST_STREAM with `code` (an `ErrorCode`). HTTP/1.1 has no streams: there the connection is cut."""

    code: int = ErrorCode.INTERNAL_ERROR


class GoAway(Struct, frozen=True):
    """Answer with `response`, then say GOAWAY: open streams are finished, new ones belong elsewhere."""

    response: Response
    code: int = ErrorCode.NO_ERROR
    debug: bytes = b""


Answer = Response | Drop | Reset | GoAway
ANSWERS: Final = (Response, Drop, Reset, GoAway)
Handler = Callable[[Request], Answer | Awaitable[Answer]]


class Limits(Struct, frozen=True):
    """What one peer may take. Sizes in bytes, `idle_s` in seconds.

    `max_buffered`: request bodies one connection may have half-sent at a time, all streams together.
    `linger_s`: how long a refused HTTP/1.1 peer is still read from, so that it gets to see the refusal.
    """

    max_concurrent_streams: int = 1000
    max_body: int = 1024 * 1024
    max_header_bytes: int = 64 * 1024
    max_buffered: int = 64 * 1024 * 1024
    max_connections: int = 10_000
    idle_s: float = 300.0
    linger_s: float = 1.0


INTERNAL_ERROR = Response(500, b'{"error":"the emulator failed; see its log"}', (("content-type", "application/json"),))
