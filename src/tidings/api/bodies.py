"""Request bodies: read within bounds, decoded strictly, described in the OpenAPI document.

Litestar would decode loosely (`"1"` passes for an integer), so bodies are decoded here and only declared to it.
"""

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.openapi.spec import OpenAPIMediaType, Operation, Reference, RequestBody

from tidings.api.problems import field_error, invalid
from tidings.errors import CODES, BadRequest, FieldError, Invalid, TooLarge, TooSlow, UnsupportedBody

T = TypeVar("T")

BATCH_FACTOR = 8  # a batch may have so many times the bytes of another body
BODY_TIMEOUT_S = 30.0  # for the whole body: a client that dribbles must not hold a connection for ever
DRAIN_TIMEOUT_S = 1.0  # for what is left of a body that is too large
CLOSE = {"Connection": "close"}  # the rest of the body is not read, so nothing else can come on this connection


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


async def raw_body(request: Request[Any, Any, Any], most_bytes: int) -> bytes:
    """The body, unless it is encoded (415), larger than that (413) or too slow to come (408)."""
    headers = request.headers
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedBody()
    said = headers.get("content-length", "0")
    if said.isdecimal() and int(said) > most_bytes:
        raise await _too_large(request, most_bytes, int(said))
    chunks: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more and size <= most_bytes:
                chunk, more = await _next_chunk(request)
                chunks.append(chunk)
                size += len(chunk)
    except TimeoutError:
        raise TooSlow(headers=CLOSE) from None
    if size > most_bytes:
        raise await _too_large(request, most_bytes, size, more)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _next_chunk(request: Request[Any, Any, Any]) -> tuple[bytes, bool]:
    """The next part of the body, and whether there are more."""
    message = await request.receive()
    if message["type"] != "http.request":  # nobody is there to hear it, but nothing must be done either
        raise BadRequest("The connection ended before the body did.")
    return message["body"], message.get("more_body", False)


async def _too_large(request: Request[Any, Any, Any], most_bytes: int, size: int, more: bool = True) -> TooLarge:
    """The problem, once the rest is thrown away, if it is little and comes quickly: a connection that is closed under
    a client who still sends takes the answer with it (RFC 9112, 9.6). Otherwise the connection closes at once.
    """
    problem = TooLarge(f"The body is larger than {most_bytes} bytes.")
    left = most_bytes if size <= 2 * most_bytes and "expect" not in request.headers else 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while more and left > 0:
                chunk, more = await _next_chunk(request)
                left -= len(chunk)
    if more:
        problem.headers.update(CLOSE)
    return problem


def decode(body: bytes | msgspec.Raw, kind: type[T], prefix: str = "") -> T:
    """A body as a struct. Raises `BadRequest` for what is not JSON or can't be stored, `Invalid` with a pointer for
    what does not fit. Of a key that occurs twice the last value counts (RFC 8259, 4 leaves it open)."""
    body = bytes(body)
    if b"\\u0000" in body and _NUL.search(body):
        raise BadRequest(code="bad_encoding")
    return _decoded(body, kind, prefix)


def split(body: bytes, kind: type[T]) -> T:
    """A body whose items are `msgspec.Raw`, to be judged one by one.

    Text that can't be stored is left for `decode` to find in its item. A half pair would end the decoding of the
    whole body here, so it is made a NUL, which is as bad and ends only its item.
    """
    marked = bytearray(body)
    for at in _half_pairs(body):
        marked[at : at + 6] = b"\\u0000"
    return _decoded(bytes(marked), kind, "")


def _decoded(body: bytes, kind: type[T], prefix: str) -> T:
    try:
        decoded: T = _decoder(kind).decode(body)  # type: ignore[arg-type] # classes are hashable
        return decoded
    except msgspec.ValidationError as error:
        if kind is not object:
            with suppress(Invalid):  # what is not JSON further on is told before what does not fit
                _decoded(body, object, prefix)
        raise invalid(field_error(error, prefix)) from None
    except UnicodeDecodeError:
        raise BadRequest(code="bad_encoding") from None
    except msgspec.DecodeError as error:
        if next(_half_pairs(body), None) is not None:
            raise BadRequest(code="bad_encoding") from None
        raise BadRequest(f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None


# An odd number of backslashes before it makes it an escape; an even number is backslashes before plain text.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ESCAPE = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})|.)", re.DOTALL)


def _half_pairs(body: bytes) -> Iterator[int]:
    r"""Where the body has half of a surrogate pair, such as `\ud800` alone."""
    upper = None
    for escape in _ESCAPE.finditer(body):
        code = int(escape[1] or b"0", 16)
        lower = 0xDC00 <= code <= 0xDFFF
        if upper is not None:
            if lower and escape.start() == upper.end():
                upper = None
                continue
            yield upper.start()
        if lower:
            yield escape.start()
        upper = escape if 0xD800 <= code <= 0xDBFF else None
    if upper is not None:
        yield upper.start()


MOST_DEPTH = 32  # of `data`: what a person would write is far below
MOST_NUMBER = sys.float_info.max  # what other readers of JSON can hold (RFC 8259, 6)


def check_depth(value: Any, pointer: str, depth: int = MOST_DEPTH) -> None:
    """Raises `Invalid` for what was decoded but would trouble a reader: nested too deep, or a number too large."""
    if depth <= 0:
        raise invalid(FieldError(pointer, "invalid_field", f"Nested deeper than {MOST_DEPTH} levels"))
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            check_depth(inner, pointer, depth - 1)
        elif isinstance(inner, int) and not -MOST_NUMBER <= inner <= MOST_NUMBER:
            raise invalid(FieldError(pointer, "invalid_field", "A number is too large for a double"))


def check_built(value: Any, pointer: str) -> None:
    """`check_depth` for a struct."""
    try:
        built = msgspec.to_builtins(value)
    except RecursionError:
        raise invalid(FieldError(pointer, "invalid_field", f"Nested deeper than {MOST_DEPTH} levels")) from None
    check_depth(built, pointer)


def in_utc(value: datetime | None, pointer: str) -> datetime | None:
    """A time as it is stored and answered. Raises `Invalid` for one that has no UTC: just before the year 10000."""
    try:
        return None if value is None else value.astimezone(UTC)
    except OverflowError:
        raise invalid(FieldError(pointer, "time_out_of_range", CODES["time_out_of_range"])) from None


TAKEN: dict[str, type] = {}  # filled while the route modules are imported, read when the document is made


def takes(kind: type, *, required: bool = True) -> type[Operation]:
    """Declare a route's body to the OpenAPI document: `operation_class=takes(NewUser)`."""
    TAKEN[kind.__name__] = kind
    _decoder(kind)  # a type that msgspec can't decode is found here, not at the first call

    @dataclass
    class OperationWithBody(Operation):
        def __post_init__(self) -> None:
            reference = Reference(ref=f"#/components/schemas/{kind.__name__}")
            media = {"application/json": OpenAPIMediaType(schema=reference)}
            self.request_body = RequestBody(content=media, required=required)

    return OperationWithBody
